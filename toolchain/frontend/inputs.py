"""The inputs of a network: what data hold for each of several, and what a file says of them and leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.construction import BATCH
from toolchain.frontend.expression import Value
from toolchain.frontend.layers import reshape, scale, take
from toolchain.netlist import InputError, Part, Shape, UnsupportedError
from toolchain.netlist.parts import is_along_channels, joined_shape, places

#: What data hold for a network: samples of one shape, without the batch axis, or parts for several inputs.
Given = Shape | tuple[Part, ...]


def parts_of(given: Given | None) -> tuple[Part, ...]:
    """Return the parts for several inputs; none where there is one input."""
    return tuple(p for p in given or () if isinstance(p, Part))


def shape_of(given: Given) -> Shape:
    """Return the shape of the one input that a netlist has."""
    return joined_shape(parts) if (parts := parts_of(given)) else tuple(n for n in given if isinstance(n, int))


def shapes_for(where: str, names: Sequence[str], given: Given | None) -> list[Shape | None]:
    """Return the shape of each input of a network, in its order; None where nothing is given.

    Parameters
    ----------
    where : str
        The network.
    names : sequence of str
        What it calls its inputs.
    given : Given or None

    Raises
    ------
    UnsupportedError
        When it takes several inputs, and nothing or one shape is given.
    InputError
        When the parts are not the network's inputs.
    """
    parts = {part.name: part.shape for part in parts_of(given)}
    if not parts:
        if len(names) != 1:
            raise UnsupportedError(
                where,
                f"takes {len(names)} tensors: {', '.join(names)}",
                f"give data with an array for each, {', '.join(f'input_{name}' for name in names[:3])}",
            )
        return [shape_of(given) if given else None]
    if parts.keys() != set(names):
        raise InputError(where, f"takes {', '.join(names)}; the data hold {', '.join(parts)}", "name them alike")
    return [parts[name] for name in names]


def sources(builder: NetworkBuilder, names: Iterable[str], given: Given) -> dict[str, Value]:
    """Return the value of each input by its name: the builder's source, or where its part lies in it, in its unit."""
    parts = parts_of(given)
    if not parts:
        return dict.fromkeys(names, builder.source)
    values: dict[str, Value] = {}
    for part, place in zip(parts, places(parts), strict=True):
        value = take(builder.source, 0, place.start, place.stop, 1)
        value = value if is_along_channels(parts) else reshape(value, part.shape)
        values[part.name] = scale(value, np.array(part.unit))
    return values


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


def one_batch(where: str, batches: Sequence[int]) -> int:
    """Return the extent of the batch axis that inputs share: the fixed one, where some leave it open."""
    fixed = {n for n in batches if n != BATCH}
    if len(fixed) > 1:
        raise UnsupportedError(where, f"takes batches of {sorted(fixed)}", "export it with one batch axis for all")
    return next(iter(fixed), BATCH)
