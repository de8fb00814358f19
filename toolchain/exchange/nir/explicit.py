"""NIR without metadata: bursts and reset by subtraction out of the standard's own nodes.

An AdaFire population is an integrator, phi thresholds, their sum and a feedback::

    currents ──> I ──> Threshold(1 θ - u0 - ½) ──> Scale(1) ──> burst n
                 ^     ...                          │
                 │     Threshold(φ θ - u0 - ½) ──>──┘
                 └──────────── Scale(-θ) <──────────┘

The integrator starts at 0 instead of u0, so the thresholds are lower by u0. The potential is an integer, so
``v > j θ - u0 - ½`` is ``u >= j θ``, and as many thresholds fire as θ goes into u, phi at most. The
feedback arrives with the next timestep, before which nothing looks at the potential. What NIR cannot express here is a
potential that saturates: a network that can reach the limit is refused.
"""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np

from toolchain.exchange.loss_report import Loss, LossReport
from toolchain.exchange.nir.file import write_graph
from toolchain.exchange.nir.growing import GrowingGraph, exact_float32, grow, in_full, metadata
from toolchain.exchange.nir.write_leaky import add_leaky, leaky_notes
from toolchain.netlist import (
    AdaFire,
    CubaLif,
    LeakyReadout,
    Netlist,
    Readout,
    UnsupportedError,
    can_saturate,
    membrane_bound,
)

EXPLICIT = "explicit"


def write_nir_explicit(netlist: Netlist, path: Path | str) -> LossReport:
    """Write a netlist in standard nodes only.

    Parameters
    ----------
    netlist : Netlist
    path : path

    Returns
    -------
    LossReport
        What a reader of the standard still has to be told.

    Raises
    ------
    UnsupportedError
        When NIR has no node for a part of the network, or its potential could saturate; names it.
    InputError
        When the file cannot be written.
    """
    graph = to_nir_explicit(netlist)
    found = [
        Loss(
            "graph", "NIR", f"run it for {netlist.timesteps} timesteps on integer payloads: NIR has no place for either"
        ),
        Loss("graph", "norse, sinabs, spikingjelly, snntorch", "their importers have no Threshold, Scale or feedback"),
    ]
    for readout in netlist.readouts:
        reach = membrane_bound(netlist, readout.name).magnitude
        if reach >= 2**24:
            found.append(
                Loss(readout.name, "float32", f"its sum can reach {reach}, which float32 does not hold exactly")
            )
    for population in netlist.populations:
        if isinstance(population, CubaLif | LeakyReadout):
            found += [Loss(population.name, "NIR", note) for note in leaky_notes(population)]
    if netlist.alpha:
        found.append(Loss("graph", "NIR", "early exit (alpha) is metadata"))
    write_graph(graph, path)
    return LossReport("nir-explicit", tuple(found))


def to_nir_explicit(netlist: Netlist) -> nir.NIRGraph:
    """Return a netlist as a NIR graph of standard nodes.

    The metadata name populations and make the file readable by `read_nir`; no reader needs them.

    Raises
    ------
    UnsupportedError
        When NIR has no node for a part of the network, or its potential could saturate; names it.
    """
    return grow(netlist, _add_neurons, add_leaky, _add_readout).finish(profile=EXPLICIT)


def _add_neurons(growing: GrowingGraph, population: AdaFire) -> int:
    """Add the nodes of one population; return the one that emits its bursts."""
    netlist, name, shape = growing.netlist, population.name, population.shape
    if can_saturate(netlist, name):
        raise UnsupportedError(
            name,
            f"its membrane potential can reach the limit of {netlist.membrane_bits} bits, and no NIR node clips",
            "export it with `to` nir, or use smaller weights",
        )
    theta, initial = in_full(population.threshold, shape), in_full(population.initial, shape)
    integrator = growing.add("integrate", nir.I(r=np.ones(shape, np.float32)), *growing.deliver(population))
    levels = [
        growing.add(
            "threshold", nir.Threshold(exact_float32(name, "thresholds", j * theta - initial - 0.5)), integrator
        )
        for j in range(1, population.phi + 1)
    ]
    burst = growing.add("burst", nir.Scale(np.ones(shape, np.float32), metadata=metadata(population=name)), *levels)
    feedback = growing.add("reset", nir.Scale(exact_float32(name, "thresholds", -theta)), burst)
    growing.edges.append((feedback, integrator))
    return burst


def _add_readout(growing: GrowingGraph, population: Readout) -> int:
    node = nir.I(r=np.ones(population.shape, np.float32), metadata=metadata(population=population.name))
    total = growing.add("readout", node, *growing.deliver(population))
    scale = in_full(population.scale, population.shape).astype(np.float64)
    return growing.add("scale", nir.Scale(scale), total)
