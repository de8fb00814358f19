"""Compare two traces of one netlist: equal in every value, or the first divergence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolchain.equivalence.result import Divergence, EquivalenceReport, Explanation
from toolchain.netlist import InputError, Trace


def compare(expected: Trace, actual: Trace) -> EquivalenceReport:
    """Compare every payload and every running sum of two traces.

    Parameters
    ----------
    expected, actual : Trace
        Of the same netlist on the same samples.

    Returns
    -------
    EquivalenceReport
        Its first divergence is the earliest in causal order: least timestep, then the earliest
        population, then sample and index. So everything that feeds the diverging neuron was equal.

    Raises
    ------
    InputError
        When the traces are of different netlists, populations, numbers of timesteps or samples.
    """
    _check_comparable(expected, actual)
    theirs = actual.populations
    differing: dict[str, tuple[int, ...]] = {}
    first: Divergence | None = None
    compared = 0
    for name, values in expected.populations.items():
        # One timestep at a time: the masks of a whole trace would be as large as the trace.
        masks = (_differs(values[t], theirs[name][t]) for t in range(expected.timesteps))
        per_timestep = []
        for t, mask in enumerate(masks):
            per_timestep.append(int(np.count_nonzero(mask)))
            if per_timestep[-1] and (first is None or t < first.timestep):
                first = _divergence(name, t, mask, values[t], theirs[name][t], is_input=not differing)
        differing[name] = tuple(per_timestep)
        compared += values.size
    return EquivalenceReport(expected.backend, actual.backend, expected.samples, compared, differing, first)


def _differs(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    # int8 and uint8 compare as int16; only uint64 with int64 would go through floats, and no trace holds uint64.
    return np.asarray(expected != actual)


def _divergence(
    name: str, timestep: int, mask: np.ndarray, expected: np.ndarray, actual: np.ndarray, *, is_input: bool
) -> Divergence:
    sample, *index = (int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))
    position = (sample, *index)
    return Divergence(
        population=name,
        timestep=timestep,
        sample=sample,
        index=tuple(index),
        expected=int(expected[position]),
        got=int(actual[position]),
        cause="the data was encoded differently" if is_input else "all its inputs agree: its own update differs",
    )


def _check_comparable(expected: Trace, actual: Trace) -> None:
    if expected.netlist_hash != actual.netlist_hash:
        raise InputError(
            "traces",
            f"netlists {expected.netlist_hash[:12]} ({expected.backend}) and {actual.netlist_hash[:12]} "
            f"({actual.backend}) found, expected the same",
            "compare runs of one netlist",
        )
    ours, theirs = expected.populations, actual.populations
    if ours.keys() != theirs.keys():
        only = sorted(ours.keys() ^ theirs.keys())
        raise InputError("traces", f"population {only[0]!r} is in one of them only")
    for name, values in ours.items():
        for trace, found in ((expected, values), (actual, theirs[name])):
            if not np.issubdtype(found.dtype, np.integer) or found.dtype == np.uint64:
                raise InputError(name, f"{trace.backend} trace holds {found.dtype}, expected integers")
        if values.shape != theirs[name].shape:
            raise InputError(
                name,
                f"shapes {values.shape} ({expected.backend}) and {theirs[name].shape} ({actual.backend}) found, "
                "expected the same timesteps, samples and neurons",
            )


def join(reports: Sequence[EquivalenceReport]) -> EquivalenceReport:
    """Join the reports of consecutive batches of samples, in order.

    Raises
    ------
    InputError
        When there are none, or they are of different populations or backends.
    """
    if not reports:
        raise InputError("reports", "there are none to join")
    first = reports[0]
    order = {name: position for position, name in enumerate(first.differing)}
    earliest: tuple[tuple[int, int, int], Divergence, Explanation | None] | None = None
    start = 0
    for report in reports:
        if list(report.differing) != list(order) or (report.expected, report.actual) != (first.expected, first.actual):
            raise InputError("reports", "comparisons of different netlists or backends cannot be joined")
        found = report.first_divergence
        if found is not None:
            moved = replace(found, sample=start + found.sample)
            explanation = report.explanation and replace(report.explanation, divergence=moved)
            key = (moved.timestep, order[moved.population], moved.sample)
            if earliest is None or key < earliest[0]:
                earliest = (key, moved, explanation)
        start += report.samples
    return EquivalenceReport(
        expected=first.expected,
        actual=first.actual,
        samples=start,
        compared_values=sum(r.compared_values for r in reports),
        differing={
            name: tuple(sum(counts) for counts in zip(*(r.differing[name] for r in reports), strict=True))
            for name in order
        },
        first_divergence=None if earliest is None else earliest[1],
        explanation=None if earliest is None else earliest[2],
    )
