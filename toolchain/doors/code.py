"""Data that the user's code makes: a torch Dataset, anything else with a length and numbers, or an iterable."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from itertools import count
from operator import length_hint
from typing import Any, TypeVar

import numpy as np

from toolchain.data import UNKNOWN, Dataset, Joined
from toolchain.display import Progress
from toolchain.doors.items import parted, truth_in
from toolchain.doors.spool import OnDemand, Spool
from toolchain.netlist import InputError, Part
from toolchain.specs import failures

_END = object()
Made = TypeVar("Made")


def open_code(name: str, made: Any, *, limit: int | None, labelled: bool, progress: Progress) -> Dataset:
    """Return what code made as a data set; of every sample it is asked once, whatever reads it how often.

    Parameters
    ----------
    name : str
        Of the data, for messages.
    made : object
        With ``len`` and numbers (a torch Dataset of the map style, a list): samples come when they are read. Else an
        iterable, which is gone through now.
    limit : int or None
        Use the first samples only.
    labelled : bool
        Whether what is true of the samples is asked for: then all of them are fetched now.
    progress : Progress

    Raises
    ------
    InputError
        When it is neither, gives something other than (x, y), or fails; when samples are read as well.
    """
    if type(made).__name__ == "DataLoader" and hasattr(made, "dataset"):
        raise InputError(name, "a DataLoader found, which gives batches", "give its `dataset`, which gives samples")
    spool = Spool(name)
    if hasattr(made, "__getitem__") and hasattr(made, "__len__"):
        return _numbered(name, made, spool, limit, labelled, progress)
    if not isinstance(made, Iterable):
        raise InputError(name, f"{type(made).__name__} found, expected a torch Dataset or an iterable of (x, y)")
    items = _Items(name)
    found = list(_taken(name, made, spool, items, limit, progress))
    return Dataset(name, _filled(spool), truth_in(name, found) if labelled else UNKNOWN, parts=items.parts)


class _Items:
    """What code gives, sample by sample: of several inputs, all samples hold what the first does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: tuple[Part, ...] = ()
        self._is_first = True

    def taken(self, index: int, item: Any) -> tuple[np.ndarray, Any]:
        """Return a sample as an array, and what is true of it."""
        where = f"{self.name}, sample {index}"
        x, true = parted(where, item)
        parts = x.parts if isinstance(x, Joined) else ()
        if self._is_first:
            self.parts, self._is_first = parts, False
        if parts != self.parts:
            found, expected = (", ".join(map(str, p)) or "one input" for p in (parts, self.parts))
            raise InputError(where, f"{found} found, those before hold {expected}")
        return (x[:][0] if isinstance(x, Joined) else x), true


def _numbered(name: str, made: Any, spool: Spool, limit: int | None, labelled: bool, progress: Progress) -> Dataset:
    length = _asked(name, "len() failed", lambda: len(made))
    samples = length if limit is None else min(limit, length)
    if samples < 1:
        raise InputError(name, "holds no samples")

    items = _Items(name)
    values = OnDemand(
        spool, samples, lambda index: _asked(name, f"sample {index} failed", lambda: items.taken(index, made[index]))
    )
    if not labelled:
        return Dataset(name, values, parts=items.parts)
    with progress("reading samples", samples) as advance:
        for index in range(samples):
            values.read(index)
            advance()
    truth = truth_in(name, [values.true[index] for index in range(samples)])
    return Dataset(name, values, truth, parts=items.parts)


def _taken(
    name: str, made: Iterable[Any], spool: Spool, items: _Items, limit: int | None, progress: Progress
) -> Iterator[Any]:
    """Go through an iterable, keep its samples, and yield what is true of each."""
    source = _asked(name, "iter() failed", lambda: iter(made))
    with progress("reading samples", limit or length_hint(made)) as advance:
        for index in count() if limit is None else range(limit):
            item = _asked(name, f"sample {index} failed", lambda: next(source, _END))
            if item is _END:
                return
            sample, true = items.taken(index, item)
            spool.append(sample, index)
            yield true
            advance()


def _filled(spool: Spool) -> Spool:
    """Return a spool that holds something; raise InputError where nothing came."""
    assert spool.shape
    return spool


def _asked(name: str, what: str, question: Callable[[], Made]) -> Made:
    """Return what the user's code answers: its failures are one clear error, what it prints goes to stderr."""
    with failures(name, what, None, "while samples were read"), redirect_stdout(sys.stderr):
        return question()
