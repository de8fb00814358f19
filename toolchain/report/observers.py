"""What the report's run looks at beside scores and operations: bursts, errors, exits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim.early_exit import exit_timesteps
from toolchain.data import Dataset
from toolchain.evaluate import BatchRun, ByName
from toolchain.netlist import per_channel
from toolchain.network import FloatNetwork, iterate
from toolchain.report.fidelity import Error, error, has_rates, in_payloads, mean_payloads, without_spikes
from toolchain.tasks import ScoredTask, Tallies


@dataclass(frozen=True, eq=False)
class Emitted:
    """What one population emitted; sums that add up over batches.

    Parameters
    ----------
    bursts : ndarray (phi + 1,), int64
        How often each payload was emitted, by magnitude for the input.
    payloads : ndarray (*shape), int64
        Sum of |payload| of each neuron.
    """

    bursts: np.ndarray
    payloads: np.ndarray

    def __add__(self, other: Emitted) -> Emitted:
        """Join two batches."""
        return Emitted(self.bursts + other.bursts, self.payloads + other.payloads)


def emitted(run: BatchRun) -> ByName[Emitted]:
    """Count what each population emits."""
    found = ByName[Emitted]()
    for name, payload in run.trace.spikes.items():
        low, high = run.netlist.payload_range(name)
        magnitude = np.abs(payload.astype(np.int16)) if low < 0 else payload
        total = magnitude.sum(axis=(0, 1), dtype=np.int64)
        found[name] = Emitted(_histogram(magnitude, max(-low, high)), total)
    return found


def _histogram(payload: np.ndarray, most: int) -> np.ndarray:
    """Count each payload from 0 to `most`."""
    if most > 16:
        return np.bincount(payload.reshape(-1), minlength=most + 1)
    # bincount would first make 64-bit copies; a few comparisons of bytes are many times faster.
    return np.array([np.count_nonzero(payload == n) for n in range(most + 1)], dtype=np.int64)


def exits(run: BatchRun) -> np.ndarray:
    """Count the samples that stop at each timestep, (T,) int64; (0,) for a netlist without early exit."""
    netlist, classifier = run.netlist, run.netlist.classifier
    if classifier is None or not netlist.alpha:
        return np.zeros(0, np.int64)
    stopped = exit_timesteps(run.readouts[classifier.name], classifier.scale, netlist.alpha)
    return np.bincount(stopped - 1, minlength=netlist.timesteps)


@dataclass(frozen=True, eq=False)
class Likeness:
    """How close spikes come to a network without spikes; sums that add up over batches.

    Parameters
    ----------
    errors : mapping of str to Error
        By population.
    tallies : Tallies
        Of what that network says of the samples; none where nothing is scored.
    """

    errors: ByName[Error]
    tallies: Tallies

    def __add__(self, other: Likeness) -> Likeness:
        """Join two batches."""
        return Likeness(self.errors + other.errors, self.tallies + other.tallies)


#: The networks that spikes are compared with.
WITHOUT_SPIKES, ANN = "without spikes", "ANN"


@dataclass(frozen=True, eq=False)
class Fidelity:
    """Observer that compares spikes with the netlist without spikes, and with the ANN, where there are such.

    Parameters
    ----------
    data : Dataset
        That runs: the ANN sees its real values.
    ann : FloatNetwork or None
    task : ScoredTask or None
        That their outputs are scored by; None where nothing is.
    """

    data: Dataset
    ann: FloatNetwork | None
    task: ScoredTask | None

    def __call__(self, run: BatchRun) -> ByName[Likeness]:
        """Return the likeness to each network, by its name."""
        netlist, rates = run.netlist, mean_payloads(run.netlist, run.trace)
        found = {}
        if has_rates(netlist):
            found[WITHOUT_SPIKES] = self._likeness(run, rates, without_spikes(netlist, rates[netlist.input.name]))
        if self.ann is not None:
            activations = iterate(self.ann, self._real_input(run))
            found[ANN] = self._likeness(
                run, rates, ((n, in_payloads(netlist, n, value)) for n, value in activations if n in rates)
            )
        return ByName(found)

    def _real_input(self, run: BatchRun) -> Tensor:
        source = run.netlist.input
        x = self.data.normalized(source.mean, source.std, run.part.start, run.part.stop)
        return torch.from_numpy(x.mean(axis=1) if self.data.is_frames else x).float()

    def _likeness(
        self, run: BatchRun, rates: Mapping[str, Tensor], references: Iterable[tuple[str, Tensor]]
    ) -> Likeness:
        """Compare population by population, for each may be large; what is read out is scored on the way."""
        errors, values = ByName[Error](), {}
        readouts = {r.name: per_channel(r.scale, r.shape) for r in run.netlist.readouts}
        for name, reference in references:
            errors[name] = error(reference, rates[name])
            if name in readouts:
                values[name] = reference.double().numpy() * readouts[name]
        if self.task is None or values.keys() != readouts.keys():
            return Likeness(errors, Tallies())
        return Likeness(errors, Tallies((self.task.tally(values, run.samples.truth),)))
