"""Fixed linear maps along one axis at a time: resampling, padding by reflection, index lists, repetition.

Along spatial axes they are one `Resample`; along the channels, where none reaches, slices put side by side, or a
1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from toolchain.frontend.expression import Expression, Refusal, Value, concatenate, settled
from toolchain.netlist import Conv, Linear, Pad, Permute, Resample, Reshape, Scale, Slice

#: A matrix whose entries are multiples of 1/d for a d up to this is kept in whole numbers, others in real ones.
MOST_PARTS = 32
#: Most numbers of a matrix along an axis: 256 MiB, of which there are several for a while.
MOST_ENTRIES = 1 << 25
#: A list of positions whose matrix has more numbers than this is taken apart into runs, each of which is a slice.
_LONG_LIST = 1 << 20
#: Positions of a run that is worth a slice.
_LONG_RUN = 64
#: A list of channels is taken apart into at most so many slices.
_MOST_SLICES = 16


def map_axes(x: Value, matrices: Mapping[int, np.ndarray]) -> Value:
    """Multiply along axes of a value.

    Parameters
    ----------
    x : Value
    matrices : mapping of int to ndarray (extent after, extent before), float64
        By the axis, without the batch axis; channels are axis 0.
    """
    x = settled(x)
    for axis, matrix in matrices.items():
        if matrix.shape[1] != x.shape[axis]:
            raise ValueError(f"a matrix of {matrix.shape} meets axis {axis} of {x.shape}")
        if matrix.shape[0] == 0:
            raise Refusal(f"leaves nothing of axis {axis + 1}", "leave it out")
    spatial = {a: m for a, m in matrices.items() if a > 0 and not _is_identity(m)}
    if spatial:
        x = _resampled(x, [spatial[a] if a in spatial else _identity(n) for a, n in enumerate(x.shape) if a > 0])
    if 0 in matrices and not _is_identity(matrices[0]):
        x = _map_channels(x, matrices[0])
    return x


def gather(x: Value, lists: Mapping[int, Sequence[int]]) -> Value:
    """Take the values at positions of axes, in their order; -1 stands for a zero.

    Parameters
    ----------
    x : Value
    lists : mapping of int to sequence of int
        By the axis, without the batch axis: 0 to its extent - 1, or -1.
    """
    matrices = {}
    for axis, index in lists.items():
        chosen = np.asarray(index, dtype=np.int64)
        runs = list(_runs(chosen)) if chosen.size * x.shape[axis] > _LONG_LIST else []
        if len(runs) > 1:
            x = concatenate([_section(settled(x), axis, chosen[run]) for run in runs], axis)
        else:
            matrix = matrices[axis] = empty(chosen.size, x.shape[axis])
            there = np.flatnonzero(chosen >= 0)
            matrix[there, chosen[there]] = 1
    return map_axes(x, matrices)


def empty(after: int, before: int) -> np.ndarray:
    """Return zeros for a matrix along an axis, (after, before); raise Refusal where it would be too large."""
    if after * before > MOST_ENTRIES:
        raise Refusal(
            f"makes {after} values of {before} along an axis by a matrix of more than {MOST_ENTRIES} numbers",
            "do it before the network sees the data, or split the axis",
        )
    return np.zeros((after, before))


def _runs(index: np.ndarray) -> Iterator[slice]:
    """Take a list of positions apart: long runs of one rising step, and what lies between them."""
    steps = np.diff(index)
    edges = np.flatnonzero(np.diff(steps)) + 1
    done = 0
    for begin, end in pairwise([0, *edges, len(steps)]):
        start = max(begin, done)
        start += index[start] < 0
        if steps[begin] >= 1 and end - start >= _LONG_RUN:
            if start > done:
                yield slice(done, start)
            yield slice(start, end + 1)
            done = end + 1
    if done < len(index):
        yield slice(done, len(index))


def _section(x: Expression, axis: int, index: np.ndarray) -> Expression:
    """Take positions that lie close together, or at one rising step."""
    there = index[index >= 0]
    if not there.size:
        shape = (*x.shape[:axis], index.size, *x.shape[axis + 1 :])
        return Expression(shape, (), np.broadcast_to(np.float64(0), shape))
    first, last = int(there.min()), int(there.max())
    steps = np.unique(np.diff(index))
    if there.size == index.size > 1 and steps.size == 1 and steps[0] >= 1:
        return x.through(Slice(axis, first, last + 1, int(steps[0])))
    near = np.where(index < 0, -1, index - first)
    return settled(gather(x.through(Slice(axis, first, last + 1, 1)), {axis: near.tolist()}))


def expand(x: Value, shape: Sequence[int]) -> Value:
    """Repeat axes of extent 1, new ones in front among them, until the value has this shape."""
    shape = tuple(shape)
    grown = (*(1 for _ in shape[: len(shape) - len(x.shape)]), *x.shape)
    if any(n not in (1, m) for n, m in zip(grown, shape, strict=True)):
        raise Refusal(f"expands {x.shape} to {shape}", "expand axes of extent 1 alone")
    if grown != x.shape:
        x = x.through(Reshape(grown))
    return map_axes(x, {a: np.ones((m, 1)) for a, (n, m) in enumerate(zip(grown, shape, strict=True)) if n != m})


def whole_parts(matrix: np.ndarray, most: int = MOST_PARTS) -> tuple[np.ndarray, int] | None:
    """Return a matrix as integers and their unit's denominator; None where it would be above `most`."""
    for parts in range(1, most + 1):
        whole = np.rint(matrix * parts)
        if np.abs(matrix * parts - whole).max() < 1e-9:
            return whole.astype(np.int64), parts
    return None


def _identity(extent: int) -> np.ndarray:
    matrix = empty(extent, extent)
    np.fill_diagonal(matrix, 1)
    return matrix


def _is_identity(matrix: np.ndarray) -> bool:
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(matrix.shape[0]))


def _resampled(x: Expression, matrices: list[np.ndarray]) -> Expression:
    found = [whole_parts(m) for m in matrices]
    whole = [f for f in found if f is not None]
    if len(whole) < len(found):
        return x.through(Resample(tuple(matrices)))
    x = x.through(Resample(tuple(m for m, _ in whole)))
    parts = prod(p for _, p in whole)
    return x if parts == 1 else x.through(Scale(np.full(x.shape[0], 1.0 / parts)))


def _map_channels(x: Expression, matrix: np.ndarray) -> Expression:
    """Multiply along the channel axis."""
    channels, *space = x.shape
    if channels == 1 and space and len(space) < 3:  # one threshold: another axis may stand for the channels
        swap = Permute((1, 0, *range(2, len(x.shape))))
        return _resampled(x.through(swap), [matrix, *map(np.eye, space[1:])]).through(swap)
    slices = _slices(matrix)
    if slices is not None:
        return concatenate([_piece(x, index) for index in slices], 0)
    if not space:
        return x.through(Linear(matrix))
    flat = x if len(space) <= 3 else x.through(Reshape((channels, prod(space))))
    ones = (1,) * (len(flat.shape) - 1)
    kernel = np.ascontiguousarray(matrix).reshape(*matrix.shape, *ones)
    y = flat.through(Conv(kernel, ones, ((0, 0),) * len(ones), ones))
    return y if len(space) <= 3 else y.through(Reshape((matrix.shape[0], *space)))


def _slices(matrix: np.ndarray) -> list[np.ndarray] | None:
    """Take a selection apart into lists of one step each; None where it is none, or too many."""
    if not np.isin(matrix, (0.0, 1.0)).all() or matrix.sum(axis=1).max() > 1:
        return None
    index = np.where(matrix.any(axis=1), matrix.argmax(axis=1), -1)
    starts = [0]
    for i in range(1, len(index)):
        run = index[starts[-1] : i + 1]
        zeros = bool((run == -1).all())
        steps = {int(b - a) for a, b in pairwise(run)}
        if not zeros and ((run == -1).any() or len(steps) > 1 or min(steps) < 1):
            starts.append(i)
    if len(starts) > _MOST_SLICES:
        return None
    return np.split(index, starts[1:])


def _piece(x: Expression, index: np.ndarray) -> Expression:
    """Take channels of one step; a list of -1 is zeros."""
    if index[0] == -1:
        return Expression((len(index), *x.shape[1:]), (), np.broadcast_to(0.0, (len(index), *x.shape[1:])))
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    return x.through(Slice(0, int(index[0]), int(index[-1]) + 1, step))


def pad_with(x: Value, around: Sequence[tuple[int, int]], fill: float) -> Value:
    """Add a constant around, one (before, after) pair per axis, none of them negative."""
    x = settled(x).through(Pad(tuple(around)))
    if not fill:
        return x
    inside = tuple(slice(before, n - after) for (before, after), n in zip(around, x.shape, strict=True))
    border = np.full(x.shape, float(fill))
    border[inside] = 0
    return x.shift(border)
