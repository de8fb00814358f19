"""Agreement with the ANN: what a working netlist reaches, where a broken one breaks, and what `convert` makes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.calibrate import CalibrationData
from toolchain.convert import Agreement, Recipe, convert_network, measure_agreement
from toolchain.data import Dataset
from toolchain.frontend import read_module
from toolchain.netlist import AdaFire, CollapseError


def _network(outputs=5):
    torch.manual_seed(0)
    one, two = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    layers = one, nn.ReLU(), two, nn.ReLU(), nn.Flatten(), nn.Linear(288, outputs)
    return read_module(nn.Sequential(*layers).eval(), (2, 6, 6))


@pytest.fixture(scope="module")
def data():
    values = np.random.default_rng(0).normal(size=(48, 2, 6, 6)).astype(np.float32)
    return Dataset("noise.npz", values)


def _calibration(netlist, data):
    return CalibrationData(torch.from_numpy(data.values), torch.from_numpy(data.payloads(netlist.input))[:, None])


def _muted(netlist, name):
    """The netlist with thresholds of one population out of reach."""
    populations = tuple(
        replace(p, threshold=np.full_like(p.threshold, 2**22)) if p.name == name else p for p in netlist.populations
    )
    return replace(netlist, populations=populations)


def test_a_netlist_that_works_agrees_in_every_layer(data):
    network = _network()
    netlist = convert_network(network, data, Recipe(timesteps=16))
    found = measure_agreement(network, netlist, _calibration(netlist, data))
    assert found.samples == 48
    assert found.decisions > 0.9
    assert list(found.layers) == [p.name for p in netlist.spiking]
    assert min(*found.layers.values(), *found.outputs.values()) > 0.98
    assert not found.collapsed
    assert found.broken_layer is None
    (note,) = [n for n in netlist.provenance.notes if "which flatters" in n]
    assert note.endswith("there are no others to measure on; give 32 more than `samples`")


@pytest.mark.parametrize("outputs", [1, 5])
def test_the_layer_where_it_breaks_is_named(data, outputs):
    network = _network(outputs)
    netlist = convert_network(network, data, Recipe(timesteps=8))
    first, second = (p.name for p in netlist.spiking if isinstance(p, AdaFire))
    found = measure_agreement(network, _muted(netlist, second), _calibration(netlist, data))
    assert found.collapsed
    assert found.layers[second] == 0
    assert found.layers[first] > 0.9
    assert found.broken_layer == second
    assert f"breaks at {second}" in found.where()


def test_readouts_that_are_no_classes_are_judged_by_correlation(data):
    torch.manual_seed(0)
    network = read_module(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval(), (2, 6, 6))
    netlist = convert_network(network, data, Recipe())
    found = measure_agreement(network, netlist, _calibration(netlist, data))
    assert found.decisions is None
    assert not found.collapsed
    assert measure_agreement(network, _muted(netlist, netlist.spiking[0].name), _calibration(netlist, data)).collapsed


@pytest.mark.parametrize(
    ("decisions", "correlation", "collapsed"),
    [(1.0, 0.4, True), (0.4, 0.8, True), (0.4, 0.95, False), (0.6, 0.6, False), (None, 0.6, False), (None, 0.4, True)],
)
def test_what_a_collapse_is(decisions, correlation, collapsed):
    """Close calls that go the other way are none, as long as the outputs follow the ANN's."""
    assert Agreement(128, decisions, {"out": correlation}, {}).collapsed == collapsed
    assert not Agreement(7, decisions, {"out": correlation}, {}).collapsed


def test_a_network_that_never_changes_and_samples_too_few_decide_nothing(data):
    with torch.no_grad():
        constant = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
        constant[0].bias.fill_(-1e3)
    network = read_module(constant, (2, 6, 6))
    netlist = convert_network(network, data, Recipe())
    found = measure_agreement(network, netlist, _calibration(netlist, data))
    assert (found.layers, found.outputs) == ({}, {})
    assert not found.collapsed
    few = measure_agreement(network, netlist, _calibration(netlist, data).part(0, 3))
    assert not few.collapsed


def test_a_collapse_is_refused_in_words_unless_it_is_accepted(data):
    recipe = Recipe(timesteps=1, phi=1, weight_bits=2, calibrate="none", threshold="max")
    with pytest.raises(CollapseError, match=r"does not compute what the ANN does: .* it breaks at") as caught:
        convert_network(_network(), data, recipe)
    assert caught.value.exit_status == 4
    accepted = convert_network(_network(), data, replace(recipe, accept_collapse=True))
    assert accepted.provenance.notes[-1].startswith("collapse accepted: the netlist does not compute")
    assert accepted.provenance.recipe == recipe.settings()
