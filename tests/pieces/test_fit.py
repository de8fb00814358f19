"""Functions as sums of clipped pieces: errors, directions, and what holds for every function."""

from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from toolchain.netlist import InputError
from toolchain.network import Function, X
from toolchain.pieces import Distribution, Pieces, fit
from toolchain.pieces.fit import BINS, MOST, SMALL

RISING = {
    "sigmoid": Function("sigmoid", (X,)),
    "tanh": Function("tanh", (X,)),
    "elu": Function("elu", (X, 1.0)),
    "softplus": Function("softplus", (X, 1.0, 20.0)),
    "selu": Function("selu", (X,)),
    "leaky": Function("maximum", (X, Function("mul", (0.1, X)))),
    "identity": X,
}
OTHERS = {name: Function(name, (X,)) for name in ("silu", "gelu", "mish", "hardswish", "abs")}
FUNCTIONS = RISING | OTHERS


def normal(scale=1.0, shift=0.0, seed=0):
    return Distribution.of(scale * torch.randn(20_000, generator=torch.Generator().manual_seed(seed)) + shift)


def error_of(pieces: Pieces, function: Function, data: Distribution) -> float:
    """The relative error, computed from its definition."""
    y = function(torch.from_numpy(data.values)).numpy()
    share = data.counts / data.counts.sum()
    return float(np.sqrt(share @ (pieces(data.values) - y) ** 2 / (share @ (y - share @ y) ** 2)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_few_pieces_are_close(name):
    data = normal()
    pieces = fit(name, FUNCTIONS[name], data)
    assert len(pieces.pieces) <= MOST
    assert pieces.error < (0.05 if name == "hardswish" else SMALL)
    assert error_of(pieces, FUNCTIONS[name], data) == pytest.approx(pieces.error, rel=0.05, abs=2e-3)


@pytest.mark.parametrize("name", ["sigmoid", "silu", "elu"])
def test_more_pieces_are_closer(name):
    errors = [fit(name, FUNCTIONS[name], normal(2.0), pieces=k).error for k in (1, 3, 6)]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


def test_no_other_knots_do_better():
    """A general optimiser, started at the knots that were found, does not get below their error."""
    data, function = normal(1.5), Function("sigmoid", (X,))
    found = fit("u", function, data, pieces=3)
    y = function(torch.from_numpy(data.values)).numpy()

    def squares(knots):
        hats = (
            np.stack([np.interp(data.values, np.sort(knots), row) for row in np.eye(4)], 1)
            * data.counts[:, None] ** 0.5
        )
        return np.linalg.lstsq(hats, y * data.counts**0.5, rcond=None)[1].sum()

    starts = [p.start if p.sign > 0 else p.start - p.width for p in found.pieces]
    knots = [*starts, found.pieces[-1].start + found.pieces[-1].width]
    best = min(minimize(squares, np.array(knots) + d, method="Nelder-Mead").fun for d in (0.0, 0.1, -0.3))
    assert squares(np.array(knots)) <= 1.05 * best


@pytest.mark.parametrize("name", RISING)
def test_pieces_of_a_function_that_rises_rise(name):
    pieces = fit(name, RISING[name], normal(3.0), rising=True)
    assert all(p.gain > 0 and p.sign == 1 for p in pieces.pieces)


def test_a_line_with_a_kink_is_exact():
    pieces = fit("u", RISING["leaky"], normal(3.0))
    assert len(pieces.pieces) == 2
    assert pieces.error < 1e-5
    x = np.array([-100.0, -1.0, 0.0, 2.0, 500.0])
    np.testing.assert_allclose(pieces(x), np.maximum(x, 0.1 * x), rtol=1e-4, atol=1e-4)


def test_the_identity_is_one_piece_from_the_least_value_on():
    data = normal(2.0, 1.0)
    (piece,) = fit("u", X, data, rising=True).pieces
    assert piece.gain == pytest.approx(1)
    assert piece.width == inf
    assert abs(piece.start - data.low) <= 2 * data.bin


def test_pieces_go_on_like_the_function_beyond_the_values_or_stay_level():
    far = np.array([-1e3, 1e3])
    silu, sigmoid = (fit("u", Function(n, (X,)), normal(3.0)) for n in ("silu", "sigmoid"))
    np.testing.assert_allclose(silu(far), [0, 1e3], rtol=0.1, atol=0.5)
    np.testing.assert_allclose(sigmoid(far), [0, 1], atol=0.05)


def test_a_staircase_is_its_clipping():
    """What rounding hides is not approximated better by more pieces: two levels of eight steps are one piece."""
    steps = Function("clip", (Function("round", (Function("mul", (8.0, X)),)), 0.0, 8.0))
    pieces = fit("u", steps, normal())
    assert len(pieces.pieces) == 1
    assert 8 * pieces.pieces[0].width == pytest.approx(pieces.pieces[0].gain * pieces.pieces[0].width, rel=0.1)


def test_a_constant_has_no_pieces():
    assert fit("u", Function("clip", (X, 0.0, 1.0)), normal(0.1, 5.0)) == Pieces(1.0, (), 0.0)


def test_one_value_is_a_distribution():
    pieces = fit("u", Function("sigmoid", (X,)), Distribution.of(torch.full((3,), 2.0)))
    assert pieces(np.array(2.0)) == pytest.approx(1 / (1 + np.exp(-2)), rel=1e-3)


def test_a_function_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match=r"conv: log\(x\) is not finite between -"):
        fit("conv", Function("log", (X,)), normal())


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(FUNCTIONS)),
    st.floats(0.05, 20),
    st.floats(-5, 5),
    st.integers(1, 5),
    st.booleans(),
)
def test_every_fit_keeps_its_promises(name, scale, shift, count, rising):
    rising = rising and name in RISING
    data = normal(scale, shift, count)
    function = FUNCTIONS[name]
    pieces = fit("u", function, data, pieces=count, rising=rising)
    assert len(pieces.pieces) <= count
    assert 0 <= pieces.error <= 1
    assert all(p.width > 0 and np.isfinite([p.gain, p.start]).all() for p in pieces.pieces)
    if rising:
        x = np.linspace(data.low - 10, data.high + 10, 999)
        assert np.all(np.diff(pieces(x)) >= -1e-9 * scale)
    # The sum is continuous: between bins it moves no further than its steepest slope.
    values = pieces(data.values)
    slopes = sum(abs(p.gain) for p in pieces.pieces)
    assert np.abs(np.diff(values)).max() <= slopes * data.bin + 1e-9
    assert data.counts.shape == (BINS,)
