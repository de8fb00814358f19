"""Ridge regression of many rows: the linear change of the inputs that takes back the errors.

With X the inputs, R the errors, both around their means, the change of the weights is

    D = (X'X + r m I)^-1 X'R  =  X' (XX' + r m I)^-1 R          m: mean over inputs of the sum of x**2

and that of the bias takes what the means leave: it has no penalty. Of the two forms the one with the smaller matrix is
solved: `Moments` adds rows up and forgets them, `KeptRows` are fewer than there are inputs. One Cholesky
factorisation serves all outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sim.threads import each_alone, one_thread

#: Columns of X'X or XX' that are computed together: nothing above the diagonal is needed of a symmetric matrix.
_BLOCK = 768
#: Penalty at the least: just enough for a solution to exist where all inputs are 0.
_LEAST_PENALTY = 1e-12
#: Outputs on which the penalty is chosen.
_JUDGED = 64


@dataclass(frozen=True, eq=False)
class Rows:
    """Inputs and errors, a row per sample and position, per group of channels (G).

    Parameters
    ----------
    inputs : Tensor (G, R, K), float32
    errors : Tensor (G, R, C), float32
    """

    inputs: Tensor
    errors: Tensor

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """Put rows below each other."""
        return cls(torch.cat([p.inputs for p in parts], 1), torch.cat([p.errors for p in parts], 1))

    def __len__(self) -> int:
        return int(self.inputs.shape[1])


@dataclass(frozen=True, eq=False)
class System:
    """Equations that are ready to be solved for any penalty.

    Parameters
    ----------
    matrix : Tensor (G, M, M), float32
        X'X or XX' around the means; what lies above the diagonal does not count.
    right : Tensor (G, M, C), float32
        X'R or R around the means.
    inputs : Tensor (G, M, K), float32, optional
        X around its means, for the form with XX'.
    energy : Tensor (G,), float32
        m.
    mean_input, mean_error : Tensor (G, K) and (G, C), float32
    """

    matrix: Tensor
    right: Tensor
    inputs: Tensor | None
    energy: Tensor
    mean_input: Tensor
    mean_error: Tensor

    def factor(self, ridge: float) -> Tensor:
        """Return the Cholesky factor (G, M, M) for a penalty.

        Float32 makes it the factor for a penalty that differs by millionths of the greatest energy around the means;
        where that is too much, it is float64.
        """
        penalty = (ridge * self.energy).clamp(min=_LEAST_PENALTY)[:, None]
        # Columns innermost, as LAPACK has them, and factorised in place: two are at work at a time.
        factor = self.matrix.mT.clone(memory_format=torch.contiguous_format).mT
        factor.diagonal(dim1=1, dim2=2).add_(penalty)
        failed = torch.zeros(len(factor), dtype=torch.int32)
        torch.linalg.cholesky_ex(factor, out=(factor, failed))
        if failed.any():
            matrix = self.matrix.double()
            matrix.diagonal(dim1=1, dim2=2).add_(penalty + self.energy[:, None] * torch.finfo(torch.float32).eps)
            factor = torch.linalg.cholesky(matrix)
        return factor

    def solve(self, factor: Tensor, outputs: slice = slice(None)) -> Change:
        """Return the change of some outputs' weights and biases."""
        weights = torch.cholesky_solve(self.right[:, :, outputs].to(factor), factor).float()
        if self.inputs is not None:
            weights = self.inputs.transpose(1, 2) @ weights
        return Change(weights, self.mean_error[:, outputs] - (self.mean_input[:, None] @ weights)[:, 0])


@dataclass(frozen=True, eq=False)
class Change:
    """What is added to weights (G, K, C) and biases (G, C), float32."""

    weights: Tensor
    bias: Tensor

    def left_over(self, rows: Rows, outputs: slice) -> float:
        """Return the squared error that is left of some outputs' errors."""
        left = rows.errors[:, :, outputs] - rows.inputs @ self.weights - self.bias[:, None]
        return float(left.square().sum(dtype=torch.float64))


class Equations(Protocol):
    """What a fit needs of its rows; `digest` works on any core, `add` in order."""

    def digest(self, rows: Rows) -> Rows | Products:
        """Return what `add` takes of some rows; changes nothing."""

    def add(self, digested: Any) -> None:
        """Add rows."""

    def system(self) -> System:
        """Return the equations of all rows that were added."""


@dataclass(frozen=True, eq=False)
class Products:
    """X'X of some rows, in blocks of columns (first column, block) from their diagonal on down, X'R, and sums."""

    blocks: list[tuple[int, Tensor]]
    cross: Tensor
    sums: tuple[Tensor, Tensor]
    rows: int


class Moments:
    """X'X and X'R summed up in float64, the rows forgotten: `groups` matrices of `inputs` columns."""

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        self._gram = torch.zeros(groups, inputs, inputs, dtype=torch.float64)
        self._cross = torch.zeros(groups, inputs, outputs, dtype=torch.float64)
        self._sums = (
            torch.zeros(groups, inputs, dtype=torch.float64),
            torch.zeros(groups, outputs, dtype=torch.float64),
        )
        self._rows = 0

    def digest(self, rows: Rows) -> Products:
        """Return the products and sums of some rows."""
        across = rows.inputs.transpose(1, 2)
        starts = range(0, rows.inputs.shape[2], _BLOCK)
        blocks = [(i, across[:, i:] @ rows.inputs[:, :, i : i + _BLOCK]) for i in starts]
        sums = (rows.inputs.sum(1, dtype=torch.float64), rows.errors.sum(1, dtype=torch.float64))
        return Products(blocks, across @ rows.errors, sums, len(rows))

    def add(self, digested: Products) -> None:
        """Add up."""
        for start, block in digested.blocks:
            self._gram[:, start:, start : start + block.shape[2]] += block
        self._cross += digested.cross
        for total, summand in zip(self._sums, digested.sums, strict=True):
            total += summand
        self._rows += digested.rows

    @one_thread()
    def system(self) -> System:
        """Return the form with X'X. The sums are used up."""
        energy = self._gram.diagonal(dim1=1, dim2=2).mean(1)
        inputs, errors = (total / max(self._rows, 1) for total in self._sums)
        # In place, and no longer kept: it is the greatest of all that a fit holds.
        gram, self._gram = self._gram, self._gram[:0]
        matrix = gram.baddbmm_(inputs[:, :, None], inputs[:, None, :], alpha=-self._rows)
        right = self._cross - self._rows * inputs[:, :, None] * errors[:, None, :]
        return System(matrix.float(), right.float(), None, energy.float(), inputs.float(), errors.float())


class KeptRows:
    """The rows themselves, where they are fewer than the inputs."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []

    def digest(self, rows: Rows) -> Rows:
        """Return the rows."""
        return rows

    def add(self, digested: Rows) -> None:
        """Keep the rows."""
        self._parts.append(digested)

    def system(self) -> System:
        """Return the form with XX'."""
        with one_thread():
            rows = Rows.join(self._parts)
            energy = rows.inputs.square().sum((1, 2)) / rows.inputs.shape[2]
            mean_input, mean_error = rows.inputs.mean(1), rows.errors.mean(1)
            inputs, right = rows.inputs - mean_input[:, None], rows.errors - mean_error[:, None]
        matrix = torch.zeros(len(inputs), len(rows), len(rows))

        def fill(start: int) -> None:
            columns = slice(start, start + _BLOCK)
            matrix[:, start:, columns] = inputs[:, start:] @ inputs[:, columns].transpose(1, 2)

        each_alone(fill, range(0, len(rows), _BLOCK))
        return System(matrix, right, inputs, energy, mean_input, mean_error)


def equations(groups: int, inputs: int, outputs: int, rows: int) -> Equations:
    """Return the form with the smaller matrix: `groups` fits of `rows` rows, `inputs` to `outputs` of a group."""
    return KeptRows() if rows < inputs else Moments(groups, inputs, outputs)


def best_change(system: System, judging: Rows, ridges: Sequence[float]) -> Change | None:
    """Return the change with the penalty that leaves the least error on other rows; None where no change does good.

    Parameters
    ----------
    system : System
    judging : Rows
        That the system does not know. Without any nothing can be said for a change.
    ridges : sequence of float
        Penalties that are tried.
    """
    outputs = judging.errors.shape[2]
    some = slice(0, outputs, -(-outputs // _JUDGED))

    def judged(ridge: float) -> float:
        return system.solve(system.factor(ridge), some).left_over(judging, some)

    left, ridge = min(zip(each_alone(judged, ridges), ridges, strict=True), key=lambda found: found[0])
    with one_thread():
        before = float(judging.errors[:, :, some].square().sum(dtype=torch.float64))
    if left >= before:
        return None
    # Factorised once more: to keep all factors would take more memory than all else that a fit holds.
    with one_thread():
        return system.solve(system.factor(ridge))
