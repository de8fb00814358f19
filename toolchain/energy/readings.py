"""Ways to read counts as energies: the paper's model, its alternatives, baselines, chips, omissions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from toolchain.energy.counts import ConnectionCounts, Counts
from toolchain.energy.prices import Prices
from toolchain.netlist import InputError


@dataclass(frozen=True)
class Reading:
    """One way to read the same counts as an energy.

    Parameters
    ----------
    name : str
    energy : Decimal or None
        pJ, sum over samples; None where no price was published.
    rule : str
        The formula.
    prices : tuple of str
        Names of the prices that it uses.
    """

    name: str
    energy: Decimal | None
    rule: str
    prices: tuple[str, ...]


@dataclass(frozen=True)
class Omission:
    """What a model leaves out: how often it happens, and why it has no price here."""

    what: str
    times: int | None
    why: str


@dataclass(frozen=True)
class BreakEven:
    """Spike rate below which the spiking network is cheaper than a baseline.

    Parameters
    ----------
    baseline : str
    rate : Decimal or None
        SOPs per synapse and timestep; None when the first layer alone costs more than the baseline.
    """

    baseline: str
    rate: Decimal | None


def priced(reading: Reading) -> Decimal:
    """Return the energy of a reading that has one."""
    if reading.energy is None:
        raise InputError(reading.name, "it has no published price")
    return reading.energy


def spiking_synapses(counts: Counts) -> int:
    """Count the synapses of all connections from spiking populations."""
    return sum(c.synapses for c in counts.spiking_connections)


def first_layer_runs(counts: Counts) -> int:
    """How often the first layer is computed: once per sample if its current can be held."""
    return counts.samples if counts.held_input else counts.steps


def first_layer_steps(counts: Counts) -> int:
    """How often the first layer is computed where no current is held: at every timestep in which the input sends."""
    return counts.samples if counts.radix is not None else counts.steps


def graded(connection: ConnectionCounts, prices: Prices) -> Decimal:
    """Price each event as one accumulate, and as one 8-bit multiply more where the payload can exceed 1."""
    each = prices["fp32_add"].value + (prices["int8_multiply"].value if connection.payload_max > 1 else 0)
    return each * connection.events


def _sum(connections: Iterable[ConnectionCounts], what: str) -> int:
    return sum(getattr(c, what) for c in connections)


def snn_readings(counts: Counts, prices: Prices) -> tuple[Reading, ...]:
    """Price the spiking network, in the paper's model first."""

    def value(name: str) -> Decimal:
        return prices[name].value

    first = sum(c.macs for c in counts.input_connections)
    held = first * first_layer_runs(counts)
    stepped = first * first_layer_steps(counts)
    later = counts.spiking_connections
    sops, events = _sum(later, "sops"), _sum(later, "events")
    once = "once per inference" if counts.held_input else "at every timestep: each one brings another frame"
    updates = counts.neuron_updates
    return (
        Reading(
            "paper",
            value("fp32_mac") * held + value("fp32_add") * sops,
            f"{value('fp32_mac')} x first-layer MACs ({once}) + {value('fp32_add')} x SOPs: "
            "a burst of n is n accumulates",
            ("fp32_mac", "fp32_add"),
        ),
        Reading(
            "graded payload",
            value("fp32_mac") * held + sum((graded(c, prices) for c in later), Decimal(0)),
            "as the paper, but an event is one accumulate, and one 8-bit multiply where bursts exceed 1",
            ("fp32_mac", "fp32_add", "int8_multiply"),
        ),
        Reading(
            "first layer every timestep",
            value("fp32_mac") * stepped + value("fp32_add") * sops,
            "as the paper, with the first layer computed T times instead of held",
            ("fp32_mac", "fp32_add"),
        ),
        Reading(
            "integers",
            value("int8_mac") * held + value("int32_add") * sops,
            "first layer in INT8, SOPs as INT32 adds: the arithmetic that the netlist asks for",
            ("int8_mac", "int32_add"),
        ),
        Reading(
            "integers and memory",
            value("int8_mac") * held
            + value("int32_add") * sops
            + value("sram_8kb_access") * (2 * held + 3 * events + 2 * updates),
            "as integers, and every operand fetched from an 8 KB SRAM without reuse: 2 accesses per first-layer MAC, "
            "3 per event (weight; membrane read and write), 2 per neuron update",
            ("int8_mac", "int32_add", "sram_8kb_access"),
        ),
    )


def sops_by_timestep(counts: Counts) -> tuple[int, ...]:
    """SOPs spent up to and including each timestep, sum over samples; of a run that kept its timesteps apart."""
    later = counts.spiking_connections
    return tuple(accumulate(sum(c.sops_by_timestep[t] for c in later) for t in range(counts.timesteps)))


def paper_energy_by_timestep(counts: Counts, prices: Prices) -> tuple[Decimal, ...]:
    """Energy in the paper's model spent up to and including each timestep, pJ, sum over samples.

    A first layer that is held is paid for at the first timestep, another at each. The last value is the reading
    "paper"; each one is that of the same run stopped there.
    """
    mac, add = prices["fp32_mac"].value, prices["fp32_add"].value
    first = _sum(counts.input_connections, "macs") * counts.samples
    return tuple(
        mac * first * (1 if counts.held_input else t) + add * sops
        for t, sops in enumerate(sops_by_timestep(counts), start=1)
    )


def levels(counts: Counts) -> int:
    """Activation levels that the spikes of one inference tell apart: phi * T + 1 at the widest phi, or B**K."""
    if counts.radix is not None:
        return counts.radix.greatest + 1
    widest = max((c.payload_max for c in counts.spiking_connections), default=1)
    return widest * counts.timesteps + 1


def baselines(counts: Counts, prices: Prices) -> tuple[Reading, ...]:
    """Price the ANN: FP32, INT8, as many bits as the spikes have levels, and INT8 with memory."""

    def value(name: str) -> Decimal:
        return prices[name].value

    macs = counts.samples * counts.ann_macs
    bits = (levels(counts) - 1).bit_length()
    by_width = {8: "int8_mac", 16: "fp16_mac", 32: "fp32_mac"}
    bound = next((name for width, name in by_width.items() if bits <= width), None)
    matched = Reading(
        f"{bits}-bit ANN",
        value(by_width[bits]) * macs if bits in by_width else None,
        f"{bits} bits hold the {levels(counts)} levels of the spikes; "
        + (f"no price was published, it is at most that of {bound}" if bits not in by_width else "all MACs"),
        (bound,) if bound else (),
    )
    return (
        Reading("FP32 ANN", value("fp32_mac") * macs, f"{value('fp32_mac')} x all MACs", ("fp32_mac",)),
        Reading("INT8 ANN", value("int8_mac") * macs, f"{value('int8_mac')} x all MACs", ("int8_mac",)),
        matched,
        Reading(
            "INT8 ANN and memory",
            (value("int8_mac") + 2 * value("sram_8kb_access")) * macs,
            "weight and activation of each MAC fetched from an 8 KB SRAM without reuse",
            ("int8_mac", "sram_8kb_access"),
        ),
    )


def break_even(counts: Counts, baselines: tuple[Reading, ...], prices: Prices) -> tuple[BreakEven, ...]:
    """Solve each baseline = first layer + accumulates * rate * synapses * T for the rate, at equal precision."""
    first = sum(c.macs for c in counts.input_connections) * first_layer_runs(counts)
    slots = spiking_synapses(counts) * counts.steps
    found = []
    for baseline, mac, add in (
        (baselines[0], "fp32_mac", "fp32_add"),
        (baselines[1], "int8_mac", "int32_add"),
    ):
        left = priced(baseline) - prices[mac].value * first
        cost = prices[add].value * slots
        found.append(BreakEven(baseline.name, left / cost if cost and left > 0 else None))
    return tuple(found)


def _resets(counts: Counts) -> Omission:
    if counts.radix is None:
        resets = sum(p.active for p in counts.populations if p.kind == "AdaFire")
        return Omission("resets", resets, "a burst of n subtracts n thresholds")
    return Omission(
        "multiplications of membranes by the base",
        updates_between_digits(counts),
        f"a potential is multiplied by {counts.radix.base} before each digit but the first (a shift, where the base is "
        "a power of two), and a number is divided into its digits",
    )


def updates_between_digits(counts: Counts) -> int:
    """Neurons times digits but the first, sum over samples."""
    digits = 1 if counts.radix is None else counts.radix.digits
    return counts.samples * (digits - 1) * sum(p.neurons for p in counts.neurons)


def omissions(counts: Counts) -> tuple[Omission, ...]:
    """List what the 45 nm model leaves out, with how often it happens where counts tell."""
    later = counts.spiking_connections
    updates = counts.neuron_updates
    return (
        Omission(
            "weight fetches",
            _sum(later, "events"),
            "one per event at best; an access to even a small memory costs more than the accumulate it serves",
        ),
        Omission(
            "membrane reads and writes by events",
            2 * _sum(later, "events"),
            "each accumulate reads and writes a membrane potential unless the sum stays in a register",
        ),
        Omission(
            "neuron updates",
            updates,
            "every neuron is compared with its threshold at every timestep, spike or not, with its state read and "
            "written; an ANN's activation is computed once",
        ),
        _resets(counts),
        Omission(
            "additions of identities and pooling in the ANN",
            counts.samples * sum(c.additions for c in counts.connections),
            "the model prices MACs only; the same paths are SOPs in the spiking network, and those are priced",
        ),
        Omission("addressing and routing of spikes", None, "depends on the chip, its mapping and its network"),
        Omission("reading and writing the input and the output", None, "depends on the system around the chip"),
        Omission("static power and clock", None, "grows with the time of an inference, which counts do not tell"),
    )
