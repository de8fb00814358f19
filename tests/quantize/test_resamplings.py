"""Real weights of interpolation become whole numbers: near, and as much in sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import adafire
from toolchain.frontend import read_module
from toolchain.netlist import Resample
from toolchain.quantize import whole_resamplings
from toolchain.quantize.resamplings import _rounded


def resamplings(network):
    return [o for c in network.connections for o in c.operators if isinstance(o, Resample)]


@given(st.integers(2, 12), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_rounding_keeps_the_sum_of_a_row(n, m, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(-0.2, 1, (m, n))
    matrix /= matrix.sum(axis=1, keepdims=True)
    whole, parts = _rounded(matrix)
    assert np.array_equal(whole.sum(axis=1), np.full(m, parts))
    assert np.abs(whole - matrix * parts).max() < 1  # each entry goes up or down


def network(mode="bicubic", size=(9, 11)):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Upsample(size=size, mode=mode), nn.Conv2d(8, 3, 3, padding=1)
    )


def test_what_is_whole_stays_as_it_is():
    read = read_module(network("bilinear", (12, 12)), (3, 6, 6))
    assert whole_resamplings(read) == (read, ())


def test_rounding_is_noted_with_its_error():
    read = read_module(network(), (3, 6, 6))
    assert {m.dtype.kind for o in resamplings(read) for m in o.matrices} == {"f"}
    rounded, notes = whole_resamplings(read)
    assert {m.dtype.kind for o in resamplings(rounded) for m in o.matrices} == {"i"}
    assert len(notes) == 1
    assert "weights of interpolation rounded, by at most 0.0" in notes[0]


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest"])
def test_a_network_that_interpolates_converts_and_agrees(mode):
    pictures = np.random.default_rng(0).uniform(0, 1, (24, 3, 6, 6)).astype(np.float32)
    module = network(mode).eval()
    netlist = adafire.convert(module, pictures, adafire.Recipe(timesteps=32, normalize="none"))
    assert adafire.verify(netlist, pictures, "reference", limit=2).equivalent
    (spikes,), (ann,) = (
        d.values() for d in (adafire.outputs(netlist, pictures), adafire.ann_outputs(netlist, pictures, module))
    )
    assert np.corrcoef(spikes.ravel(), ann.ravel())[0, 1] > 0.98
