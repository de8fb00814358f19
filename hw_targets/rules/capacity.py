"""Rules on what fits: state per neuron, resources per core, cores and chips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from hw_targets.placement.boxes import whole
from hw_targets.placement.footprint import footprint, state_bits
from hw_targets.placement.layers import holds_layers, layer_footprint, layer_limits, too_large
from hw_targets.placement.place import place
from hw_targets.placement.placement import Placement
from hw_targets.placement.split import CapacityError, split
from hw_targets.rules.report import Violation
from hw_targets.target import Target
from toolchain.netlist import Netlist, UnsupportedError
from toolchain.netlist.shapes import size


def neuron_state(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that the state of one neuron fits what a neuron may have."""
    needed = -(-state_bits(netlist, target) // 8)
    if target.state_bytes_per_neuron is not None and needed > target.state_bytes_per_neuron:
        yield Violation("neuron_state", "netlist", target.state_bytes_per_neuron, needed, "use a narrower membrane")


def neurons_per_chip(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that all spiking neurons fit the target's chips."""
    if target.neurons_per_chip is None or target.chips is None:
        return
    limit, neurons = target.neurons_per_chip * target.chips, sum(size(p.shape) for p in netlist.spiking)
    if neurons > limit:
        yield Violation("neurons_per_chip", "netlist", limit, neurons, "narrow the network, or use a larger target")


def core_resources(netlist: Netlist, target: Target) -> Iterator[Violation]:
    """Require that every population splits into parts that fit a core, and all parts into the target's cores."""
    for error in placed(netlist, target)[1]:
        yield Violation(f"core_{error.resource}", error.where, error.limit, error.used, error.fix or "")


@lru_cache(maxsize=4)
def placed(netlist: Netlist, target: Target) -> tuple[Placement | None, tuple[CapacityError, ...]]:
    """Place a netlist, or return every reason why it cannot be placed."""
    errors = []
    try:
        return place(netlist, target), ()
    except UnsupportedError:
        return None, ()
    except CapacityError as error:
        errors.append(error)
    errors += [e for e in _misfits(netlist, target) if e.where not in {seen.where for seen in errors}]
    return None, tuple(errors)


def _misfits(netlist: Netlist, target: Target) -> Iterator[CapacityError]:
    """Yield the reason for each population of which a core cannot hold even its smallest part."""
    for population in netlist.populations[1:]:
        if holds_layers(target):
            used = layer_footprint(netlist, population.name)
            if not any(all(used[r] <= (most or used[r]) for r, most in core.items()) for core in layer_limits(target)):
                yield too_large(population.name, used, target)
            continue
        try:
            split(netlist, target, population.name)
        except CapacityError as error:
            yield error


def totals(netlist: Netlist, target: Target) -> Mapping[str, tuple[int, int | None]]:
    """Return (used, max) of the whole target: neurons and synaptic memory, with and without sharing."""
    populations = [(p.name, whole(p.shape)) for p in netlist.populations[1:]]
    shared = [footprint(netlist, target, *p, shared=True) for p in populations]
    unshared = [footprint(netlist, target, *p, shared=False) for p in populations]

    def limit(per_core: int | None) -> int | None:
        return None if per_core is None or target.cores is None else per_core * target.cores

    memory = target.synapse_bytes_per_core or target.memory_bytes_per_core
    return {
        "neurons": (sum(f["neurons"] for f in shared), limit(target.neurons_per_core)),
        "synapse_bytes_kernels_once": (sum(f["synapse_bytes"] for f in shared), limit(memory)),
        "synapse_bytes_no_sharing": (sum(f["synapse_bytes"] for f in unshared), limit(memory)),
    }
