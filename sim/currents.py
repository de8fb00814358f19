"""The current of one connection for a whole batch of payloads: which kernel carries it exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sim.kernels import apply_chain
from toolchain.netlist import Connection, NetlistError, Operator, Population, Weighted, bound_partial_sums

#: Integers up to this magnitude are exact in each float type.
EXACT = {torch.float32: 2**24, torch.float64: 2**53}


def carrier(where: str, bound: int) -> torch.dtype:
    """Return the narrowest float type that carries every integer up to `bound` exactly.

    Raises
    ------
    NetlistError
        When none does.
    """
    for dtype, limit in EXACT.items():
        if bound <= limit:
            return dtype
    raise NetlistError(where, f"partial sums reach {bound}, expected at most 2**53")


@dataclass(frozen=True, eq=False)
class Current:
    """A compiled connection: payloads in, currents out.

    Parameters
    ----------
    operators : tuple of Operator
        Weights held in `dtype`.
    dtype : torch.dtype
        float32 or float64; exact by the bound.
    bound : int
        No partial sum is greater in magnitude.
    """

    operators: tuple[Operator, ...]
    dtype: torch.dtype
    bound: int

    def __call__(self, payload: Tensor) -> Tensor:
        """Return the current (B, *target shape) of a batch of payloads (B, *source shape)."""
        return apply_chain(self.operators, payload.to(self.dtype))


def compile_current(connection: Connection, source: Population) -> Current:
    """Choose the kernel of a connection from the bound of its partial sums."""
    bound = bound_partial_sums(connection, source)
    dtype = carrier(connection.name, bound)
    numpy_dtype = np.float32 if dtype is torch.float32 else np.float64
    operators = tuple(
        replace(o, weight=o.weight.astype(numpy_dtype)) if isinstance(o, Weighted) else o for o in connection.operators
    )
    return Current(operators, dtype, bound)
