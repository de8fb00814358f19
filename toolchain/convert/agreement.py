"""Does the netlist still compute what the ANN does? Measured on calibration samples, layer by layer.

A conversion may come apart without any error: a layer whose weights lost their levels, thresholds far from what
arrives. It shows where the netlist's values stop following the ANN's from sample to sample, and that is said in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sim import BatchResult, compile_netlist
from sim.threads import for_each, one_thread
from toolchain.calibrate import CalibrationData
from toolchain.convert.logits import Logits, decided_on
from toolchain.display import Progress, silent
from toolchain.netlist import AdaFire, CollapseError, Netlist, Readout, TaskName, per_channel
from toolchain.netlist.shapes import size
from toolchain.network import FloatNetwork, iterate
from toolchain.tasks import choose_task

#: Samples that it is measured on: enough to tell a half from what a conversion that works reaches, and more of networks
#: that run so many payloads at little cost.
SAMPLES, PAYLOADS = 128, 2**27
#: Fewer samples than this decide nothing: two or three values follow any others by chance.
LEAST_SAMPLES = 8
#: Outputs that correlate by less with the ANN's are a collapse: three quarters of their variance is something else. So
#: is less than this share of its decisions.
LEAST_AGREEMENT = 0.5
#: But where outputs correlate by this much, other decisions are close calls: a network that was never trained, say.
SURE_CORRELATION = 0.9
#: From this share of the ANN's decisions, or correlation with its values, on, a netlist holds as a conversion.
HOLDS = 0.97
#: What longer bursts aim at where it does not: estimates are hopeful, and a share just above the bound is chance. Below
#: this, it is said what they would bring.
AIM = 0.98
#: Fewer samples than this do not tell a netlist that holds from one that nearly does.
TELLING_SAMPLES = 32
#: Smallest share of an error that is considered.
_LEAST_SHARE = 1e-3
#: Bytes of payloads in memory at a time.
_MEMORY = 2**25


@dataclass(frozen=True)
class Agreement:
    """How a netlist agrees with the ANN that it was converted from.

    A correlation is Pearson's, of all values of a layer and all samples, each neuron's mean over the samples taken off
    both sides: a layer that always says the same correlates by 0. It is left out where the ANN's values never change.

    Parameters
    ----------
    samples : int
    decisions : float or None
        Share of decisions that are alike, of samples, pixels or points; None where no readout decides on classes.
    outputs : mapping of str to float
        Correlation of every readout at the last timestep.
    layers : mapping of str to float
        Correlation of every spiking population's average over the run with the ANN's activation, in forward order;
        pieces of other functions than ReLU are left out.
    logits : Logits or None
        What is decided on: the ANN's outputs, and the netlist's average; of a map, those at some places.
    """

    samples: int
    decisions: float | None
    outputs: Mapping[str, float]
    layers: Mapping[str, float]
    logits: Logits | None = field(default=None, repr=False)

    @property
    def measure(self) -> float:
        """Share of decisions alike, on these samples or as noise has it on others, whichever is less.

        Where there are none, the least correlation of an output.
        """
        return self.estimated(1.0)

    @property
    def holds(self) -> bool:
        """Whether the netlist decides nearly as the ANN does on these samples; too few to tell count as if it did."""
        counted = self.measure if self.decisions is None else self.decisions
        return self.samples < TELLING_SAMPLES or counted >= HOLDS

    def reaches(self, share: float) -> bool:
        """Return whether so much is alike, as far as the samples tell."""
        return self.samples < TELLING_SAMPLES or self.measure >= share

    def better_than(self, other: Agreement) -> bool:
        """Return whether more is alike: decisions that fall into place while outputs drift apart did so by chance."""
        return self.measure > other.measure and self._least_correlation >= other._least_correlation

    @property
    def _least_correlation(self) -> float:
        return min(self.outputs.values(), default=1.0)

    def estimated(self, share: float) -> float:
        """Return what `measure` would be if the outputs' errors were this share of what they are."""
        if self.logits is not None:
            return min(self.logits.alike(share), self.logits.expected(share))
        # A correlation r is 1 / sqrt(1 + v), v the variance of an error beside that of the values.
        least = self._least_correlation
        return float(1 / np.sqrt(1 + share**2 * (1 / least**2 - 1))) if least > 0 else 0.0

    def needed_share(self) -> float:
        """Return the greatest share of the outputs' errors, in steps of 5 %, with which `measure` would be `AIM`."""
        share = 1.0
        while share > _LEAST_SHARE and self.estimated(share) < AIM:
            share *= 0.95
        return share

    def short(self) -> str:
        """Say what `measure` is."""
        if self.logits is None:
            return f"{self.measure:.1%} correlation with the ANN's outputs"
        surer = ", estimated for samples that it is less sure of" if self.measure < self.logits.alike() else ""
        return f"{self.measure:.1%} of the ANN's decisions{surer}"

    @property
    def collapsed(self) -> bool:
        """Whether the netlist is no conversion of the ANN."""
        if self.samples < LEAST_SAMPLES or not self.outputs:
            return False
        correlation = self._least_correlation
        undecided = self.decisions is not None and self.decisions < LEAST_AGREEMENT
        return correlation < LEAST_AGREEMENT or (undecided and correlation < SURE_CORRELATION)

    @property
    def broken_layer(self) -> str | None:
        """The first layer that no longer follows the ANN; the readout, where all that spike do."""
        values = {**self.layers, **self.outputs}
        return next((name for name, value in values.items() if value < LEAST_AGREEMENT), None)

    def __str__(self) -> str:
        correlation = f"the outputs correlate by {self._least_correlation:.2f}"
        if self.decisions is None:
            return f"on {self.samples} calibration samples {correlation} with the ANN's"
        return f"{self.decisions:.0%} of the ANN's decisions on {self.samples} calibration samples, {correlation}"

    def where(self) -> str:
        """Say where it breaks: the layer, and the one before it that still holds."""
        values = {**self.layers, **self.outputs}
        broken = self.broken_layer
        if broken is None:
            return "no layer stands out: it gets less from layer to layer"
        names = list(values)
        before = names.index(broken) - 1
        held = f", that of {names[before]} before it by {values[names[before]]:.2f}" if before >= 0 else ""
        return f"it breaks at {broken}, whose average correlates by {values[broken]:.2f} with the ANN's value{held}"


@torch.inference_mode()
def measure_agreement(
    network: FloatNetwork,
    netlist: Netlist,
    data: CalibrationData,
    *,
    task: TaskName | None = None,
    progress: Progress = silent,
) -> Agreement:
    """Run ANN and netlist side by side on the first samples, at least `SAMPLES` of them where there are.

    Parameters
    ----------
    network : FloatNetwork
        The ANN, before any calibration.
    netlist : Netlist
        What it was converted to.
    data : CalibrationData
    task : TaskName, optional
        What the network is for; by default classification, where its only output is a list of classes.
    progress : Progress

    Returns
    -------
    Agreement
    """
    per_sample = netlist.timesteps * sum(size(p.shape) for p in netlist.populations)
    samples = min(max(SAMPLES, PAYLOADS // per_sample), len(data))
    # Pieces of an activation have no value of the ANN's to follow.
    followed = [p for p in netlist.populations if isinstance(p, AdaFire | Readout) and p.name in network]
    bound = choose_task(task, {u.name: u.shape for u in network.outputs}, input_shape=network.source.shape)
    decided = bound.readout if bound is not None and bound.decides else None
    found = {p.name: _Correlation(p.shape) for p in followed}
    logits: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    batch = max(1, min(32, _MEMORY // per_sample))
    # Digits say what the numbers do that they spell.
    simulator = compile_netlist(netlist.numbers)
    spiking = [p.name for p in netlist.spiking if p.name in found]
    with progress("agreement with the ANN", -(-samples // batch)) as advance:
        for start in range(0, samples, batch):
            part = slice(start, min(start + batch, samples))
            done = simulator.run(data.emitted(part), record=spiking)
            with one_thread():
                values = {name: value for name, value in iterate(network, data.x[part]) if name in found}

            def add(name: str, done: BatchResult = done, values: dict[str, Tensor] = values) -> None:
                wanted, got = values[name].double().numpy(), _average(simulator.netlist, done, name)
                found[name].add(wanted, got)
                if name == decided:
                    logits[0].append(decided_on(wanted))
                    logits[1].append(decided_on(got))

            # A layer's sums are one thread's: they do not depend on how many there are.
            for_each(add, list(found))
            advance()
    data.storage.give_back()
    correlations = {name: c for name, sums in found.items() if (c := sums.value()) is not None}
    both = None if decided is None else Logits(np.concatenate(logits[0]), np.concatenate(logits[1]))
    return Agreement(
        samples,
        None if both is None else both.alike(),
        {r.name: correlations[r.name] for r in netlist.readouts if r.name in correlations},
        {p.name: correlations[p.name] for p in netlist.spiking if p.name in correlations},
        both,
    )


def check_agreement(agreement: Agreement, *, accept: bool) -> Iterator[str]:
    """Raise where the netlist has come apart; yield a note on it instead where that is accepted.

    Parameters
    ----------
    agreement : Agreement
    accept : bool

    Raises
    ------
    CollapseError
        Naming the layer where it breaks.
    """
    if not agreement.collapsed:
        return
    said = f"the netlist does not compute what the ANN does: {agreement}; {agreement.where()}"
    if not accept:
        raise CollapseError(
            agreement.broken_layer or "network",
            said,
            "more `timesteps`, `digits`, `phi` or `weight_bits` may help; `accept_collapse` takes the netlist as it is",
        )
    yield f"collapse accepted: {said}"


def flattered_note(agreement: Agreement) -> str:
    """Say that an agreement is of the very samples that calibrated the netlist."""
    return (
        f"{agreement.short()}, measured on the samples that it was calibrated on, which flatters: there are no others "
        f"to measure on; give {TELLING_SAMPLES} more than `samples`"
    )


def _average(netlist: Netlist, done: BatchResult, name: str) -> np.ndarray:
    """Return what a population stands for on average over a run, (N, *shape) float64 in the ANN's units."""
    population = netlist[name]
    if isinstance(population, Readout):
        return done.readouts[name][-1] * (per_channel(population.scale, population.shape) / netlist.timesteps)
    assert isinstance(population, AdaFire)
    unit = per_channel(population.threshold * population.scale, population.shape) / netlist.timesteps
    return done.spikes[name].sum(0, dtype=np.int32) * unit


class _Correlation:
    """Sums of which Pearson's correlation is made, each neuron's mean over the samples taken off.

    Parameters
    ----------
    shape : tuple of int
        Of the neurons.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._samples = 0
        self._wanted, self._got = np.zeros(shape), np.zeros(shape)
        self._squares = np.zeros(3)

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        """Add samples (N, *shape), float64."""
        self._samples += len(wanted)
        self._wanted += wanted.sum(0)
        self._got += got.sum(0)
        self._squares += [(a * b).sum() for a, b in ((wanted, wanted), (got, got), (wanted, got))]

    def value(self) -> float | None:
        """Return the correlation; None where the wanted values never change."""
        means = [
            (a * b).sum() / self._samples
            for a, b in ((self._wanted, self._wanted), (self._got, self._got), (self._wanted, self._got))
        ]
        wanted, got, both = self._squares - means
        # What is left of a difference of equal sums is rounding.
        if wanted <= 1e-9 * self._squares[0]:
            return None
        return 0.0 if got <= 1e-9 * self._squares[1] else float(both / np.sqrt(wanted * got))
