"""All rules at once, and how full the target is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from hw_targets.fields import membrane_bits
from hw_targets.rules.capacity import core_resources, neuron_state, neurons_per_chip, placed, totals
from hw_targets.rules.leaky import leaky_currents, leaky_fields, leaky_neurons
from hw_targets.rules.numbers import (
    LEAST_WEIGHT_BITS,
    accumulator_range,
    bias_field,
    bits_for_headroom,
    burst_length,
    greatest_potential,
    input_payload,
    membrane_range,
    payload_width,
    roomier,
    signed_bits,
    threshold_field,
    unit_growth,
    weight_products,
    weight_values,
    weight_width,
)
from hw_targets.rules.report import CheckReport, Number, Violation
from hw_targets.rules.structure import (
    biases,
    channels_in_and_out,
    destinations,
    digits,
    fan_in,
    fan_out_limit,
    greatest_fan_in,
    kernel_shape,
    loops,
    max_pooling,
    skip_delay,
    steps_to_wait,
)
from hw_targets.target import Target
from hw_targets.unroll import gate_heights, gate_overflows, not_unrollable, refuse_digits
from hw_targets.unroll import unroll as unroll_bursts
from toolchain.netlist import AdaFire, CubaLif, Input, LeakyReadout, MaxPool, Netlist, Weighted

Rule = Callable[[Netlist, Target], Iterator[Violation]]

#: Every rule, with the numbers of a target that it looks at.
RULES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (payload_width, ("payload_bits",)),
    (burst_length, ("phi",)),
    (input_payload, ("payload_bits", "signed_input")),
    (weight_width, ("weight_bits",)),
    (weight_products, ()),
    (weight_values, ("weight_values_per_neuron",)),
    (threshold_field, ("threshold_mantissa_bits", "threshold_exponent")),
    (bias_field, ("bias_mantissa_bits", "bias_exponent")),
    (biases, ("biases",)),
    (membrane_range, ("membrane_bits",)),
    (accumulator_range, ("accumulator_bits",)),
    (digits, ("multiplies_potential",)),
    (max_pooling, ("max_pool",)),
    (leaky_neurons, ("leaky", "decay_shifts", "reset_to_zero", "reset_by_subtraction")),
    (leaky_fields, ("threshold_mantissa_bits", "bias_mantissa_bits", "bias_exponent", "weight_exponent")),
    (leaky_currents, ("accumulator_bits", "unit_exponents")),
    (kernel_shape, ("kernel_sizes", "strides", "square_kernels", "dilated_kernels", "grouped_kernels")),
    (skip_delay, ("delay",)),
    (loops, ("timesteps",)),
    (destinations, ("destinations",)),
    (fan_in, ("fan_in",)),
    (fan_out_limit, ("fan_out",)),
    (channels_in_and_out, ("inputs", "outputs")),
    (neuron_state, ("state_bytes_per_neuron",)),
    (neurons_per_chip, ("neurons_per_chip",)),
    (
        core_resources,
        (
            "neuron_slots",
            "neurons_per_core",
            "synapse_bytes_per_core",
            "memory_bytes_per_core",
            "in_axons_per_core",
            "out_axons_per_core",
            "cores_per_chip",
            "chips",
        ),
    ),
)


#: Rules on neurons that leak: where there are none, what is not known of the target is of no interest.
_LEAKY = frozenset({leaky_neurons, leaky_fields, leaky_currents})
#: Rules that unrolling answers in its own way: it proves that no potential leaves the membrane.
_UNROLLED = frozenset({membrane_range})
#: Rules that cannot be judged on the original when bursts are to be unrolled.
_CHANGED = frozenset({payload_width, burst_length, input_payload, membrane_range, accumulator_range, core_resources})


def check(netlist: Netlist, target: Target, *, unroll: bool = False) -> CheckReport:
    """Run every rule.

    Parameters
    ----------
    netlist : Netlist
    target : Target
    unroll : bool
        Check the netlist with its bursts unrolled to binary spikes (see `hw_targets.unroll`).

    Returns
    -------
    CheckReport
        All violations at once.

    Raises
    ------
    TargetError
        When digits are to be unrolled.
    """
    subject, rules = netlist, [rule for rule, _ in RULES]
    violations: list[Violation] = []
    if unroll:
        refuse_digits(netlist)
        violations += unroll_room(netlist, target)
        rules = [rule for rule in rules if rule not in (_CHANGED if violations else _UNROLLED)]
        subject = netlist if violations else unroll_bursts(netlist, membrane_bits(netlist, target)).netlist
    violations += [v for rule in rules for v in rule(subject, target)]
    return CheckReport(
        target=target.name,
        title=target.title,
        netlist_hash=netlist.content_hash,
        unrolled=unroll,
        violations=tuple(violations),
        utilization=_utilization(subject, target, tuple(violations), _membrane(netlist, target, unrolled=unroll)),
        notes=tuple(_notes(subject, target)),
    )


def unroll_room(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that potentials and gates of the unrolled network fit the membrane together, and that nothing leaks."""
    for where in not_unrollable(netlist):
        yield Violation("unroll_room", where, "no leak or delay", "a leak or delay", "leave bursts as they are")
    gates = gate_heights(netlist)
    for error in gate_overflows(netlist, gates, membrane_bits(netlist, target)):
        population = netlist[error.where]
        if not isinstance(population, AdaFire):
            continue
        reach = gates[error.where].reach
        limit = 2 ** (min(membrane_bits(netlist, target)[error.where], netlist.membrane_bits) - 1) - 1
        fewer = bits_for_headroom(netlist, reach, limit, unit_growth(population, target))
        # Weights of the least width carry no gates.
        narrow = f"use `weight_bits` of {fewer}, " if fewer > LEAST_WEIGHT_BITS else ""
        fix = roomier(netlist, population, target) or f"{narrow}a lower `phi` or fewer `timesteps`"
        yield Violation("unroll_room", error.where, limit, reach, fix)


def _membrane(netlist: Netlist, target: Target, *, unrolled: bool) -> tuple[int, int | None]:
    """Return (bits needed, bits there) of the population with the least room."""
    there = membrane_bits(netlist, target)
    gates = gate_heights(netlist) if unrolled else {}
    needed = {
        name: (gates[name].reach if unrolled else greatest_potential(netlist, name)).bit_length() + 1 for name in there
    }
    tightest = min(there, key=lambda name: there[name] - needed[name], default=None)
    if tightest is None:
        return 0, target.netlist_membrane_bits
    return needed[tightest], None if target.membrane_bits is None else there[tightest]


def _utilization(
    netlist: Netlist, target: Target, violations: tuple[Violation, ...], membrane: tuple[int, int | None]
) -> Mapping[str, tuple[Number, Number | None]]:
    placement, _ = placed(netlist, target)
    if placement is not None:
        cores: Mapping[str, tuple[Number, Number | None]] = placement.utilization
    else:
        needed = [v.actual for v in violations if v.rule == "core_cores" and isinstance(v.actual, int)]
        cores = {"cores": (needed[0], target.cores)} if needed else {}
    weights = [o.weight for c in netlist.connections for o in c.operators if isinstance(o, Weighted)]
    waits = [wait for c, wait in steps_to_wait(netlist) if not isinstance(netlist[c.source], Input)]
    return {
        **cores,
        **totals(netlist, target),
        "payload": (max((p.payload_range[1] for p in netlist.spiking), default=0), target.max_payload),
        "weight_bits": (
            max((signed_bits(int(w.min()), int(w.max())) for w in weights), default=0),
            max(target.weight_bits) if target.weight_bits else None,
        ),
        "membrane_bits": membrane,
        "delay": (max(waits, default=0), target.delay),
        "fan_in": (
            max(greatest_fan_in(netlist, p.name) for p in netlist.populations[1:] if netlist.inputs(p.name)),
            target.fan_in,
        ),
    }


def _notes(netlist: Netlist, target: Target) -> Iterator[str]:
    if target.timesteps is False:
        yield "the chip has no timesteps: neurons fire as inputs arrive, and spikes differ from the reference"
    if target.max_pool is None and any(isinstance(p, MaxPool) for p in netlist.populations):
        yield "max_pooling: whether the chip can max-pool spikes is not known"
    leaks = any(isinstance(p, CubaLif | LeakyReadout) for p in netlist.populations)
    for rule, names in RULES:
        if rule in _LEAKY and not leaks:
            continue
        unknown = [name for name in names if getattr(target, name) is None]
        for name in unknown:
            reason = target.facts[name].source if name in target.facts else "not in the target's file"
            yield f"{rule.__name__}: no limit for {name} ({reason})"
