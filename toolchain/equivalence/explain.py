"""Explain the first divergence: the neuron's inputs, its arithmetic on both sides, and the likely cause.

Everything that feeds the first diverging neuron agrees, so the fault lies in its own population.
Known faults are tried one by one: the one that reproduces what the other side emitted is the cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from toolchain.equivalence.compare import compare
from toolchain.equivalence.faults import Fault, Isolated, Replay, faults
from toolchain.equivalence.result import Candidate, Contribution, Divergence, EquivalenceReport, Explanation, Membrane
from toolchain.netlist import (
    AdaFire,
    CubaLif,
    Input,
    MaxPool,
    Netlist,
    Trace,
    adjoint,
    chain_shapes,
    per_channel,
)

#: Samples that a fault is tried on: the diverging one and those right before it.
WINDOW = 4


def diagnose(netlist: Netlist, expected: Trace, actual: Trace) -> EquivalenceReport:
    """Compare two traces and explain the first divergence, if there is one.

    Parameters
    ----------
    netlist : Netlist
    expected : Trace
        By an executor that is known to follow the semantics.
    actual : Trace
        By the one in question.

    Returns
    -------
    EquivalenceReport
        As `compare` gives it, with the cause that was found and its explanation. There is no
        explanation where the traces agree, or already differ in the input. Digits are explained as the numbers that
        they spell: a number follows from whole numbers, its digits do not from digits of the same timestep.
    """
    report = compare(expected, actual)
    if netlist.radix is not None and not report.equivalent:
        whole = diagnose(netlist.numbers, _in_numbers(netlist, expected), _in_numbers(netlist, actual))
        if whole.first_divergence is None:
            return report
        # The number is there with its last digit.
        found = replace(whole.first_divergence, timestep=netlist.timesteps - 1)
        explanation = whole.explanation and replace(whole.explanation, divergence=found)
        return replace(report, first_divergence=found, explanation=explanation)
    first = report.first_divergence
    if first is None or isinstance(netlist[first.population], Input):
        return report
    explanation = _explain(netlist, expected, actual, first)
    return replace(report, first_divergence=explanation.divergence, explanation=explanation)


def _in_numbers(netlist: Netlist, trace: Trace) -> Trace:
    """Return a trace of digits as one timestep of the numbers that they spell."""
    assert netlist.radix is not None
    spikes = {name: netlist.radix.read(digits)[np.newaxis] for name, digits in trace.spikes.items()}
    readouts = {name: sums[-1:] for name, sums in trace.readouts.items()}
    return Trace(netlist.numbers.content_hash, trace.backend, spikes, readouts)


def _window(trace: Trace, names: list[str], samples: slice) -> Mapping[str, np.ndarray]:
    return {name: trace.populations[name][:, samples] for name in names}


def _explain(netlist: Netlist, expected: Trace, actual: Trace, first: Divergence) -> Explanation:
    name = first.population
    sources = list(dict.fromkeys(c.source for c in netlist.inputs(name)))
    # A delay moves payloads between neighbouring samples: one more on either side is run, but not scored.
    samples = slice(max(0, first.sample - WINDOW), first.sample + 2)
    scored = slice(min(1, samples.start), first.sample + 1 - samples.start)
    got = actual.populations[name][:, samples][:, scored].astype(np.int64)
    # The payloads that really arrived there: after the first divergence they may differ as well.
    isolated = Isolated(netlist, name, _window(actual, sources, samples))

    def matches(replayed: Replay) -> int:
        return int(np.count_nonzero(replayed.output[:, scored] == got))

    tried = []
    for fault in faults(netlist, name, largest=int(got.max())):
        if fault.carried and samples.start > 0:
            continue  # what the sample before the window left behind is not known
        replayed = isolated.replay(fault)
        tried.append((matches(replayed), fault, replayed))
    at = (first.timestep, first.sample - samples.start, *first.index)
    base = matches(isolated.replay())
    # A candidate must at least explain the divergence itself.
    fitting = sorted((t for t in tried if t[0] > base and t[2].output[at] == first.got), key=lambda t: -t[0])
    best = fitting[0] if fitting else None
    population = netlist[name]
    reference = Isolated(netlist, name, _window(expected, sources, samples))
    contributions = _contributions(netlist, expected, first)
    neuron = population if isinstance(population, AdaFire) else None
    fires = population if isinstance(population, AdaFire | CubaLif) else None
    theta = None if fires is None else _at(fires.threshold, fires.shape, first.index)
    return Explanation(
        divergence=replace(first, cause=_cause(best, got.size, name)),
        current=sum(c.payload * c.weight for c in contributions),
        bias=0 if isinstance(population, Input | MaxPool) else _at(population.bias, population.shape, first.index),
        threshold=theta,
        phi=None if neuron is None else neuron.phi,
        contributions=contributions,
        expected=_membrane(reference.replay(), at),
        got=None if best is None else _membrane(best[2], at),
        needed=None if neuron is None else _needed(first.got, theta or 1, neuron.phi, netlist.membrane_limit),
        candidates=tuple(Candidate(fault.cause, score, got.size) for score, fault, _ in fitting),
    )


def _at(values: np.ndarray, shape: tuple[int, ...], index: tuple[int, ...]) -> int:
    return int(np.broadcast_to(per_channel(values, shape), shape)[index])


def _cause(best: tuple[int, Fault, Replay] | None, size: int, name: str) -> str:
    if best is None:
        return "unknown: all its inputs agree, and no known fault emits what was got"
    matches, fault, _ = best
    share = f"reproduces all {size} values" if matches == size else f"reproduces {matches} of {size} values"
    return f"{fault.cause} ({share} of {name})"


def _membrane(replay: Replay, at: tuple[int, ...]) -> Membrane | None:
    if replay.before is None or replay.integrated is None or replay.after is None:
        return None
    return Membrane(int(replay.before[at]), int(replay.integrated[at]), int(replay.output[at]), int(replay.after[at]))


def _needed(payload: int, theta: int, phi: int, limit: int) -> tuple[int, int] | None:
    """Range of u with clip(u // theta, 0, phi) == payload."""
    if not 0 <= payload <= phi:
        return None
    low = -limit if payload == 0 else payload * theta
    return low, limit if payload == phi else (payload + 1) * theta - 1


def _contributions(netlist: Netlist, trace: Trace, first: Divergence) -> tuple[Contribution, ...]:
    """Weights of the neuron's synapses: the transposed connection applied to its unit vector."""
    population = netlist[first.population]
    if isinstance(population, Input | MaxPool):
        return ()
    found = []
    arrived = [(c, *part) for c in netlist.inputs(first.population) for part in c.parts if part[0] <= first.timestep]
    for connection, delay, operators in arrived:
        shapes = chain_shapes(operators, netlist[connection.source].shape)
        weights = np.zeros(shapes[-1], np.int64)
        weights[first.index] = 1
        for operator, before in zip(reversed(operators), reversed(shapes[:-1]), strict=True):
            weights = adjoint(operator, weights, before)
        payloads = trace.spikes[connection.source][first.timestep - delay, first.sample].astype(np.int64)
        for position in np.argwhere(weights * payloads):
            index = tuple(int(i) for i in position)
            found.append(Contribution(connection.source, index, int(payloads[index]), int(weights[index])))
    return tuple(sorted(found, key=lambda c: -abs(c.payload * c.weight)))
