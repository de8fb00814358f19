"""Run a netlist once over a data set and measure everything that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from hw_targets.placement import Placement
from hw_targets.rules.report import CheckReport
from sim.early_exit import exit_timesteps
from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.energy import Counts, EnergyReport, count, estimate_energy
from toolchain.equivalence import EquivalenceReport
from toolchain.evaluate.evaluation import decide, traces
from toolchain.netlist import AdaFire, Netlist, Readout, Trace, membrane_bound
from toolchain.network import FloatNetwork, iterate
from toolchain.report.baselines import Baseline
from toolchain.report.fidelity import Error, error, in_payloads, join, mean_payloads, without_spikes

#: Samples in memory at a time.
BATCH = 32


@dataclass(frozen=True, eq=False)
class LayerActivity:
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
class Measurement:
    """Everything measured on one netlist.

    Parameters
    ----------
    netlist : Netlist
    name, data : str
        How the report calls the netlist and the data.
    samples : int
    accuracy_by_timestep : tuple of float
        Empty without labels, or with a readout that is no list of classes.
    accuracy_without_spikes, accuracy_ann : float or None
    energy : EnergyReport
    activity : mapping of str to LayerActivity
    headroom : mapping of str to Headroom
        Of AdaFire populations.
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
    accuracy_without_spikes: float | None
    accuracy_ann: float | None
    energy: EnergyReport
    activity: Mapping[str, LayerActivity]
    headroom: Mapping[str, Headroom]
    exits: tuple[int, ...]
    equivalence: EquivalenceReport | None = None
    placement: Placement | None = None
    check: CheckReport | None = None
    baselines: tuple[Baseline, ...] = ()

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the integer network at the last timestep."""
        return self.accuracy_by_timestep[-1] if self.accuracy_by_timestep else None


def measure(
    netlist: Netlist,
    data: Dataset,
    *,
    name: str,
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
    pass_ = _Pass(netlist, data, ann)
    for trace in traces(netlist, data, batch=BATCH, progress=progress):
        pass_.add(trace)
    return Measurement(
        netlist=netlist,
        name=name,
        data=data.name,
        samples=pass_.samples,
        accuracy_by_timestep=pass_.share(pass_.right),
        accuracy_without_spikes=next(iter(pass_.share(pass_.right_without_spikes)), None),
        accuracy_ann=None if ann is None else next(iter(pass_.share(pass_.right_ann)), None),
        energy=estimate_energy(pass_.counted()),
        activity=pass_.activity(),
        headroom={
            p.name: Headroom(membrane_bound(netlist, p.name).magnitude, netlist.membrane_limit)
            for p in netlist.populations
            if isinstance(p, AdaFire)
        },
        exits=pass_.exits(),
        equivalence=equivalence,
        placement=placement,
        check=check,
    )


def _histogram(payload: np.ndarray, most: int) -> np.ndarray:
    """Count each payload from 0 to `most`."""
    if most > 16:
        return np.bincount(payload.reshape(-1), minlength=most + 1)
    # bincount would first make 64-bit copies; a few comparisons of bytes are many times faster.
    return np.array([np.count_nonzero(payload == n) for n in range(most + 1)], dtype=np.int64)


@dataclass(eq=False)
class _Pass:
    """Sums over the batches of a data set."""

    netlist: Netlist
    data: Dataset
    ann: FloatNetwork | None
    samples: int = 0
    counts: Counts | None = None
    bursts: dict[str, np.ndarray] = field(default_factory=dict)
    payloads: dict[str, np.ndarray] = field(default_factory=dict)
    saturations: dict[str, int] = field(default_factory=dict)
    spiking_errors: dict[str, Error] = field(default_factory=dict)
    ann_errors: dict[str, Error] = field(default_factory=dict)

    def __post_init__(self) -> None:
        steps = self.netlist.timesteps
        self.right = np.zeros(steps, np.int64)
        self.right_without_spikes, self.right_ann = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._exits = np.zeros(steps, np.int64)
        readouts = self.netlist.readouts
        flat = len(readouts) == 1 and len(readouts[0].shape) == 1
        self.classifier: Readout | None = readouts[0] if flat else None

    def add(self, trace: Trace) -> None:
        """Measure one batch."""
        part = slice(self.samples, self.samples + trace.samples)
        batch_counts = count(self.netlist, trace)
        self.counts = batch_counts if self.counts is None else self.counts + batch_counts
        for name, payload in trace.spikes.items():
            self._add_payload(name, payload)
        for name, clips in trace.saturations.items():
            self.saturations[name] = self.saturations.get(name, 0) + clips
        rates = mean_payloads(trace)
        self.spiking_errors = join(
            self.spiking_errors,
            {
                name: self._compared(name, rate, rates, self.right_without_spikes, part)
                for name, rate in without_spikes(self.netlist, rates[self.netlist.input.name])
            },
        )
        if self.ann is not None:
            self.ann_errors = join(
                self.ann_errors,
                {
                    name: self._compared(name, in_payloads(self.netlist, name, value), rates, self.right_ann, part)
                    for name, value in iterate(self.ann, self._real_input(part))
                    if name in rates
                },
            )
        if self.classifier is not None:
            self.right += self._right(decide(trace.readout, self.classifier.scale), part)
            if self.netlist.alpha:
                stopped = exit_timesteps(trace.readout, self.classifier.scale, self.netlist.alpha)
                self._exits += np.bincount(stopped - 1, minlength=trace.timesteps)
        self.samples += trace.samples

    def _add_payload(self, name: str, payload: np.ndarray) -> None:
        low, high = self.netlist.payload_range(name)
        magnitude = np.abs(payload.astype(np.int16)) if low < 0 else payload
        found = _histogram(magnitude, max(-low, high))
        total = magnitude.sum(axis=(0, 1), dtype=np.int64)
        self.bursts[name] = self.bursts.get(name, 0) + found
        self.payloads[name] = self.payloads.get(name, 0) + total

    def _real_input(self, part: slice) -> torch.Tensor:
        source = self.netlist.input
        x = self.data.normalized(source.mean, source.std, part.start, part.stop)
        return torch.from_numpy(x.mean(axis=1) if self.data.is_frames else x).float()

    def _compared(
        self, name: str, reference: torch.Tensor, rates: Mapping[str, torch.Tensor], right: np.ndarray, part: slice
    ) -> Error:
        """Compare one population; a readout's decisions are counted on the way."""
        if self.classifier is not None and name == self.classifier.name:
            right += self._right(decide(reference.double().numpy(), self.classifier.scale), part)
        return error(reference, rates[name])

    def _right(self, decisions: np.ndarray, part: slice) -> np.ndarray:
        if self.data.labels is None:
            return np.zeros(1, np.int64)
        right: np.ndarray = np.atleast_1d((decisions == self.data.labels[part]).sum(axis=-1))
        return right

    def counted(self) -> Counts:
        """Return the counts of all batches."""
        assert self.counts is not None  # `traces` refuses an empty data set
        return self.counts

    def share(self, right: np.ndarray) -> tuple[float, ...]:
        """Return counts of right decisions as shares; empty where nothing decides."""
        if self.classifier is None or self.data.labels is None:
            return ()
        return tuple(float(share) for share in right / self.samples)

    def exits(self) -> tuple[int, ...]:
        """Return how many samples stop at each timestep."""
        return tuple(int(n) for n in self._exits) if self.netlist.alpha and self.classifier is not None else ()

    def activity(self) -> dict[str, LayerActivity]:
        """Return what each population did."""
        steps = self.samples * self.netlist.timesteps
        nothing = np.zeros(0)
        return {
            p.name: LayerActivity(
                name=p.name,
                bursts=self.bursts.get(p.name, nothing),
                rate_map=self.payloads[p.name] / steps if p.name in self.payloads else nothing,
                saturations=self.saturations.get(p.name, 0),
                spiking_error=self.spiking_errors.get(p.name),
                ann_error=self.ann_errors.get(p.name),
            )
            for p in self.netlist.populations
        }
