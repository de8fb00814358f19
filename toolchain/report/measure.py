"""Run a netlist once over a data set and measure everything that a report shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from hw_targets.placement import Placement
from hw_targets.rules.report import CheckReport
from hw_targets.schedule import schedule
from toolchain.data import Dataset
from toolchain.display import Displayed, Progress, silent
from toolchain.energy import Counts, EnergyReport, energy_text, estimate_energy, quantity
from toolchain.equivalence import EquivalenceReport
from toolchain.evaluate import (
    InputClips,
    Reference,
    input_clips,
    observe,
    operations,
    saturations,
    scoring,
)
from toolchain.netlist import AdaFire, CubaLif, LeakyReadout, Netlist, Score, membrane_bound
from toolchain.network import FloatNetwork
from toolchain.report.baselines import Baseline
from toolchain.report.fidelity import Error
from toolchain.report.observers import ANN, WITHOUT_SPIKES, Emitted, Fidelity, Likeness, emitted, exits
from toolchain.report.pictures import Gallery, Shown
from toolchain.tasks import Decoder, Outcome, measure_text, score_text

#: Samples in memory at a time.
BATCH = 32


@dataclass(frozen=True, eq=False)
class PopulationActivity:
    """What one population did.

    Parameters
    ----------
    name : str
    bursts : ndarray (phi + 1,), int64
        How often each payload was emitted; by magnitude for the input; empty for a readout.
    rate_map : ndarray (*shape), float64
        Mean |payload| per timestep of each neuron; empty for a readout.
    saturations : int
    spiking_error, ann_error : Error or None
        Against the netlist without spikes, and against the ANN where one was given.
    """

    name: str
    bursts: np.ndarray
    rate_map: np.ndarray
    saturations: int
    spiking_error: Error | None
    ann_error: Error | None


@dataclass(frozen=True, eq=False)
class Headroom:
    """How much of the membrane's width a population can use: a static bound, no measurement."""

    bound: int
    limit: int

    @property
    def bits(self) -> int:
        """Width that holds the bound, sign included."""
        return self.bound.bit_length() + 1


@dataclass(frozen=True, eq=False)
class Measurement(Displayed):
    """Everything measured on one netlist.

    Parameters
    ----------
    netlist : Netlist
    name, data : str
        How the report calls the netlist and the data.
    samples : int
    outcome : Outcome
        How well it does what it is for, at each of its answers (`Netlist.answers`).
    without_spikes : Score or None
        Of the netlist without spikes.
    input_clips : InputClips
    energy : EnergyReport
    activity : mapping of str to PopulationActivity
    headroom : mapping of str to Headroom
        Of populations with a membrane potential.
    exits : tuple of int
        How many samples stop at each timestep; empty for a netlist without early exit.
    equivalence : EquivalenceReport or None
    placement : Placement or None
    check : CheckReport or None
    gallery : tuple of Shown
        Samples, and what ANN and SNN say of them.
    baselines : tuple of Baseline
        Other netlists at the score of this one.
    """

    netlist: Netlist
    name: str
    data: str
    samples: int
    outcome: Outcome
    without_spikes: Score | None
    input_clips: InputClips
    energy: EnergyReport
    activity: Mapping[str, PopulationActivity]
    headroom: Mapping[str, Headroom]
    exits: tuple[int, ...]
    gallery: tuple[Shown, ...] = ()
    equivalence: EquivalenceReport | None = None
    placement: Placement | None = None
    check: CheckReport | None = None
    baselines: tuple[Baseline, ...] = ()

    @property
    def latency(self) -> int:
        """Timesteps of a pipeline, a step per hop, from the first payload to the answer (semantics, section 4)."""
        return schedule(self.netlist).latency

    @property
    def score(self) -> float | None:
        """Score of the integer network at the last timestep."""
        return None if self.outcome.score is None else self.outcome.score.value

    @property
    def references(self) -> dict[str, Score]:
        """The scores to be seen beside it: of the ANN, and of the netlist without spikes."""
        found = {"the ANN": self.outcome.ann, "the network without spikes": self.without_spikes}
        return {who: score for who, score in found.items() if score is not None}

    def score_lines(self) -> Iterator[tuple[str, str]]:
        """Yield the scores in words: what it is, and how much."""
        score = self.outcome.score
        if score is None:
            yield self.outcome.measure, self.outcome.unscored or "not measured"
            return
        yield score.measure, score_text(score)
        yield from ((measure_text(name), f"{value:.2%}") for name, value in score.further.items())
        yield from ((f"{score.measure} of {who}", f"{other.value:.2%}") for who, other in self.references.items())

    def __rich__(self) -> Table:
        """Return the summary as a table; the page has the rest."""
        table = Table("report", self.name)
        table.add_row("data", f"{self.data}, {self.samples:,} samples, {self.netlist.run_length}")
        table.add_row("timesteps until the answer", f"{self.latency}, a sample every {self.netlist.timesteps}")
        for what, text in self.score_lines():
            table.add_row(what, text)
        if self.input_clips.note is not None:
            table.add_row("note", self.input_clips.note)
        table.add_row("SOPs per sample", quantity(self.energy.sops / self.samples))
        table.add_row("energy per sample", energy_text(self.energy.e_snn / self.samples))
        table.add_row("energy of the FP32 ANN", energy_text(self.energy.e_ann / self.samples))
        if self.equivalence is not None:
            table.add_row("equivalence", str(self.equivalence))
        if self.check is not None:
            violations = len(self.check.violations)
            table.add_row(self.check.title, f"violations: {violations}" if violations else "fits")
        for baseline in self.baselines:
            reached = "never" if baseline.timestep is None else f"at timestep {baseline.timestep}"
            table.add_row(f"{baseline.name} as good", reached)
        return table


def measure(
    netlist: Netlist,
    data: Dataset,
    *,
    name: str,
    readout: str | None = None,
    decode: Decoder | None = None,
    ann: FloatNetwork | None = None,
    equivalence: EquivalenceReport | None = None,
    placement: Placement | None = None,
    check: CheckReport | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Run a netlist over a data set and measure.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
        Labels are optional.
    name : str
        How the report calls the netlist.
    readout : str, optional
        Name of the readout that is scored, where there are several.
    decode : Decoder, optional
        Makes boxes of the outputs, for detection.
    ann : FloatNetwork, optional
        The network that it was converted from, to compare with.
    equivalence, placement, check
        Outcomes of `adafire verify` and `adafire check`, where they were run.
    progress : Progress

    Raises
    ------
    InputError
        When the data do not fit the netlist.
    """
    scored = scoring(netlist, data, readout=readout, decode=decode)
    fidelity = Fidelity(data, ann, scored.task)
    gallery = Gallery(data, scored.task, ann)
    observers = (scored, operations, saturations, input_clips, emitted, fidelity, exits, gallery)
    seen = observe(Reference(netlist, spikes=True), data, observers, batch=BATCH, progress=progress)
    counts, likeness = seen[operations], seen[fidelity]
    scores = {who: next(iter(found.tallies.scores()), None) for who, found in likeness.items()}
    return Measurement(
        netlist=netlist,
        name=name,
        data=data.name,
        samples=counts.samples,
        outcome=scored.outcome(seen, ann=scores.get(ANN)),
        without_spikes=scores.get(WITHOUT_SPIKES),
        input_clips=seen[input_clips],
        energy=estimate_energy(counts),
        activity=_activity(netlist, counts, seen[emitted], seen[saturations], likeness),
        headroom={
            p.name: Headroom(membrane_bound(netlist, p.name).magnitude, netlist.membrane_limit)
            for p in netlist.populations
            if isinstance(p, AdaFire | CubaLif | LeakyReadout)
        },
        exits=tuple(seen[exits].tolist()),
        gallery=seen[gallery],
        equivalence=equivalence,
        placement=placement,
        check=check,
    )


def _activity(
    netlist: Netlist,
    counts: Counts,
    found: Mapping[str, Emitted],
    clips: Mapping[str, int],
    likeness: Mapping[str, Likeness],
) -> dict[str, PopulationActivity]:
    spiking, ann = (likeness[who].errors if who in likeness else {} for who in (WITHOUT_SPIKES, ANN))
    return {
        p.name: PopulationActivity(
            name=p.name,
            bursts=found[p.name].bursts if p.emits else np.zeros(0, np.int64),
            rate_map=found[p.name].payloads / counts.steps if p.emits else np.zeros(0),
            saturations=clips.get(p.name, 0),
            spiking_error=spiking.get(p.name),
            ann_error=ann.get(p.name),
        )
        for p in netlist.populations
    }
