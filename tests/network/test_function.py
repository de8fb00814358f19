"""Functions of one variable as trees."""

import pytest
import torch
import torch.nn.functional as F

from toolchain.network import Function, X

SILU = Function("mul", (X, Function("sigmoid", (X,))))


def test_a_tree_computes_and_says_what_it_is():
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(SILU(x), F.silu(x))
    assert str(SILU) == "x * sigmoid(x)"
    assert str(Function("div", (SILU, X.affine(2.0, 1.0)))) == "(x * sigmoid(x)) / ((2 * x) + 1)"
    assert SILU(x.float()).dtype == torch.float32


def test_composition():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    inner = X.affine(2.0, -1.0)
    torch.testing.assert_close(SILU.of(inner)(x), F.silu(2 * x - 1))
    assert SILU.of(X) is SILU
    assert X.of(SILU) is SILU


@pytest.mark.parametrize(
    ("function", "rises", "bounded"),
    [
        (X, True, False),
        (SILU, False, False),
        (Function("tanh", (X,)), True, True),
        (Function("maximum", (X, Function("mul", (0.1, X)))), True, False),
        (Function("round", (X,)), True, False),
        (Function("sin", (X,)), False, True),
        (Function("exp", (X,)), False, False),  # not finite everywhere
        (Function("clip", (X, 0.0, 6.0)), True, True),
    ],
)
def test_whether_it_rises_and_is_bounded(function, rises, bounded):
    assert function.rises == rises
    assert function.bounded == bounded


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="no elementary function"):
        Function("nothing", (X,))
