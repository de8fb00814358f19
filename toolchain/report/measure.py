"""Run a netlist once over a data set and measure everything that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
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
    accuracy_text,
    input_clips,
    observe,
    operations,
    right,
    saturations,
    scored_readout,
    why_unscored,
)
from toolchain.netlist import AdaFire, CubaLif, LeakyReadout, Netlist, membrane_bound
from toolchain.network import FloatNetwork
from toolchain.report.baselines import Baseline
from toolchain.report.fidelity import Error
from toolchain.report.observers import ANN, WITHOUT_SPIKES, Emitted, Fidelity, Likeness, emitted, exits

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
    accuracy_by_timestep : tuple of float
        One per answer (`Netlist.answers`); empty where `unscored` says why.
    readout : str or None
        Whose decisions they are.
    unscored : str or None
    input_clips : InputClips
    accuracy_without_spikes, accuracy_ann : float or None
    energy : EnergyReport
    activity : mapping of str to PopulationActivity
    headroom : mapping of str to Headroom
        Of populations with a membrane potential.
    exits : tuple of int
        How many samples stop at each timestep; empty for a netlist without early exit.
    equivalence : EquivalenceReport or None
    placement : Placement or None
    check : CheckReport or None
    baselines : tuple of Baseline
        Other netlists at the accuracy of this one.
    """

    netlist: Netlist
    name: str
    data: str
    samples: int
    accuracy_by_timestep: tuple[float, ...]
    readout: str | None
    unscored: str | None
    input_clips: InputClips
    accuracy_without_spikes: float | None
    accuracy_ann: float | None
    energy: EnergyReport
    activity: Mapping[str, PopulationActivity]
    headroom: Mapping[str, Headroom]
    exits: tuple[int, ...]
    equivalence: EquivalenceReport | None = None
    placement: Placement | None = None
    check: CheckReport | None = None
    baselines: tuple[Baseline, ...] = ()

    @property
    def latency(self) -> int:
        """Timesteps of a pipeline, a step per hop, from the first payload to the answer (semantics, section 4)."""
        return schedule(self.netlist).latency

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the integer network at the last timestep."""
        return self.accuracy_by_timestep[-1] if self.accuracy_by_timestep else None

    def __rich__(self) -> Table:
        """Return the summary as a table; the page has the rest."""
        table = Table("report", self.name)
        table.add_row("data", f"{self.data}, {self.samples:,} samples, {self.netlist.run_length}")
        table.add_row("timesteps until the answer", f"{self.latency}, a sample every {self.netlist.timesteps}")
        for what, share in (
            ("accuracy", self.accuracy),
            ("accuracy of the ANN", self.accuracy_ann),
            ("accuracy without spikes", self.accuracy_without_spikes),
        ):
            if share is not None:
                table.add_row(what, accuracy_text(share, self.samples) if what == "accuracy" else f"{share:.2%}")
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
            table.add_row(f"{baseline.name} as accurate", reached)
        return table


def measure(
    netlist: Netlist,
    data: Dataset,
    *,
    name: str,
    readout: str | None = None,
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
        Name of the readout that the labels judge, where there are several.
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
    fidelity = Fidelity(data, ann)
    observers = (right, operations, saturations, input_clips, emitted, fidelity, exits)
    seen = observe(Reference(netlist, spikes=True), data, observers, readout=readout, batch=BATCH, progress=progress)
    scored = scored_readout(netlist, readout)
    counts, likeness = seen[operations], seen[fidelity]

    def shares(found: np.ndarray) -> tuple[float, ...]:
        return tuple(float(share) for share in found / counts.samples)

    def decided_right(who: str) -> float | None:
        return next(iter(shares(likeness[who].right)), None) if who in likeness else None

    return Measurement(
        netlist=netlist,
        name=name,
        data=data.name,
        samples=counts.samples,
        accuracy_by_timestep=shares(seen[right]),
        readout=scored.name if scored is not None and seen[right].size else None,
        unscored=why_unscored(netlist, data, readout),
        input_clips=seen[input_clips],
        accuracy_without_spikes=decided_right(WITHOUT_SPIKES),
        accuracy_ann=decided_right(ANN),
        energy=estimate_energy(counts),
        activity=_activity(netlist, counts, seen[emitted], seen[saturations], likeness),
        headroom={
            p.name: Headroom(membrane_bound(netlist, p.name).magnitude, netlist.membrane_limit)
            for p in netlist.populations
            if isinstance(p, AdaFire | CubaLif | LeakyReadout)
        },
        exits=tuple(seen[exits].tolist()),
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
