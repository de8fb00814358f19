"""What a comparison found: a report, the first divergence in it, and the explanation of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from toolchain.display import Displayed

#: Inputs that tables show, largest first.
SHOWN = 12


@dataclass(frozen=True)
class Divergence:
    """The first value, in causal order, that two traces disagree on.

    Parameters
    ----------
    population : str
    timestep : int
        From 0.
    sample : int
        From 0.
    index : tuple of int
        Position in the population, without time and sample.
    expected, got : int
        Payload, or running sum of a readout.
    cause : str
        What the traces show about the reason.
    """

    population: str
    timestep: int
    sample: int
    index: tuple[int, ...]
    expected: int
    got: int
    cause: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "index": list(self.index)}


@dataclass(frozen=True)
class Contribution:
    """One synapse that carried something into the diverging neuron.

    Parameters
    ----------
    source : str
    index : tuple of int
        Position of the source neuron.
    payload, weight : int
    """

    source: str
    index: tuple[int, ...]
    payload: int
    weight: int


@dataclass(frozen=True)
class Membrane:
    """One timestep of a neuron: potential before, after integration, after reset; and its payload."""

    before: int
    integrated: int
    payload: int
    after: int


@dataclass(frozen=True)
class Candidate:
    """A fault that was tried, and how many values of the population it reproduces."""

    cause: str
    matches: int
    of: int

    @property
    def exact(self) -> bool:
        """Whether every value is reproduced."""
        return self.matches == self.of


@dataclass(frozen=True)
class Explanation(Displayed):
    """The first divergence with the arithmetic around it.

    Parameters
    ----------
    divergence : Divergence
        Its `cause` is the verdict.
    current : int
        Sum of payload * weight over the synapses.
    bias, threshold, phi : int or None
        Of the neuron; `threshold` and `phi` are None for a readout or max-pooling.
    contributions : tuple of Contribution
        Synapses that carried a non-zero product, largest first.
    expected : Membrane or None
        The timestep by the semantics; None for a population without a membrane.
    got : Membrane or None
        The same with the best candidate's fault; None where no fault fits.
    needed : tuple of int or None
        Range of the membrane potential after integration that would have emitted what was got.
    candidates : tuple of Candidate
        Best first; those that reproduce no more than the faultless replay are left out.
    """

    divergence: Divergence
    current: int
    bias: int
    threshold: int | None
    phi: int | None
    contributions: tuple[Contribution, ...]
    expected: Membrane | None
    got: Membrane | None
    needed: tuple[int, int] | None
    candidates: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def __rich__(self) -> RenderableType:
        """Return the explanation as tables for a terminal."""
        return _render(self)


@dataclass(frozen=True)
class EquivalenceReport(Displayed):
    """Outcome of a comparison.

    Parameters
    ----------
    expected, actual : str
        The backends that wrote the traces.
    samples : int
    compared_values : int
        Every payload and every running sum.
    differing : mapping of str to tuple of int, one per timestep
        How many values of each population differ, in the order of the netlist.
    first_divergence : Divergence or None
    explanation : Explanation or None
        Where `diagnose` found one.
    """

    expected: str
    actual: str
    samples: int
    compared_values: int
    differing: Mapping[str, tuple[int, ...]]
    first_divergence: Divergence | None
    explanation: Explanation | None = None

    @property
    def equivalent(self) -> bool:
        """Whether every value is equal."""
        return self.first_divergence is None

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values; `explanation` is there only where one was found."""
        verdict = {
            "equivalent": self.equivalent,
            "compared_values": self.compared_values,
            "first_divergence": None if self.first_divergence is None else self.first_divergence.to_json(),
        }
        return verdict if self.explanation is None else {**verdict, "explanation": self.explanation.to_json()}

    def __rich__(self) -> RenderableType:
        """Return the verdict for a terminal, with the explanation if there is one."""
        pair = f"{self.actual} against {self.expected}"
        first = self.first_divergence
        if first is None:
            return f"{pair}: equivalent, all {self.compared_values:,} values of {self.samples:,} samples agree"
        differing = sum(map(sum, self.differing.values()))
        head = f"{pair}: not equivalent, {differing:,} of {self.compared_values:,} values differ"
        if self.explanation is not None:
            return Group(head, self.explanation)
        where = f"{first.population}{list(first.index)}, timestep {first.timestep}, sample {first.sample}"
        return f"{head}\nfirst at {where}: expected {first.expected}, got {first.got} ({first.cause})"


def _render(explanation: Explanation) -> RenderableType:
    first = explanation.divergence
    where = f"{first.population}{list(first.index)}, timestep {first.timestep}, sample {first.sample}"
    parts: list[RenderableType] = [
        f"First divergence: {where}: expected {first.expected}, got {first.got}",
        f"Likely cause: {first.cause}",
    ]
    if explanation.contributions:
        table = Table(box=box.SIMPLE_HEAD, title="What arrived (both sides alike)", title_justify="left")
        for heading in ("source", "neuron"):
            table.add_column(heading, overflow="fold")
        for heading in ("payload", "weight", "product"):
            table.add_column(heading, justify="right")
        for c in explanation.contributions[:SHOWN]:
            table.add_row(c.source, str(list(c.index)), str(c.payload), str(c.weight), str(c.payload * c.weight))
        rest = len(explanation.contributions) - SHOWN
        if rest > 0:
            table.caption = f"and {rest} smaller ones"
        parts.append(table)
    parts.append(f"Current {explanation.current}, bias {explanation.bias}")
    if explanation.expected is not None:
        table = Table(box=box.SIMPLE_HEAD, title="Membrane potential", title_justify="left")
        table.add_column("side")
        for heading in ("before", "integrated", "payload", "after"):
            table.add_column(heading, justify="right")
        for side, m in (("expected", explanation.expected), ("got, with this fault", explanation.got)):
            if m is not None:
                table.add_row(side, str(m.before), str(m.integrated), str(m.payload), str(m.after))
        parts.append(table)
        parts.append(f"Threshold {explanation.threshold}, longest burst {explanation.phi}")
        if explanation.needed is not None:
            low, high = explanation.needed
            parts.append(f"To emit {first.got}, the integrated potential would have to be {low} to {high}")
    if len(explanation.candidates) > 1 and not explanation.candidates[0].exact:
        also = "; ".join(f"{c.cause} ({c.matches} of {c.of})" for c in explanation.candidates[1:4])
        parts.append(f"Also possible: {also}")
    return Group(*parts)
