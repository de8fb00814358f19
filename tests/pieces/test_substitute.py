"""Networks with pieces in the place of curves, and means in the place of gates, compute what they say."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.frontend import read_module
from toolchain.netlist import UnsupportedError
from toolchain.network import Activation, MaxUnit, arguments, iterate, outputs
from toolchain.pieces import beyond, replaced, substitute

SHAPE = (2, 8, 8)


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.fc = nn.LazyLinear(3)
        with torch.no_grad():
            self.first.weight *= 3
            self(torch.zeros(1, *SHAPE))
        self.eval()

    def forward(self, x):
        y = self.function(self.first(x))
        return self.fc(self.function(self.second(y)).flatten(1))


def gate(x):
    return x.relu() * torch.sigmoid(x.mean((2, 3), keepdim=True))


def pooled(x):
    return F.max_pool2d(x, 3, 2, 1)


def network(function):
    return read_module(Net(function), SHAPE)


@pytest.fixture(scope="module")
def x():
    return torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("function", [F.silu, torch.tanh, F.gelu, lambda x: F.silu(x) + x])
def test_pieces_add_up_to_what_was_fitted(function, x):
    ann = network(function)
    made = substitute(ann, x)
    assert not made.network.curves
    assert made.network.origin == ann.origin
    assert set(made.units) == {u.name for u in ann.curves}
    # One layer at a time: each curve as its pieces, the others as they are.
    for name, pieces in made.pieces.items():
        one, units = replaced(ann, {name: pieces})
        argument = dict(arguments(ann, x.double()))[name]
        values = {u: v for u, v in iterate(one, x.double(), keep=True) if u in units[name]}
        total = pieces.constant + sum(
            p.gain * values[u].numpy() for u, p in zip(units[name], pieces.pieces, strict=True)
        )
        np.testing.assert_allclose(total, pieces(argument.numpy()), atol=1e-9)


@pytest.mark.parametrize(
    ("function", "tolerance"),
    [(F.silu, 0.1), (F.hardswish, 0.1), (torch.sigmoid, 0.1), (F.elu, 0.1), (pooled, 1e-4), (nn.LeakyReLU(0.1), 1e-6)],
)
def test_outputs_stay_close(function, tolerance, x):
    ann = network(function)
    (wanted,), (got,) = outputs(ann, x), outputs(substitute(ann, x).network, x)
    spread = (wanted - wanted.mean(0)).square().mean().sqrt()
    assert (wanted - got).square().mean().sqrt() < tolerance * spread


def test_maxima_of_negative_values_are_exact_within_their_range(x):
    made = substitute(network(lambda x: F.max_pool2d(F.leaky_relu(x, 0.2), 3, 1, 1)), x)
    kinds = [type(u) for u in made.network.units]
    assert kinds.count(MaxUnit) == kinds.count(Activation) == 4
    (wanted,), (got,) = outputs(made.frozen, x.double()), outputs(made.network, x.double())
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)
    # Below the least value seen, the maxima stay at it: what lies beyond is counted.
    far = beyond(made, [10 * x])
    assert all(share > 0.05 for share in far.values())
    assert set(beyond(made, x.split(7)).values()) == {0.0}


def test_units_are_named_after_their_curve(x):
    made = substitute(network(F.silu), x, pieces=2)
    assert [u.name for u in made.network.units] == ["input", "first-1", "first-2", "second-1", "second-2", "fc"]


def test_small_pieces_have_short_bursts(x):
    made = substitute(network(F.silu), x)
    bursts = made.bursts(8)
    assert set(bursts) == {u.name for u in made.network.activations}
    for units in made.units.values():
        assert max(bursts[u] for u in units) == 8
        assert min(bursts[u] for u in units) < 8
    assert set(substitute(network(F.relu), x).bursts(3).values()) == {3}


def test_a_network_without_curves_and_gates_stays_as_it_is(x):
    ann = network(F.relu)
    assert substitute(ann, x).network is ann


@pytest.mark.parametrize("function", [gate, lambda x: x.relu() * torch.sigmoid(x.mean(1, keepdim=True))])
def test_a_frozen_gate_is_its_mean(function, x):
    ann = network(function)
    made = substitute(ann, x, freeze_gates=True)
    assert not made.frozen.gated
    first, second = ann.gated
    opened = dict(arguments(ann, x.double()))
    # The network with means in the place of gates, by hand.
    means = {u.name: opened[u.name].mean(0).numpy() for u in (first, second)}
    by_hand, _ = replaced(ann, {}, means)
    (got,), (expected,) = outputs(made.frozen, x.double()), outputs(by_hand, x.double())
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert made.gates.units == (first.name, second.name)
    assert made.gates.samples == 64
    assert 0 <= made.gates.agreement <= 1


def test_the_mean_of_a_gate_scales_its_value():
    module = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU()).eval()
    gated = _Gated(module).eval()
    ann = read_module(gated, SHAPE)
    x = torch.randn(16, *SHAPE)
    frozen = substitute(ann, x, freeze_gates=True).network
    with torch.no_grad():
        y = module(x)
        expected = gated.after(y * torch.sigmoid(y.mean((2, 3), keepdim=True)).mean(0))
    torch.testing.assert_close(outputs(frozen, x)[0], expected, atol=1e-5, rtol=1e-5)
    assert len(frozen.units) == 3  # the gate's own layers are gone


class _Gated(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.after = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.inner(x)
        return self.after(y * torch.sigmoid(y.mean((2, 3), keepdim=True)))


def test_gates_are_refused_by_name_with_what_freezing_costs(x):
    with pytest.raises(UnsupportedError) as caught:
        substitute(network(gate), x)
    message = str(caught.value)
    assert caught.value.where == network(gate).gated[0].name
    for words in ("gate that depends on the sample", "1 more", "`freeze_gates`", "64 calibration samples", "% off"):
        assert words in message, message
