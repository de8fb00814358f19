"""Channels that never fire set no scale, cost nothing, and are named."""

import numpy as np
import pytest
import torch
from torch import nn

from sim import compile_netlist
from toolchain.calibrate import CalibrationData, collect_histograms
from toolchain.convert import Recipe, convert_network, measure_agreement
from toolchain.convert.silence import silence
from toolchain.data import Dataset
from toolchain.frontend import read_module
from toolchain.network import activations

#: 14 of 45 channels.
DEAD = torch.arange(14) * 3


class Speech(nn.Module):
    """A keyword spotter: residual convolutions of 45 channels, each normalised behind its ReLU, as res8 has them."""

    def __init__(self, layers=4, channels=45):
        super().__init__()
        torch.manual_seed(0)
        sizes = [4, *[channels] * layers]
        self.convs = nn.ModuleList(nn.Conv1d(sizes[i], channels, 3, padding=1, bias=False) for i in range(layers + 1))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels, affine=False) for _ in range(layers))
        self.fc = nn.Linear(channels, 6)

    def forward(self, x):
        x = kept = torch.relu(self.convs[0](x))
        for i, norm in enumerate(self.norms, start=1):
            x = torch.relu(self.convs[i](x))
            if i % 2 == 0:
                x = kept = x + kept
            x = norm(x)
        return self.fc(x.mean(2))

    def settle(self, x, dead):
        """Take statistics from data; dead channels get weights and variances as training leaves them."""
        with torch.no_grad():
            for conv in self.convs:
                conv.weight[dead] = -conv.weight[dead].abs()
            self.train()
            for _ in range(60):
                self(x)
            self.eval()
            for conv, norm in zip(self.convs[1:], self.norms, strict=True):
                conv.weight[dead] = 0
                norm.running_mean[dead], norm.running_var[dead] = 0, 1e-45
        return self


@pytest.fixture(scope="module")
def case():
    x = np.random.default_rng(0).random((1000, 4, 10)).astype(np.float32)
    network = read_module(Speech().settle(torch.from_numpy(x), DEAD), (4, 10))
    return network, Dataset("speech.npz", x)


def _calibration(netlist, data):
    return CalibrationData(torch.from_numpy(data.values), torch.from_numpy(data.payloads(netlist.input))[:, None])


@pytest.mark.parametrize("samples", [1000, 80])
def test_channels_that_never_fire_set_no_scale(case, samples):
    """Proven dead by 1,000 samples, and merely quiet on 80: all others keep their levels."""
    network, data = case
    netlist = convert_network(network, data.select(np.arange(samples)), Recipe())
    found = measure_agreement(network, netlist, _calibration(netlist, data))
    assert found.outputs["fc"] > 0.98
    assert found.decisions > 0.9
    notes = [n for n in netlist.provenance.notes if "never fired" in n]
    said = (
        "in 5 layers, 70 of 225 channels never fired on the 1,000 calibration samples, and are silent: convs.0 (14), "
    )
    assert [n[: len(said)] for n in notes] == ([said] if samples == 1000 else [])


def test_dead_channels_cost_nothing(case):
    network, data = case
    netlist = convert_network(network, data, Recipe(timesteps=4))
    for connection in netlist.connections:
        weight = connection.operators[-1].weight
        if connection.target.startswith("convs"):
            assert not weight[DEAD].any()
        if connection.source.startswith("convs") and weight.ndim > 1:
            assert not weight[:, DEAD].any()
    spikes = compile_netlist(netlist).run(data.payloads(netlist.input), record=["convs.0", "convs.2"]).spikes
    assert not any(s[:, :, DEAD].any() for s in spikes.values())


def test_the_network_stays_the_same_on_the_calibration_data(case):
    network, data = case
    x = torch.from_numpy(data.values)
    silent, notes = silence(network, collect_histograms(network, x), len(x))
    assert len(notes) == 1
    before, after = activations(network, x.double()), activations(silent, x.double())
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-9, atol=1e-9)


def test_dead_channels_are_followed_through_maxima_and_a_flatten():
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(16, 3)
    with torch.no_grad():
        conv.bias[2] = -100
        linear.weight[:, 8:12] = 1e6
    module = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), linear).eval()
    network = read_module(module, (1, 4, 4))
    x = np.random.default_rng(0).random((1000, 1, 4, 4)).astype(np.float32)
    netlist = convert_network(network, Dataset("x.npz", x), Recipe())
    (connection,) = netlist.inputs(netlist.readouts[0].name)
    assert not connection.operators[-1].weight[:, 8:12].any()
    assert np.abs(connection.operators[-1].weight).max() == 127


def test_a_network_whose_channels_all_fire_is_left_alone():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).eval()
    network = read_module(module, (1, 4, 4))
    x = torch.randn(200, 1, 4, 4)
    assert silence(network, collect_histograms(network, x), len(x)) == (network, ())
