"""Chips whose cores each hold one whole layer: DYNAP-CNN and Speck.

Cores differ in memory, so that assigning layers is a bipartite matching. A layer's memory follows
sinabs 3.1.3, ``DynapcnnLayer.memory_summary``::

    kernel  words = c * 2**(ceil(log2(kx * ky)) + ceil(log2(f)))
    neuron  words = f * 2**(ceil(log2(fy)) + ceil(log2(fx)))
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hw_targets.placement.split import CapacityError
from hw_targets.target import Target
from toolchain.netlist import Connection, Conv, ConvTranspose, Linear, Netlist, Readout, Scale, chain_shapes
from toolchain.netlist.populations import AdaFire

#: The resources of a core that holds one layer.
LAYER_RESOURCES = ("kernels", "kernel_words", "neuron_words", "bias_words")


def holds_layers(target: Target) -> bool:
    """Return whether each core of the target holds one whole layer."""
    return target.kernel_words_per_core is not None and target.neuron_words_per_core is not None


def layer_limits(target: Target) -> tuple[Mapping[str, int | None], ...]:
    """Return the limit of each resource, core by core."""
    kernels, neurons = target.kernel_words_per_core or (), target.neuron_words_per_core or ()
    return tuple(
        {"kernels": 1, "kernel_words": k, "neuron_words": n, "bias_words": target.bias_words_per_core}
        for k, n in zip(kernels, neurons, strict=True)
    )


def layer_footprint(netlist: Netlist, name: str) -> dict[str, int]:
    """Return what a population takes of a core that holds it whole."""
    population = netlist[name]
    connections = netlist.inputs(name)
    spatial = population.shape[1:] or (1,)
    bias = population.bias if isinstance(population, AdaFire | Readout) else np.zeros(1)
    return {
        "kernels": len(connections),
        "kernel_words": max((_kernel_words(netlist, c) for c in connections), default=0),
        "neuron_words": population.shape[0] * 2 ** sum(_log2(n) for n in spatial),
        "bias_words": int(bias.size) if np.any(bias) else 0,
    }


def _log2(n: int) -> int:
    return (n - 1).bit_length()


def _kernel_words(netlist: Netlist, connection: Connection) -> int:
    """Count the words of the last kernel of a chain; what stands before it pools or reshapes."""
    shapes = chain_shapes(connection.operators, netlist[connection.source].shape)
    words = 0
    for position, operator in enumerate(connection.operators):
        match operator:
            case Conv(weight):
                words = shapes[position][0] * 2 ** (_log2(math.prod(weight.shape[2:])) + _log2(weight.shape[0]))
            case ConvTranspose(weight):
                words = weight.shape[0] * 2 ** (_log2(math.prod(weight.shape[2:])) + _log2(shapes[position + 1][0]))
            case Scale(weight):
                words = weight.size * 2 ** _log2(weight.size)
            case Linear(weight):
                # A dense layer is a convolution whose kernel covers the picture that was flattened.
                before = next((s for s in reversed(shapes[: position + 1]) if len(s) > 1), (weight.shape[1],))
                words = before[0] * 2 ** (_log2(math.prod(before[1:])) + _log2(weight.shape[0]))
    return words


def match_layers(netlist: Netlist, target: Target) -> dict[str, int]:
    """Assign every population but the input to a core of its own.

    Raises
    ------
    CapacityError
        When a population fits no core, or the cores do not suffice.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    limits = layer_limits(target)
    names = [p.name for p in netlist.populations[1:]]
    fits = np.zeros((len(names), len(limits)), dtype=bool)
    for row, name in enumerate(names):
        used = layer_footprint(netlist, name)
        fits[row] = [all(most is None or used[r] <= most for r, most in core.items()) for core in limits]
        if not fits[row].any():
            raise too_large(name, used, target)
    if len(names) > len(limits):
        fix = "use a smaller network: each layer takes a core"
        raise CapacityError("netlist", "cores", len(names), len(limits), target.title, fix)
    match = maximum_bipartite_matching(csr_matrix(fits), perm_type="column")
    for row, name in enumerate(names):
        if match[row] < 0:
            # Layers that fit no cores but those that this one fits compete with it for them.
            rivals = int(np.count_nonzero((fits <= fits[row]).all(axis=1)))
            fix = f"shrink {name!r} or another large layer: they compete for the same cores"
            raise CapacityError("netlist", "large cores", rivals, int(fits[row].sum()), target.title, fix)
    return {name: int(core) for name, core in zip(names, match, strict=True)}


def too_large(name: str, used: Mapping[str, int], target: Target) -> CapacityError:
    """Return the error for a population that fits no core: the resource that is furthest over."""
    most = {r: max(core[r] or 0 for core in layer_limits(target)) for r in LAYER_RESOURCES}
    over = [r for r in LAYER_RESOURCES if most[r] and used[r] > most[r]]
    # Every resource may fit some core, and no core fit them all.
    resource = max(over, key=lambda r: used[r] / most[r]) if over else "kernel_words"
    limit = most[resource] if over else min(c["kernel_words"] or 0 for c in layer_limits(target))
    fixes = {
        "kernels": "give the population one input only: this chip cannot add up layers with different kernels",
        "kernel_words": "use fewer channels or a smaller kernel",
        "neuron_words": "use fewer channels, or pool earlier",
        "bias_words": "use fewer channels, or no bias",
    }
    return CapacityError(name, resource, used[resource], limit, target.title, fixes[resource], whole=True)
