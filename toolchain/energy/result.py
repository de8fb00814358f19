"""The energy report: populations, readings and baselines, as JSON and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from toolchain.display import Displayed
from toolchain.energy.counts import Counts
from toolchain.energy.neurobench import neurobench
from toolchain.energy.on_targets import TargetEnergy
from toolchain.energy.prices import Price, Prices
from toolchain.energy.readings import BreakEven, Omission, Reading, first_layer_steps, priced, spiking_synapses


@dataclass(frozen=True)
class PopulationEnergy:
    """One target population with all connections into it; sums over samples.

    Parameters
    ----------
    name : str
        The population.
    kind : str
        The operator of its largest connection; "MaxPool", or its own type where nothing reaches it.
    macs : int
        Dense multiply-accumulates of the ANN (one per inference and synapse).
    first_layer_macs : int
        Those that the input drives, executed by the spiking network as well.
    sops, events : int
        Of the connections from spiking populations.
    neuron_updates : int
        Neurons times timesteps.
    energy, energy_graded, energy_ann, energy_int8 : Decimal
        pJ: paper's model with a burst of n priced as n accumulates; as one 8-bit multiply and one
        accumulate; the ANN in FP32; the ANN in INT8.
    """

    name: str
    kind: str
    macs: int
    first_layer_macs: int
    sops: int
    events: int
    neuron_updates: int
    energy: Decimal
    energy_graded: Decimal
    energy_ann: Decimal
    energy_int8: Decimal


@dataclass(frozen=True)
class EnergyReport(Displayed):
    """Energies of a run; all counts and energies are sums over `samples`.

    Parameters
    ----------
    counts : Counts
    populations : tuple of PopulationEnergy
    snn : tuple of Reading
        Ways to price the spiking network; the first is the paper's.
    baselines : tuple of Reading
        FP32 ANN, INT8 ANN, and the ANN whose activations hold as many levels as the spikes do.
    other_targets : tuple of TargetEnergy
        The same counts on chips: terms with published prices, and those without.
    break_even : tuple of BreakEven
    omissions : tuple of Omission
    prices : mapping of str to Price
    """

    counts: Counts
    populations: tuple[PopulationEnergy, ...]
    snn: tuple[Reading, ...]
    baselines: tuple[Reading, ...]
    other_targets: tuple[TargetEnergy, ...]
    break_even: tuple[BreakEven, ...]
    omissions: tuple[Omission, ...]
    prices: Prices

    @property
    def ann_macs(self) -> int:
        """Dense multiply-accumulates of the original network, all samples."""
        return self.counts.ann_macs * self.counts.samples

    @property
    def sops(self) -> int:
        """Synaptic operations of all connections from spiking populations, all samples."""
        return sum(p.sops for p in self.populations)

    @property
    def e_snn(self) -> Decimal:
        """Energy of the spiking network in the paper's model, pJ, all samples."""
        return priced(self.snn[0])

    @property
    def e_ann(self) -> Decimal:
        """Energy of the FP32 ANN in the paper's model, pJ, all samples."""
        return priced(self.baselines[0])

    @property
    def spike_rate(self) -> Decimal:
        """SOPs per synapse and timestep: the mean payload that a synapse carries."""
        slots = spiking_synapses(self.counts) * self.counts.steps
        return Decimal(self.sops) / slots if slots else Decimal(0)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values.

        Counts and energies (`*_pj`) are sums over all samples; `per_sample` holds their means. An
        energy without a published price is null.
        """
        return _to_json(self)

    def __rich__(self) -> RenderableType:
        """Return the report as tables for a terminal; all figures are means per sample."""
        return _tables(self)


def reading_groups(report: EnergyReport) -> tuple[tuple[str, tuple[Reading | TargetEnergy, ...]], ...]:
    """Return all readings of the counts as (prefix of their names, readings), in the order that tables show."""
    return ("SNN, ", report.snn), ("", report.baselines), ("", report.other_targets)


def shown_energy(reading: Reading | TargetEnergy, samples: int) -> str:
    """Spell a reading's energy per sample; of a chip with unpriced terms, what the priced ones come to."""
    if reading.energy is not None:
        return energy_text(reading.energy / samples)
    if isinstance(reading, TargetEnergy) and reading.priced:
        return f"over {energy_text(reading.priced_part / samples)}"
    return "no price"


def price_list(report: EnergyReport) -> dict[str, Price]:
    """Return the prices that the report's energies use, in the order of the price list."""
    used = {name for _, group in reading_groups(report) for r in group for name in r.prices}
    return {name: price for name, price in report.prices.items() if name in used}


def _to_json(report: EnergyReport) -> dict[str, Any]:
    counts = report.counts
    totals = _totals(report)
    return {
        "netlist_hash": counts.netlist_hash,
        "samples": counts.samples,
        "timesteps": counts.timesteps,
        "spike_code": "rate" if counts.radix is None else "radix",
        "digits": None if counts.radix is None else counts.radix.digits,
        "basis": "counts and energies are sums over all samples, per_sample holds their means; "
        "macs count real synapses, not products with padding zeros",
        "layers": [_population(p) for p in report.populations],
        "connections": [
            {
                "source": c.source,
                "target": c.target,
                "kind": c.kind,
                "from_input": c.from_input,
                "synapses": c.synapses,
                "macs": c.macs * counts.samples,
                "sops": c.sops,
                "events": c.events,
                "sops_by_timestep": list(c.sops_by_timestep),
            }
            for c in counts.connections
        ],
        "totals": totals,
        "per_sample": {
            key: float(Fraction(value) / counts.samples)
            for key, value in totals.items()
            if isinstance(value, int | Decimal | float)
        },
        "snn": [_reading(r) for r in report.snn],
        "baselines": [_reading(r) for r in report.baselines],
        "other_targets": [t.to_json() for t in report.other_targets],
        "spike_rate": float(report.spike_rate),
        "break_even_spike_rate": {b.baseline: None if b.rate is None else float(b.rate) for b in report.break_even},
        "left_out": [{"what": o.what, "times": o.times, "why": o.why} for o in report.omissions],
        "prices": {name: price.to_json() for name, price in price_list(report).items()},
        "neurobench": neurobench(counts),
    }


def _population(found: PopulationEnergy) -> dict[str, Any]:
    return {
        "name": found.name,
        "kind": found.kind,
        "macs": found.macs,
        "first_layer_macs": found.first_layer_macs,
        "sops": found.sops,
        "events": found.events,
        "neuron_updates": found.neuron_updates,
        "energy_pj": float(found.energy),
        "energy_graded_pj": float(found.energy_graded),
        "energy_ann_pj": float(found.energy_ann),
        "energy_int8_ann_pj": float(found.energy_int8),
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "name": reading.name,
        "energy_pj": None if reading.energy is None else float(reading.energy),
        "rule": reading.rule,
        "prices": list(reading.prices),
    }


def _totals(report: EnergyReport) -> dict[str, Any]:
    counts = report.counts
    macs = sum(c.macs for c in counts.input_connections)
    snn = {r.name: r.energy for r in report.snn}
    baselines = {r.name: r.energy for r in report.baselines}
    return {
        "ann_macs": report.ann_macs,
        "netlist_macs": sum(p.macs for p in report.populations),
        "ann_macs_with_padding": (
            None if counts.ann_macs_with_padding is None else counts.samples * counts.ann_macs_with_padding
        ),
        "first_layer_macs_held": macs * counts.samples if counts.held_input else None,
        "first_layer_macs_every_timestep": macs * first_layer_steps(counts),
        "sops": report.sops,
        "events": sum(p.events for p in report.populations),
        "neuron_updates": sum(p.neuron_updates for p in report.populations),
        "spikes": counts.spikes,
        "e_snn_pj": _float(report.e_snn),
        "e_snn_graded_pj": _float(snn["graded payload"]),
        "e_ann_pj": _float(report.e_ann),
        "e_ann_int8_pj": _float(baselines["INT8 ANN"]),
    }


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def quantity(value: Decimal | float, unit: str = "") -> str:
    """Write a number with three significant digits and an SI prefix: ``12.3 M``."""
    number = float(value)
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def energy_text(picojoules: Decimal | float) -> str:
    """Write an energy in pJ, nJ, uJ or mJ with three significant digits."""
    number = float(picojoules)
    for factor, unit in ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ")):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:.3g} pJ"


def _tables(report: EnergyReport) -> RenderableType:
    samples = report.counts.samples
    populations = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title=f"Energy per sample, mean of {samples}",
        title_justify="left",
    )
    populations.add_column("population", overflow="fold")
    populations.add_column("kind")
    for heading in ("MACs", "SOPs", "events", "updates", "SNN", "ANN"):
        populations.add_column(heading, justify="right", no_wrap=True)
    for p in report.populations:
        counts = (p.macs, p.sops, p.events, p.neuron_updates)
        populations.add_row(
            p.name,
            p.kind,
            *(quantity(Decimal(n) / samples) for n in counts),
            energy_text(p.energy / samples),
            energy_text(p.energy_ann / samples),
        )
    readings = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title="What the same counts cost",
        title_justify="left",
    )
    readings.add_column("reading")
    readings.add_column("per sample", justify="right", no_wrap=True)
    readings.add_column("rule", overflow="fold")
    for prefix, group in reading_groups(report):
        for reading in group:
            shown = shown_energy(reading, samples)
            readings.add_row(prefix + reading.name, shown, reading.rule)
    rate = ", ".join(
        f"against the {b.baseline} " + ("none" if b.rate is None else f"{float(b.rate):.3f}") for b in report.break_even
    )
    left = "; ".join(o.what for o in report.omissions)
    return Group(
        populations,
        readings,
        f"Spike rate {float(report.spike_rate):.3f} SOPs per synapse and timestep; break-even {rate}.",
        f"Left out: {left}.",
    )
