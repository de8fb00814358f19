"""Functions of one real variable, as trees of elementary ones: what activation functions are read as.

A network may spell one function in many ways: SiLU is a layer, or ``x * sigmoid(x)``, or ``x / (1 + exp(-x))``. As
trees they compose, are evaluated on tensors, and have a text that says what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

#: What is written between its operands.
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}

#: Elementary functions by name; operands are tensors of float, constants have no axes.
ELEMENTARY: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "gt": lambda x, y: (x > y).to(x.dtype),
    "ge": lambda x, y: (x >= y).to(x.dtype),
    "lt": lambda x, y: (x < y).to(x.dtype),
    "le": lambda x, y: (x <= y).to(x.dtype),
    "where": lambda condition, x, y: torch.where(condition != 0, x, y),
    "relu": torch.relu,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": F.logsigmoid,
    "softplus": lambda x, beta, threshold: F.softplus(x, float(beta), float(threshold)),
    "elu": lambda x, alpha: F.elu(x, float(alpha)),
    "celu": lambda x, alpha: F.celu(x, float(alpha)),
    "selu": F.selu,
    "silu": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
    "softsign": F.softsign,
    "hardshrink": lambda x, bound: F.hardshrink(x, float(bound)),
    "softshrink": lambda x, bound: F.softshrink(x, float(bound)),
    "clip": lambda x, low, high: torch.clip(x, float(low), float(high)),
}

#: Where it is looked whether a function rises: densely where activations bend, and far out.
_PROBES = (
    torch.cat(
        [
            torch.linspace(-32, 32, 8193, dtype=torch.float64),
            *(s * torch.logspace(1.5, 4, 200).double() for s in (-1, 1)),
        ]
    )
    .sort()
    .values
)


@dataclass(frozen=True)
class Function:
    """A function of one real variable.

    Parameters
    ----------
    operation : str
        A name of `ELEMENTARY`, or "x", the variable.
    operands : tuple of Function or float

    Examples
    --------
    >>> str(Function("mul", (X, Function("sigmoid", (X,)))))
    'x * sigmoid(x)'
    """

    operation: str
    operands: tuple[Function | float, ...] = ()

    def __post_init__(self) -> None:
        if self.operation != "x" and self.operation not in ELEMENTARY:
            raise ValueError(f"{self.operation!r} is no elementary function")

    def __call__(self, x: Tensor) -> Tensor:
        """Return the function of every value of a floating point tensor, in its shape and dtype."""
        if self.operation == "x":
            return x
        values = (o(x) if isinstance(o, Function) else x.new_tensor(o) for o in self.operands)
        return ELEMENTARY[self.operation](*values)

    def of(self, inner: Function) -> Function:
        """Return the composition, ``self(inner(x))``."""
        if self.operation == "x" or inner.operation == "x":
            return inner if self.operation == "x" else self
        return Function(self.operation, tuple(o.of(inner) if isinstance(o, Function) else o for o in self.operands))

    def affine(self, factor: float, shift: float) -> Function:
        """Return ``factor * self + shift``."""
        scaled = self if factor == 1 else Function("mul", (float(factor), self))
        return scaled if shift == 0 else Function("add", (scaled, float(shift)))

    @cached_property
    def _probed(self) -> Tensor:
        return self(_PROBES)

    @property
    def rises(self) -> bool:
        """Whether it never falls, as far as samples of it tell."""
        values = self._probed
        slack = 1e-9 * (1 + values.abs())
        return bool(torch.isfinite(values).all()) and bool((values.diff() >= -slack[1:]).all())

    @property
    def bounded(self) -> bool:
        """Whether it stays between limits, as a gate does."""
        values = self._probed
        return bool(torch.isfinite(values).all()) and float(values.abs().max()) < math.sqrt(float(_PROBES[-1]))

    @property
    def binary(self) -> bool:
        """Whether it is 0 or 1 everywhere, as a comparison is."""
        values = self._probed
        return bool(((values == 0) | (values == 1)).all())

    def __str__(self) -> str:
        texts = [str(o) if isinstance(o, Function) else f"{o:g}" for o in self.operands]
        if self.operation == "x":
            return "x"
        if self.operation in _SIGNS:
            inner = [
                f"({t})" if isinstance(o, Function) and o.operation in _SIGNS else t
                for o, t in zip(self.operands, texts, strict=True)
            ]
            return f" {_SIGNS[self.operation]} ".join(inner)
        return f"{self.operation}({', '.join(texts)})"


#: The variable itself.
X = Function("x")
