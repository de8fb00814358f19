"""Networks with any activation convert, and come close to what their modules compute."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sim import compile_netlist, simulate
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset, Truth
from toolchain.equivalence import verify
from toolchain.frontend import read_module
from toolchain.netlist import AdaFire, CurveRecord, Provenance, UnsupportedError
from toolchain.search.measure import operations

SHAPE = (2, 8, 8)


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)
        with torch.no_grad():
            self.first.weight *= 4
            self.second.weight *= 2
        self.eval()

    def forward(self, x):
        y = self.function(self.second(self.function(self.first(x))))
        return self.fc(y.mean((2, 3)))


def gated(x):
    return x.relu() * torch.sigmoid(x.mean((2, 3), keepdim=True))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (48, 2, 3, 3)).repeat(3, 2).repeat(3, 3)[:, :, :8, :8]
    return Dataset("smooth.npz", smooth.astype(np.uint8), Truth(rng.integers(0, 3, 48)))


def converted(function, data, **options):
    recipe = Recipe(normalize="0.5/0.25", weight_bits=16, **options)
    return convert_network(read_module(Net(function), SHAPE), data, recipe, evaluate=data)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (nn.LeakyReLU(0.2), 0.03),
        (F.silu, 0.12),
        (torch.tanh, 0.12),
        (F.elu, 0.12),
        (lambda x: F.max_pool2d(x, 2), 0.03),
        (lambda x: F.max_pool2d(F.leaky_relu(x, 0.1), 3, 1, 1), 0.03),
        (lambda x: torch.maximum(x, -2 * x), 0.05),
        (lambda x: x.clamp(max=0.5), 0.03),
    ],
)
def test_many_timesteps_come_close_to_the_module(function, error, data):
    netlist = converted(function, data, timesteps=128, phi=8, calibrate="none")
    x = torch.from_numpy(data.normalized(netlist.input.mean, netlist.input.std)).float()
    with torch.no_grad():
        wanted = Net(function)(x).numpy()
    readout = netlist.classifier
    sums = simulate(netlist, data.payloads(netlist.input)).readouts[readout.name][-1]
    got = sums * readout.scale / netlist.timesteps
    assert np.sqrt(((got - wanted) ** 2).mean()) < error * np.sqrt(((wanted - wanted.mean(0)) ** 2).mean())


def test_every_executor_agrees_on_pieces_and_their_maxima(data):
    netlist = converted(lambda x: F.max_pool2d(F.leaky_relu(F.silu(x)), 3, 1, 1), data, timesteps=4)
    assert len(netlist.spiking) > 8
    few = data.select(np.arange(3))
    assert verify(netlist, few, "reference").equivalent


def test_provenance_says_what_pieces_cost(data):
    netlist = converted(F.silu, data, timesteps=8)
    records = netlist.provenance.curves
    assert [r.unit for r in records] == ["first", "second"]
    for record, channels in zip(records, (6, 8), strict=True):
        found = [p for p in netlist.spiking if p.name.startswith(record.unit)]
        assert record.function == "silu(x)"
        assert record.pieces == len(found) > 1
        assert record.extra_neurons == (record.pieces - 1) * channels * 64
        assert 0 < record.error < record.spiking_error < 0.5
        assert record.operations > 0
        assert record.beyond == 0
    assert max(p.phi for p in netlist.spiking if isinstance(p, AdaFire)) == 4
    # Their operations are those of the run: all populations but the input are pieces here.
    run = compile_netlist(netlist).run(data.payloads(netlist.input), activity=True)
    assert sum(r.operations for r in records) == pytest.approx(operations(netlist, run.activity), rel=1e-6)


def test_provenance_is_read_back(data):
    provenance = converted(gated, data, timesteps=2, freeze_gates=True).provenance
    assert provenance.gates.accuracy is not None
    again = Provenance.from_json(json.loads(json.dumps(provenance.to_json())))
    assert (again.gates, again.curves) == (provenance.gates, provenance.curves)
    record = CurveRecord("conv", "silu(x)", 3, 100, 0.02, 0.05, 1e6, 0.001)
    with_curve = Provenance(curves=(record,))
    assert Provenance.from_json(with_curve.to_json()) == with_curve
    assert str(record) == (
        "conv: silu(x) as 3 pieces, error 2.0%, 5.0% in spikes, 100 more neurons, "
        "0.10% of its values beyond their calibrated range"
    )


def test_more_pieces_are_asked_for(data):
    few, many = (converted(F.silu, data, timesteps=2, pieces=k).provenance for k in (1, 6))
    assert [r.pieces for r in few.curves] == [1, 1]
    assert all(a.error > 2 * b.error for a, b in zip(few.curves, many.curves, strict=True))
    assert few.recipe["pieces"] == 1


def test_gates_are_refused_unless_they_may_be_frozen(data):
    with pytest.raises(UnsupportedError, match="`freeze_gates`"):
        converted(gated, data, timesteps=2)
    assert converted(gated, data, timesteps=2, freeze_gates=True).provenance.recipe["freeze_gates"] is True
