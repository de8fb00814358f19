"""The input of a graph that a file holds: what the file says, and what it leaves open."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.frontend.construction import BATCH
from toolchain.netlist import InputError, Shape, UnsupportedError


def settle_input(where: str, axes: Sequence[int | None], wanted: Shape | None, name: str = "") -> tuple[Shape, int]:
    """Return the input's shape, without the batch axis, and the extent of the batch axis.

    Parameters
    ----------
    where : str
        The file.
    axes : sequence of int or None
        What it says; None for an axis that it leaves open.
    wanted : tuple of int, optional
        Without the batch axis; needed only where the file leaves axes open.
    name : str
        What the file calls its input.

    Raises
    ------
    UnsupportedError
        When there is no batch axis.
    InputError
        When axes stay open, or `wanted` does not agree with the file.
    """
    if len(axes) < 2:
        raise UnsupportedError(where, f"takes an input of {len(axes)} axes", "export it with a batch axis in front")
    batch, *sample = axes
    if wanted is None:
        wanted = tuple(n for n in sample if n is not None)
        if len(wanted) != len(sample):
            called = f" {name!r}" if name else ""
            raise InputError(where, f"leaves axes of its input{called} open", "give its `input_shape`")
    if len(wanted) != len(sample) or any(n not in (None, w) for n, w in zip(sample, wanted, strict=True)):
        raise InputError(where, f"takes an input of shape {tuple(sample)}, {wanted} was given")
    return wanted, batch or BATCH
