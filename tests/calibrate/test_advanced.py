"""Advanced calibration: each step does what its formula says, and lowers the error it is about."""

import numpy as np
import pytest
import torch
from torch import nn

from sim.kernels import apply_chain
from toolchain.calibrate import (
    AdvancedCalibration,
    CalibrationData,
    CalibrationWalk,
    Goal,
    Thresholds,
    collect_histograms,
    fire_with,
    influences,
    unit_costs,
)
from toolchain.calibrate.weights import HELD_OUT, RIDGES, _inputs, fit_weights
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset, choose_input, parse_normalization
from toolchain.frontend import read_module
from toolchain.netlist import Conv, Linear, fan_outs
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
    return Dataset("pictures.npz", pictures.astype(np.uint8))


@pytest.fixture(scope="module")
def prepared(network, data):
    """Return (spiking network, data to calibrate on, data to judge on, histograms)."""
    x = data.normalized(NORMALIZATION.mean, NORMALIZATION.std)
    source = choose_input(network.source.name, data, x, NORMALIZATION)
    whole = CalibrationData(torch.from_numpy(x).float(), torch.from_numpy(data.payloads(source))[:, None])
    calibration = whole.part(0, 400)
    histograms = collect_histograms(network, calibration.x)
    firing = fire_with(network, histograms, {u.name: 2 for u in network.activations}, Thresholds(2))
    return SpikingNetwork(network, source, firing, 2), calibration, whole.part(400, 600), histograms


def goals(network, calibration):
    found = influences(network, calibration.x)
    synapses = fan_outs(network.connections, {u.name: u.shape for u in network.units})
    seen = collect_histograms(network, calibration.x)
    return {
        n: Goal(v, synapses[n].reshape(v.size, -1).mean(axis=1), 0.0, seen[n], len(calibration))
        for n, v in found.items()
    }


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


def laid_out(x, groups, stride, padding):
    """Return the inputs (G, rows, K + 1) of 3 x 3 weights and a bias, a row per sample and position."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    rows = np.stack([w.transpose(0, 2, 3, 1, 4, 5).reshape(-1, w.shape[1] * 9) for w in np.split(windows, groups, 1)])
    return np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2)


def ridge_regression(inputs, errors, ridge):
    """Solve least squares of rows (R, K + 1) with a penalty on all but the bias, by appending the penalty as rows."""
    features = inputs.shape[1] - 1
    penalty = np.sqrt(ridge * (inputs[:, :-1] ** 2).sum() / features) * np.eye(features, features + 1)
    outputs = np.zeros((features, errors.shape[1]))
    return np.linalg.lstsq(np.concatenate([inputs, penalty]), np.concatenate([errors, outputs]), rcond=None)[0]


@pytest.mark.parametrize(("name", "groups", "stride", "padding"), [("conv2", 2, 1, 1), ("conv3", 1, 2, 0)])
def test_the_weight_fit_is_least_squares(network, prepared, monkeypatch, name, groups, stride, padding):
    """Against numpy on rows laid out here: the same weights, by the penalty that does best on held-out samples."""
    spiking, calibration, _, _ = prepared
    # No rows are left out. One sample in so many decides on the penalty.
    monkeypatch.setattr("toolchain.calibrate.weights._ROWS_PER_WEIGHT", 1000)
    part = calibration.part(0, 64)
    held_out = np.arange(64) % HELD_OUT == 1
    ann = activations(network, part.x)
    walk = CalibrationWalk(spiking, part, Precision())
    with torch.inference_mode():
        for unit in walk.units():
            if unit == name:
                break
            walk.spiking = fit_weights(walk, unit)
        source = network.inputs(name)[0].source
        emitted, fitted = walk.average(source, slice(None)).double().numpy(), fit_weights(walk, name)
    operator, bias = network.inputs(name)[0].operators[-1], network[name].bias
    weight = np.concatenate([operator.weight.reshape(len(bias), -1), bias[:, None]], axis=1)
    weight = weight.reshape(groups, -1, weight.shape[1]).transpose(0, 2, 1)

    wanted, got = (laid_out(x, groups, stride, padding) @ weight for x in (ann[source].double().numpy(), emitted))
    errors = np.where((wanted < 0) & (got < 0), 0.0, wanted - got)
    inputs = laid_out(emitted, groups, stride, padding)
    checked = np.repeat(held_out, inputs.shape[1] // 64)

    def left_over(change, rows):
        return ((errors[:, rows] - inputs[:, rows] @ change) ** 2).sum()

    def solved(ridge, rows):
        return np.stack([ridge_regression(x[rows], e[rows], ridge) for x, e in zip(inputs, errors, strict=True)])

    best = min(RIDGES, key=lambda ridge: left_over(solved(ridge, ~checked), checked))
    expected = solved(best, ~checked)
    assert left_over(expected, checked) < left_over(np.zeros_like(expected), checked)
    after = fitted.network.inputs(name)[0].operators[-1].weight.reshape(len(bias), -1)
    change = np.concatenate([after, fitted.network[name].bias[:, None]], axis=1)
    change = change.reshape(groups, -1, change.shape[1]).transpose(0, 2, 1) - weight
    np.testing.assert_allclose(change, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["linear", "conv1d", "conv2d", "conv3d"])
def test_inputs_of_a_fit_are_what_the_weights_meet(kind):
    """Times the weights they are the operator's output, at every sample and position that is drawn."""
    drawn = np.random.default_rng(3)
    if kind == "linear":
        operator, shape = Linear(drawn.normal(size=(5, 6))), (6,)
    else:
        axes = int(kind[4])
        weight = drawn.normal(size=(6, 2, *range(1, axes + 1)))
        operator = Conv(weight, (2,) * axes, ((1, 0),) * axes, (1,) * (axes - 1) + (2,), groups=3)
        shape = (6, 5, 6, 7)[: axes + 1]
    # Samples and channels in any order in memory, as layers leave them.
    x = torch.from_numpy(drawn.normal(size=(9, *shape))).movedim(1, -1).contiguous().movedim(-1, 1)[2:]
    expected = apply_chain((operator,), x)
    positions = expected.shape[2:]
    at = torch.tensor([4, 0, 6, 6]), torch.tensor([0, 3, 1, 2]) % max(positions.numel(), 1)
    rows = _inputs(operator, x, at, positions)
    found = rows @ torch.from_numpy(operator.weight).reshape(len(rows), -1, rows.shape[2]).transpose(1, 2)
    wanted = expected[(at[0], slice(None), *torch.unravel_index(at[1], positions))]
    np.testing.assert_allclose(found.transpose(0, 1).flatten(1).numpy(), wanted.numpy(), atol=1e-12)


def test_influence_is_the_squared_jacobian(network, prepared):
    """Against autograd's own Jacobian, on one unit."""
    _, calibration, _, _ = prepared
    x = calibration.x[:8]
    name = network.activations[-1].name
    value = activations(network, x)[name].detach().requires_grad_(True)
    # The last activation reaches the outputs through pooling and one linear map.
    connection = network.inputs("fc")[0]
    output = apply_chain(connection.operators, value)
    squares = torch.zeros(value.shape[1], dtype=torch.float64)
    classes = output.shape[1]
    centre = torch.eye(classes) - 1 / classes
    for k in range(classes):
        (gradient,) = torch.autograd.grad((output @ centre[k]).sum(), value, retain_graph=True)
        squares += gradient.double().square().mean(dim=(0, 2, 3))
    found = influences(network, x, probes=4000)[name]
    np.testing.assert_allclose(found, squares.numpy(), rtol=0.1)


def test_influence_does_not_depend_on_the_number_of_threads(network, prepared):
    x, before = prepared[1].x[:70], torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(influences(network, x))
        finally:
            torch.set_num_threads(before)
    for name, values in found[0].items():
        assert np.array_equal(values, found[1][name])


def test_a_higher_cost_buys_fewer_operations_and_more_error(network, prepared):
    _, calibration, _, histograms = prepared
    unit = network.activations[0]
    found = influences(network, calibration.x)[unit.name]
    synapses = fan_outs(network.connections, {u.name: u.shape for u in network.units})[unit.name]
    fan_out = synapses.reshape(unit.shape[0], -1).mean(axis=1)
    costs = unit_costs(histograms[unit.name], 400, found, fan_out, 4, Thresholds(2), np.arange(unit.shape[0]))
    spent, lost = [], []
    for operation_cost in (0.0, 1e-6, 1e-4, 1e-2, 1.0):
        index = np.argmin(costs.error + operation_cost * costs.operations, axis=0)[None]
        spent.append(np.take_along_axis(costs.operations, index, 0).sum())
        lost.append(np.take_along_axis(costs.error, index, 0).sum())
        assert (costs.choose(operation_cost) > 0).all()
        assert costs.spent(operation_cost) == spent[-1]
    assert spent == sorted(spent, reverse=True)
    assert lost == sorted(lost)
    assert spent[0] > spent[-1]


def test_potentials_are_per_neuron_and_within_half_a_threshold(network, data):
    netlist = convert_network(network, data, Recipe(timesteps=2, phi=2, calibrate="advanced", normalize="0.5/0.25"))
    assert len(netlist.spiking) == 3
    for population in netlist.spiking:
        assert population.initial.shape == population.shape
        relative = population.initial / population.threshold.reshape(-1, 1, 1)
        assert relative.min() >= -1.5
        assert relative.max() <= 1.0 + 1e-9
        assert len(np.unique(relative)) > population.shape[0]
