"""Compiling a population and its connections: which loops, which kernels and which float types carry it exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from sim.columns import compile_plain
from sim.currents import (
    CompiledConnection,
    Diagonal,
    Emitting,
    Silence,
    compile_arranged,
    compile_current,
    compile_diagonal,
)
from sim.fused import FusedLayer, is_fused
from sim.layer import Layer
from sim.lines import line
from sim.parts import LoopLayer, has_loops
from sim.scan_floats import scan_dtype
from sim.steps import PlainLayer
from toolchain.netlist import (
    AdaFire,
    Connection,
    Input,
    LeakyReadout,
    MaxPool,
    NetlistError,
    Population,
    Readout,
    bound_membrane,
)


def _emitting(population: Population) -> Emitting:
    if isinstance(population, Readout | LeakyReadout):
        raise NetlistError(population.name, "a readout emits no payload")
    return population


def compile_layer(
    population: Population,
    connections: Sequence[Connection],
    sources: Mapping[str, Population],
    membrane_limit: int,
    timesteps: int,
    device: str | torch.device = "cpu",
    *,
    endless: bool = False,
) -> Layer:
    """Prepare a population and the connections into it to run.

    Parameters
    ----------
    population : any but Input
    connections : sequence of Connection
        All of its incoming connections.
    sources : mapping of str to Population
        At least the populations that the connections come from.
    membrane_limit : int
        Magnitude at which the membrane saturates (`Netlist.membrane_limit`).
    timesteps : int
        T, the longest run: the saturation bound holds for it.
    device : str or torch.device
        Where the payloads will be.
    endless : bool
        Whether runs go on from each other without end. Then no number of timesteps bounds a potential, and all
        are clipped at the limit.

    Returns
    -------
    Layer

    Raises
    ------
    NetlistError
        When the population's sums are too large for exact arithmetic.
    """
    if isinstance(population, Input):
        raise NetlistError(population.name, "an input is not a layer")
    place = torch.device(device)
    fed = [
        (replace(c, operators=operators, delay=delay), _emitting(sources[c.source]))
        for c in connections
        for delay, operators in c.parts
    ]
    loops, fused = has_loops(population, place), is_fused(population, place)
    if loops and isinstance(population, MaxPool) and len(fed) == 1 and (bytes_only := compile_arranged(*fed[0])):
        return LoopLayer(population, [(line(fed[0][0]), bytes_only)], None, timesteps, None, torch.uint8, place)
    skip: tuple[str, Diagonal] | None = None
    currents: list[tuple[str, CompiledConnection]] = []
    for connection, source in fed:
        # One residual identity is left to the neuron scan, which needs some other current to add it to.
        if (loops or fused) and isinstance(population, AdaFire) and skip is None and len(fed) > 1:
            diagonal = compile_diagonal(connection, source)
            if diagonal is not None and (currents or connection is not fed[-1][0]):
                skip = (line(connection), diagonal)
                continue
        compiled = compile_current(connection, source) if loops else compile_plain(connection, source, place)
        currents.append((line(connection), compiled))
    if not fed:
        # Whatever comes tells how many samples there are.
        beside = next(p.name for p in sources.values() if isinstance(p, Input))
        currents.append((beside, Silence(population.current_shape)))
    potential, limit = 0, None
    if isinstance(population, AdaFire):
        if not endless:
            potential = bound_membrane(population, fed, timesteps).magnitude
        limit = membrane_limit if endless or potential > membrane_limit else None
    sums = sum(c.bound for _, c in currents) + (skip[1].bound if skip else 0)
    dtype = scan_dtype(population, sums, potential if limit is None else limit)
    kind = LoopLayer if loops else FusedLayer if fused else PlainLayer
    return kind(population, currents, skip, timesteps, limit, dtype, place)
