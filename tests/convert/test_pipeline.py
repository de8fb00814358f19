"""The pipeline: the same inputs give the same netlist, which says how it came about; bad data are refused at once."""

import numpy as np
import pytest
import torch
from small_modules import ResidualCNN

from toolchain.convert import Recipe, choose_samples, convert_network
from toolchain.data import Dataset
from toolchain.frontend import read_module
from toolchain.netlist import InputError


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset("noise.npz", rng.integers(0, 256, (40, 2, 8, 8)).astype(np.uint8))


@pytest.fixture(scope="module")
def network():
    return read_module(ResidualCNN().eval(), (2, 8, 8))


def test_one_sample_is_enough_to_calibrate_and_none_is_refused(network, data):
    convert_network(network, data.select(np.arange(1)), Recipe(timesteps=2))
    with pytest.raises(InputError, match="no samples"):
        convert_network(network, data.select(np.arange(0)), Recipe(timesteps=2))


def test_data_of_another_shape_or_with_nan_are_refused(network):
    small = Dataset("small.npz", np.zeros((2, 2, 4, 4), np.uint8))
    with pytest.raises(InputError, match=r"small.npz: samples of shape \(2, 4, 4\) found"):
        convert_network(network, small, Recipe())
    broken = Dataset("nan.npz", np.full((2, 2, 8, 8), np.nan))
    with pytest.raises(InputError, match="NaN"):
        convert_network(network, broken, Recipe())


def test_the_calibration_set_is_drawn_by_the_seed(data):
    one, same, other = (choose_samples(data, 10, seed).values for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_inputs_give_the_same_netlist(network, data, threads):
    recipe = Recipe(timesteps=4, phi=3, normalize="0.5/0.25")
    expected = convert_network(network, data, recipe).content_hash
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = convert_network(network, data, recipe)
    finally:
        torch.set_num_threads(before)
    assert again.content_hash == expected


def test_provenance_tells_how_the_netlist_came_about(network, data):
    provenance = convert_network(network, data, Recipe(timesteps=2, seed=3, normalize="none")).provenance
    assert provenance.recipe["seed"] == 3
    assert len(provenance.calibration_data) == 64
    assert provenance.network.name
    assert ["which flatters" in note for note in provenance.notes] == [True]


def test_pictures_taken_as_numbers_become_their_own_payload(network):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 2, 8, 8)).astype(np.uint8)
    data = Dataset("p.npz", pictures)
    netlist = convert_network(network, data, Recipe(timesteps=2))
    assert not netlist.input.signed
    assert np.array_equal(data.payloads(netlist.input), pictures)
