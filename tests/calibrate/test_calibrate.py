"""Calibration: thresholds minimise eq. 13, biases follow eq. 14, layer by layer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_modules import ResidualCNN

from sim import golden
from toolchain.calibrate import CalibrationData, Thresholds, calibrate_biases, collect_histograms, fire_with
from toolchain.calibrate.histograms import Histogram, histogram
from toolchain.calibrate.thresholds import GRID, choose_threshold, clip_floor
from toolchain.data import Dataset, choose_input, parse_normalization
from toolchain.frontend import read_module
from toolchain.netlist import AdaFire, Connection, Input, Linear, Netlist, Readout
from toolchain.network import SpikingNetwork, activations
from toolchain.quantize import Precision, quantize


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset("noise.npz", rng.integers(0, 256, (40, 2, 8, 8)).astype(np.uint8))


@pytest.fixture(scope="module")
def network():
    return read_module(ResidualCNN().eval(), (2, 8, 8))


@settings(max_examples=60)
@given(
    x=st.floats(-2, 20),
    threshold=st.integers(1, 50),
    phi=st.integers(1, 6),
    timesteps=st.integers(1, 12),
    half=st.booleans(),
)
def test_clip_floor_is_what_a_neuron_with_constant_input_emits(x, threshold, phi, timesteps, half):
    current = round(x * threshold)
    population = AdaFire(
        "n",
        (1,),
        phi,
        np.array([threshold]),
        np.array([current]),
        np.array([threshold // 2 if half else 0]),
        np.ones(1),
    )
    netlist = Netlist(
        (
            Input("input", (1,), 8, False, 1.0, np.zeros(1), np.ones(1)),
            population,
            Readout("out", (1,), np.zeros(1, int), np.ones(1)),
        ),
        (Connection("input", "n", (Linear(np.array([[0]])),)), Connection("n", "out", (Linear(np.array([[1]])),))),
        timesteps,
    )
    emitted = int(golden.simulate(netlist, np.zeros((1, 1), np.uint8)).spikes["n"].sum())
    offset = (threshold // 2) / threshold if half else 0.0
    expected = clip_floor(np.array(float(current)), np.array(float(threshold)), phi, timesteps, offset)
    # Within phi per step the neuron carries over what it could not emit, as eq. 12 assumes.
    assert emitted == round(float(expected) * timesteps / threshold)


def test_the_threshold_search_finds_the_best_of_its_grid():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.maximum(rng.normal(0.3, 1.0, (2000, 3)), 0)).float()
    chosen = choose_threshold(histogram(x), 4, Thresholds(8))
    for channel in range(3):
        values = x[:, channel].double().numpy()
        candidates = GRID * values.max() / 4
        errors = [((clip_floor(values, np.array(v), 4, 8, 0.5) - values) ** 2).sum() for v in candidates]
        found = ((clip_floor(values, np.array(chosen[channel]), 4, 8, 0.5) - values) ** 2).sum()
        assert found <= 1.02 * min(errors)


def test_max_and_layer_thresholds():
    data = Histogram(np.zeros((2, 2048)), np.array([4.0, 8.0]), 1)
    data.counts[:, -1] = 1
    assert np.allclose(choose_threshold(data, 4, Thresholds(8, method="max")), [1.0, 2.0], rtol=1e-3)
    per_layer = choose_threshold(data, 4, Thresholds(8, method="max"), np.zeros(2, np.int64))
    assert np.allclose(per_layer, [2.0, 2.0], rtol=1e-3)


def test_silent_channels_take_the_greatest_threshold():
    x = torch.zeros(10, 2)
    x[:, 0] = torch.linspace(0, 1, 10)
    chosen = choose_threshold(histogram(x), 2, Thresholds(4))
    assert chosen[1] == chosen[0] > 0


def test_light_calibration_removes_the_mean_error_of_every_channel(network, data):
    """After eq. 14 the mean error of the outputs is a rounding error of what it was before."""
    normalization = parse_normalization("0.5/0.25", 2)
    x = data.normalized(normalization.mean, normalization.std)
    ann = torch.from_numpy(x).float()
    firing = fire_with(
        network, collect_histograms(network, ann), {u.name: 2 for u in network.activations}, Thresholds(4)
    )
    spiking = SpikingNetwork(network, choose_input(network.source.name, data, x, normalization), firing, 4)
    payload = data.payloads(spiking.source)
    calibrated = calibrate_biases(spiking, CalibrationData(ann, torch.from_numpy(payload)[:, None]), Precision())
    logits = activations(network, ann)["fc"].double().numpy()

    def error(candidate):
        netlist = quantize(candidate)
        trace = golden.simulate(netlist, payload)
        return np.abs((trace.readout[-1] * netlist["fc"].scale / 4 - logits).mean(axis=0)).max()

    assert error(calibrated) < 0.05 * error(spiking) + 1e-3
    assert error(spiking) > 1e-3
