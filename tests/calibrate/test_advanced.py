"""Advanced calibration: each step does what its formula says, and lowers the error it is about."""

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.calibrate import CalibrationData, Thresholds, collect_histograms, fire_with, influences, price_unit
from toolchain.calibrate.advanced import AdvancedCalibration
from toolchain.calibrate.retune import Goal
from toolchain.calibrate.spiking_walk import Walk
from toolchain.calibrate.weights import fit_weights
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset, choose_input, parse_normalization
from toolchain.frontend import read_module
from toolchain.netlist import fan_outs
from toolchain.network import SpikingNetwork, activations
from toolchain.quantize import Precision
from toolchain.search import Judge

NORMALIZATION = parse_normalization("0.5/0.25", 4)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv1 = nn.Conv2d(4, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.conv3 = nn.Conv2d(8, 6, 3, stride=2)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x) + x)
        x = torch.relu(self.conv3(x))
        return 8 * self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    return read_module(Net().eval(), (4, 9, 9))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    centres = rng.integers(0, 256, (30, 4, 9, 9))
    pictures = centres[rng.integers(0, 30, 600)] * 0.7 + rng.integers(0, 256, (600, 4, 9, 9)) * 0.3
    return Dataset("pictures.npz", pictures.astype(np.uint8), None)


@pytest.fixture(scope="module")
def prepared(network, data):
    """Return (spiking network, data to calibrate on, data to judge on, histograms)."""
    x = data.normalized(NORMALIZATION.mean, NORMALIZATION.std)
    source = choose_input(network.source.name, data, x, NORMALIZATION)
    whole = CalibrationData(torch.from_numpy(x).float(), torch.from_numpy(data.payloads(source))[None])
    calibration = whole.part(0, 400)
    histograms = collect_histograms(network, calibration.x)
    firing = fire_with(network, histograms, {u.name: 2 for u in network.activations}, Thresholds(2))
    return SpikingNetwork(network, source, firing, 2), calibration, whole.part(400, 600), histograms


def goals(network, calibration):
    found = influences(network, calibration.x)
    synapses = fan_outs(network.connections, {u.name: u.shape for u in network.units})
    return {n: Goal(v, synapses[n].reshape(v.size, -1).mean(axis=1), 0.0) for n, v in found.items()}


def test_each_step_brings_the_network_closer_to_the_ann(network, prepared):
    spiking, calibration, held_out, _ = prepared
    judge = Judge(network, held_out, Precision())
    steps = [
        AdvancedCalibration(weights=False, thresholds=False, potentials=False),
        AdvancedCalibration(weights=True, thresholds=False, potentials=False),
        AdvancedCalibration(),
    ]
    biases, weights, everything = (
        judge.measure(step(spiking, calibration, Precision(), goals(network, calibration))).divergence for step in steps
    )
    assert judge.measure(spiking).divergence > biases > everything
    assert weights < biases


def test_the_weight_fit_is_least_squares(network, prepared):
    """On the first unit, whose input is exact up to its payload, the fit lowers the current's error or stays."""
    spiking, calibration, _, _ = prepared
    walk = Walk(spiking, calibration, Precision())
    errors = []
    with torch.inference_mode():
        for name, _ in walk.units():
            before = walk.spiking
            after = fit_weights(walk, name)
            connection = network.inputs(name)[0]
            assert after.network.inputs(name)[0].operators[-1].weight.shape == connection.operators[-1].weight.shape
            walk.spiking = after
            errors.append(before is not after)
    assert any(errors)


def test_influence_is_the_squared_jacobian(network, prepared):
    """Against autograd's own Jacobian, on one unit."""
    _, calibration, _, _ = prepared
    x = calibration.x[:8]
    name = network.activations[-1].name
    value = activations(network, x)[name].detach().requires_grad_(True)
    # The last activation reaches the outputs through pooling and one linear map.
    connection = network.inputs("fc")[0]
    from sim.kernels import apply_chain

    output = apply_chain(connection.operators, value)
    squares = torch.zeros(value.shape[1], dtype=torch.float64)
    classes = output.shape[1]
    centre = torch.eye(classes) - 1 / classes
    for k in range(classes):
        (gradient,) = torch.autograd.grad((output @ centre[k]).sum(), value, retain_graph=True)
        squares += gradient.double().square().mean(dim=(0, 2, 3))
    found = influences(network, x, probes=4000)[name]
    np.testing.assert_allclose(found, squares.numpy(), rtol=0.1)


def test_a_higher_price_buys_fewer_operations_and_more_error(network, prepared):
    _, calibration, _, histograms = prepared
    unit = network.activations[0]
    found = influences(network, calibration.x)[unit.name]
    synapses = fan_outs(network.connections, {u.name: u.shape for u in network.units})[unit.name]
    priced = price_unit(unit, histograms[unit.name], 400, found, synapses, 4, Thresholds(2))
    spent, lost = [], []
    for price in (0.0, 1e-6, 1e-4, 1e-2, 1.0):
        index = np.argmin(priced.error + price * priced.operations, axis=0)[None]
        spent.append(np.take_along_axis(priced.operations, index, 0).sum())
        lost.append(np.take_along_axis(priced.error, index, 0).sum())
        assert (priced.choose(price) > 0).all()
    assert spent == sorted(spent, reverse=True)
    assert lost == sorted(lost)
    assert spent[0] > spent[-1]


def test_potentials_are_per_neuron_and_within_half_a_threshold(network, data):
    netlist = convert_network(network, data, NORMALIZATION, Recipe(timesteps=2, phi=2, calibrate="advanced"))
    for population in netlist.spiking:
        assert population.initial.shape == population.shape
        relative = population.initial / population.threshold.reshape(-1, 1, 1)
        assert relative.min() >= -0.5
        assert relative.max() <= 1.0 + 1e-9
        assert len(np.unique(relative)) > population.shape[0]
