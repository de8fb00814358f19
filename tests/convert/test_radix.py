"""Conversion to radix code: numbers in place of rates, by the same passes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_modules import ResidualCNN
from torch import nn
from torch.nn import functional as F

from sim import golden, simulate
from toolchain.calibrate import CalibrationData
from toolchain.cli import run
from toolchain.convert import Recipe, convert_network
from toolchain.convert.agreement import measure_agreement
from toolchain.data import Dataset
from toolchain.evaluate import evaluate
from toolchain.frontend import read_module
from toolchain.netlist import AdaFire, InputError, MaxPool, TargetError
from toolchain.network import reference_outputs
from toolchain.quantize import Precision, check_precision

RADIX = Recipe(spike_code="radix", digits=5, normalize="0.5/0.25")


class Branches(nn.Module):
    """Max pooling, a concatenation, average pooling, and two outputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.c = nn.Conv2d(8, 6, 3, padding=1)
        self.classes, self.value = nn.Linear(24, 4), nn.Linear(24, 2)

    def forward(self, x):
        both = torch.cat([torch.max_pool2d(torch.relu(self.a(x)), 2), F.avg_pool2d(torch.relu(self.b(x)), 2)], 1)
        features = torch.relu(self.c(torch.relu(both))).flatten(2)
        pooled = F.avg_pool1d(features, 4).flatten(1)
        return self.classes(pooled), self.value(pooled)


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset("noise.npz", rng.integers(0, 256, (64, 2, 8, 8)).astype(np.uint8))


@pytest.fixture(scope="module")
def network():
    return read_module(ResidualCNN().eval(), (2, 8, 8))


@pytest.mark.parametrize("calibrate", ["none", "light", "advanced"])
@pytest.mark.parametrize(("digits", "phi"), [(5, 1), (4, 3), (1, 255)])
def test_more_levels_come_nearer_to_the_ann(network, data, calibrate, digits, phi):
    recipe = replace(RADIX, digits=digits, phi=phi, calibrate=calibrate)
    netlist = convert_network(network, data, recipe)
    assert (netlist.spike_code, netlist.timesteps) == ("radix", digits)
    assert {p.phi for p in netlist.populations if isinstance(p, AdaFire)} == {phi}
    payload = data.payloads(netlist.input)
    trace = simulate(netlist, payload)
    assert trace.populations.keys() == golden.simulate(netlist, payload[:1]).populations.keys()
    (readout,) = netlist.readouts
    got = trace.readout[-1] * readout.scale
    x = torch.from_numpy(data.normalized(netlist.input.mean, netlist.input.std)).float()
    wanted = reference_outputs(network, x)[0].numpy()
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error < (0.2 if phi == 1 else 0.06)


def test_agreement_is_that_of_the_numbers(network, data):
    """Sums of digits would agree with nothing: 4 is as many spikes as 1."""
    netlist = convert_network(network, data, replace(RADIX, digits=6, calibrate="light"))
    x = torch.from_numpy(data.normalized(netlist.input.mean, netlist.input.std)).float()
    pictures = CalibrationData(x, torch.from_numpy(data.payloads(netlist.input))[:, None])
    found = measure_agreement(network, netlist, pictures)
    assert min([*found.layers.values(), *found.outputs.values()]) > 0.95


def test_provenance_says_it_and_the_same_inputs_give_the_same_netlist(network, data):
    one, other = (convert_network(network, data, RADIX) for _ in range(2))
    assert one.content_hash == other.content_hash
    recipe = one.provenance.recipe
    assert (recipe["spike_code"], recipe["digits"], recipe["timesteps"], recipe["phi"]) == ("radix", 5, 5, 1)
    assert "spike_code" not in convert_network(network, data, Recipe(timesteps=2)).provenance.recipe


def test_branches_pools_and_several_outputs(data):
    network = read_module(Branches().eval(), (2, 8, 8))
    netlist = convert_network(network, data, RADIX)
    assert any(isinstance(p, MaxPool) for p in netlist.populations)
    assert len(netlist.readouts) == 2
    payload = data.payloads(netlist.input)[:3]
    trace, expected = simulate(netlist, payload), golden.simulate(netlist, payload)
    for name, values in expected.populations.items():
        np.testing.assert_array_equal(trace.populations[name], values, err_msg=name)


def test_a_search_counts_digits(network, data):
    """Within a budget the netlist spends as many operations as were promised, digits counted."""
    rng = np.random.default_rng(1)
    many = Dataset("noise.npz", rng.integers(0, 256, (320, 2, 8, 8)).astype(np.uint8))
    netlist = convert_network(network, many, replace(RADIX, samples=192, search=True, budget=0.7, calibrate="light"))
    firing = netlist.provenance.search.firing
    assert firing.measured.operations <= 0.7 * netlist.provenance.search.uniform.operations
    spent = evaluate(netlist, many).synaptic_operations_per_sample
    assert spent == pytest.approx(firing.measured.operations, rel=0.1)


def test_frames_are_refused(network):
    frames = Dataset("frames.npz", np.zeros((3, 4, 2, 8, 8), np.float32), is_frames=True)
    with pytest.raises(InputError, match="holds one picture"):
        convert_network(network, frames, RADIX)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"digits": None}, "digits"),
        ({"spike_code": "rate"}, "digits"),
        ({"digits": 8, "phi": 2}, "digits"),
        ({"timesteps": 8}, "timesteps"),
        ({"early_exit": True}, "early_exit"),
        ({"search": True, "strategy": "layers"}, "strategy"),
        ({"phi_max": 3}, "phi_max"),
        ({"spike_code": "phase"}, "spike_code"),
    ],
)
def test_what_contradicts_digits_is_named(fields, where):
    with pytest.raises(InputError) as error:
        replace(RADIX, **fields)
    assert error.value.where == where


def test_a_target_holds_digits_not_numbers():
    """Five digits travel one by one: a chip whose spikes carry 15 takes them, and numbers of 31 levels are none."""
    from hw_targets.target import load_target

    akida = Precision(4, load_target("akida1"))
    check_precision(akida, {"a": 1})
    with pytest.raises(TargetError):
        check_precision(akida, {"a": 31})


def test_the_command_line_names_flags(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    n = torch.nn\n"
        "    return n.Sequential(n.Flatten(), n.Linear(32, 9), n.ReLU(), n.Linear(9, 3))\n"
    )
    pictures = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 2)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=pictures, labels=np.arange(20) % 3)
    convert = ["convert", "net.py:net", "--calibration", "data.npz", "-o", "net.h5", "--spike-code", "radix"]
    assert run(convert) == 2
    assert "--digits" in capsys.readouterr().err
    assert run([*convert, "--digits", "4", "--timesteps", "8"]) == 2
    assert "--timesteps: 8 found" in capsys.readouterr().err
    assert run([*convert, "--digits", "4", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["spike_code"], made["digits"], made["timesteps"], made["schema"]) == ("radix", 4, 4, 2)
    # Hidden neurons wait for the input's number only; a window for theirs, a hop for each.
    assert made["latency"] == 1 + 4 + 1
    for command in (["simulate", "net.h5"], ["energy", "net.h5"], ["verify", "net.h5", "--against", "reference"]):
        assert run([*command, "--data", "data.npz", "--json"]) == 0
        capsys.readouterr()
    assert run(["simulate", "net.h5", "--data", "data.npz", "--early-exit"]) == 2
    assert "early" in capsys.readouterr().err
    assert run(["info", "net.h5", "--text"]) == 0
    assert "spike_code=radix" in capsys.readouterr().out
