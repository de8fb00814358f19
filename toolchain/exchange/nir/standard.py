"""A netlist from the nodes of a NIR graph, whoever wrote it.

Every path of linear nodes between two populations becomes a connection; what several paths deliver adds
up, as NIR says, and what closes a loop arrives a timestep later. Integrate-and-fire neurons become AdaFire
populations, leaky ones CubaLif, as far as the arithmetic of docs/semantics.md goes; the report says what had to be
assumed, and everything else is refused with the node's name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nir
import numpy as np

from toolchain.exchange.integers import IntegerCurrent, RealCurrent, to_integers
from toolchain.exchange.loss_report import Imported, Loss, LossReport
from toolchain.exchange.nir.file import as_float, profile_of
from toolchain.exchange.nir.graph import FlatGraph, flatten_graph
from toolchain.exchange.nir.leaky import LEAKY, READ, Coding, Reset, check_dt, leaky_node
from toolchain.exchange.nir.neurons import every_neuron, neuron, reason_against
from toolchain.exchange.nir.quantize_leaky import always_firing, can_wrap, quantize_leaky
from toolchain.exchange.nir.wiring import Wiring
from toolchain.exchange.real_network import RealNetwork, RealPopulation
from toolchain.netlist import (
    AdaFire,
    Connection,
    CubaLif,
    FormatError,
    Input,
    LeakyReadout,
    Netlist,
    Population,
    Provenance,
    Readout,
    Shape,
    UnsupportedError,
    apply_chain,
    per_channel,
)

#: More paths than this into one population are refused.
MAX_PATHS = 4096


def import_graph(
    graph: nir.NIRGraph,
    file: str,
    *,
    timesteps: int = 16,
    weight_bits: int = 8,
    dt: float | None = None,
    reset: Reset | None = None,
    input_bits: int = 8,
    coding: Coding | None = None,
) -> Imported:
    """Make a netlist of a NIR graph.

    Parameters
    ----------
    graph : nir.NIRGraph
        Read without NIR's own type check.
    file : str
        For messages.
    timesteps, weight_bits : int
        For graphs that do not say.
    dt : float, optional
        Length of a timestep in seconds: leaky neurons and delays need it.
    reset : {"zero", "subtract"}, optional
        How neurons forget a spike: by default leaky ones as NIR says (to zero), others as AdaFire (by subtraction).
    input_bits : int
        Width of the input's payload, 1 to 8: one bit for events, which are 0 or 1; else signed.
    coding : {"direct", "frames"}, optional
        A picture that is held, or a frame at each timestep: by default frames for networks that were trained as spiking
        ones, which leak, have delays or reset to zero.

    Raises
    ------
    InputError
        When the graph needs a dt and there is none.
    FormatError
        When the graph is damaged: edges to nowhere, shapes that do not fit.
    UnsupportedError
        When a node means something that a netlist cannot express; names it.
    """
    flat, profile = flatten_graph(file, graph), profile_of(graph)
    # More than 8 bits only as far as no spikes make a current wrap around in its 24. A potential is clipped, far away.
    for bits in range(weight_bits, min(weight_bits, 8) - 1, -1):
        imported = _GraphReader(file, flat, profile, bits, dt, reset, input_bits, coding).read(timesteps)
        if bits <= 8 or not can_wrap(imported.netlist):
            break
    if bits == weight_bits:
        return imported
    note = Loss("graph", "adafire", f"weights are rounded to {bits} bits: with more, a current could leave its 24 bits")
    return replace(imported, report=LossReport("nir", (*imported.report.losses, note)))


class _GraphReader:
    """Follows a flat graph from its input, node by node in topological order."""

    def __init__(
        self,
        file: str,
        flat: FlatGraph,
        profile: dict[str, Any] | None,
        weight_bits: int,
        dt: float | None,
        reset: Reset | None,
        input_bits: int,
        coding: Coding | None,
    ) -> None:
        self.file, self.flat, self.profile, self.reset = file, flat, profile, reset
        self.input_bits, self.coding = input_bits, coding
        self.weight_bits = weight_bits if profile is None else self._number("weight_bits", int)
        if dt is None and profile is not None and "dt" in profile:
            dt = self._number("dt", float)
        self.dt = check_dt(file, flat.nodes, dt) if self._needs_dt() else dt
        self._refuse()
        self.losses: list[Loss] = []
        self.wiring = Wiring(file, flat, self.dt, self.losses)
        self.shapes, self.names = self.wiring.shapes, self.wiring.names
        self.real: list[RealPopulation] = []
        self.constant = False
        self.unit = self._unit()

    def _unit(self) -> float:
        """Return the r that counts as 1 per timestep: NIR says no dt, and where all neurons have one r, it is 1/dt."""
        found = {
            float(v)
            for name, node in self.flat.nodes.items()
            if isinstance(node, nir.IF)
            for v in np.unique(as_float(f"{self.file}:{name}/r", node.r))
        }
        if self.profile is not None or len(found) != 1 or found == {1.0} or min(found) <= 0:
            return 1.0
        (r,) = found
        self.losses.append(Loss("graph", "adafire", f"r = {r:g} of all neurons is taken for 1/dt, dt = {1 / r:g} s"))
        return r

    def _needs_dt(self) -> bool:
        """Return whether times stand in the graph; ours are in timesteps."""
        return any(isinstance(node, (*LEAKY, nir.Delay)) for node in self.flat.nodes.values())

    def _refuse(self) -> None:
        """Refuse what no netlist can express, all nodes at once."""
        reasons = [(name, reason_against(self.flat.nodes[name])) for name in self.flat.order]
        against = [f"node {name!r}: {reason}" for name, reason in reasons if reason is not None]
        if against:
            more = f"; and {len(against) - 8} more" if len(against) > 8 else ""
            raise UnsupportedError(self.file, "; ".join(against[:8]) + more, "use neurons and linear nodes")

    def read(self, timesteps: int) -> Imported:
        profile = self.profile
        populations: list[Population] = []
        connections: list[Connection] = []
        if profile is not None:
            timesteps = self._number("timesteps", int)
        for name in self.flat.order:
            population, incoming = self._visit(name)
            if population is not None:
                populations.append(population)
                connections += incoming
        self._add_constant(populations)
        alpha = () if profile is None else tuple(as_float(self.file, profile["alpha"])) if "alpha" in profile else ()
        netlist = Netlist(
            tuple(populations),
            tuple(connections),
            timesteps,
            weight_bits=self.weight_bits,
            membrane_bits=24 if profile is None else self._number("membrane_bits", int),
            alpha=tuple(float(a) for a in alpha),
            provenance=Provenance(imported=self.file),
        )
        leaky = any(isinstance(p, CubaLif | LeakyReadout) for p in populations)
        real = RealNetwork(tuple(self.real)) if leaky or self.flat.delayed else None
        return Imported(netlist, LossReport("nir", tuple(self.losses)), real)

    def _number(self, key: str, kind: type) -> Any:
        value = (self.profile or {}).get(key)
        value = value.item() if isinstance(value, np.generic) else value
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise FormatError(f"{self.file}:adafire/{key}", f"{value!r:.40} found, expected {kind.__name__}")
        return value

    def _visit(self, name: str) -> tuple[Population | None, tuple[Connection, ...]]:
        where, node, shape = f"{self.file}:{name}", self.flat.nodes[name], self.shapes[name]
        if isinstance(node, nir.Input):
            return self._input(name), ()
        if name in self.wiring.linear:
            return None, ()
        if isinstance(node, LEAKY) or (isinstance(node, nir.IF) and self.reset == "zero"):
            return self._leaky(name, node, shape)
        if isinstance(node, nir.IF):
            return self._neuron(name, node, shape)
        if isinstance(node, nir.I):
            self._check_is_read(name)
            return self._readout(name, shape, every_neuron(f"{where}/r", node.r, shape))
        if isinstance(node, nir.Output):
            if any(isinstance(self.flat.nodes[s], (*READ, nir.I)) for s in self.flat.sources(name)):
                return None, ()
            return self._readout(name, shape, np.ones(shape))
        raise UnsupportedError(where, f"{type(node).__name__}: a netlist has no such node")

    def _check_is_read(self, name: str) -> None:
        if any(not isinstance(self.flat.nodes[t], nir.Output) for t in self.flat.targets(name)):
            raise UnsupportedError(
                f"{self.file}:{name}",
                "an integrator inside the network has no counterpart: it sends no spikes",
                "use it as a readout",
            )

    def _input(self, name: str) -> Input:
        shape = self.shapes[name]
        self.real.append(RealPopulation(self.names[name], shape))
        if self.profile is None:
            # Networks that were trained as spiking ones are fed with events.
            trained = bool(self.flat.delayed) or self._needs_dt() or self.reset == "zero"
            coding = self.coding or ("frames" if trained else "direct")
            frames = ", one frame per timestep" if coding == "frames" else ""
            bits, signed = self.input_bits, self.input_bits > 1
            source = Input(self.names[name], shape, bits, signed, 1.0, np.zeros(shape[0]), np.ones(shape[0]), coding)
            low, high = source.payload_range
            self.losses.append(
                Loss(source.name, "adafire", f"data are rounded to the integers {low} .. {high}{frames}")
            )
            return source
        return Input(
            self.names[name],
            shape,
            self._number("input_bits", int),
            self._number("input_signed", bool),
            self._number("input_scale", float),
            as_float(f"{self.file}:adafire/normalize_mean", self.profile.get("normalize_mean")),
            as_float(f"{self.file}:adafire/normalize_std", self.profile.get("normalize_std")),
            self._number("coding", str),
        )

    def _neuron(self, name: str, node: Any, shape: Shape) -> tuple[Population, tuple[Connection, ...]]:
        found = neuron(f"{self.file}:{name}", node, shape, self.unit)
        self.losses += [Loss(self.names[name], "adafire", note) for note in found.notes]
        current, delays = self._current(name, shape, found.threshold, found.initial)
        integers = self._integers(current, self.weight_bits)
        if integers.threshold is None or integers.initial is None or integers.threshold.ndim > 1:
            raise UnsupportedError(f"{self.file}:{name}", "thresholds differ from neuron to neuron of a channel")
        population = AdaFire(
            self.names[name], shape, found.phi, integers.threshold, integers.bias, integers.initial, integers.scale
        )
        paths = tuple((source, operators, d) for (source, operators), d in zip(current.paths, delays, strict=True))
        self.real.append(
            RealPopulation(
                current.name,
                shape,
                paths,
                current.bias,
                threshold=current.threshold,
                initial=current.initial,
                phi=found.phi,
                reset="subtract",
            )
        )
        return population, self._delayed(integers, delays)

    def _readout(self, name: str, shape: Shape, scale: np.ndarray) -> tuple[Population, tuple[Connection, ...]]:
        flat = scale.reshape(shape[0], -1)
        if not np.all(flat == flat[:, :1]) or not np.all(flat > 0):
            raise UnsupportedError(
                f"{self.file}:{name}", "r must be positive and the same for all neurons of a channel"
            )
        current, delays = self._current(name, shape, None, None)
        integers = self._integers(current, self.weight_bits)
        population = Readout(self.names[name], shape, integers.bias, flat[:, 0] * integers.scale)
        return population, self._delayed(integers, delays)

    def _leaky(self, name: str, node: Any, shape: Shape) -> tuple[Population, tuple[Connection, ...]]:
        where = f"{self.file}:{name}"
        if isinstance(node, nir.IF):
            found = leaky_node(where, node, shape, 1 / self.unit)
        else:
            assert self.dt is not None
            found = leaky_node(where, node, shape, self.dt)
        if found.threshold is None:
            self._check_is_read(name)
        self.losses += [Loss(self.names[name], "adafire", note) for note in found.notes]
        current, delays = self._current(name, shape, found.threshold, None)
        own = (profile_of(node) or {}).get("reset")
        reset = self.reset or ("subtract" if own == "subtract" else "zero")
        made = quantize_leaky(where, found, current, self._constant_name, self.weight_bits, reset)
        self.constant = self.constant or made.constant
        self.losses += made.losses
        self.real.append(made.real(delays))
        return made.population, self._delayed(made.integers, [*delays, *[0] * made.constant])

    def _delayed(self, integers: IntegerCurrent, delays: list[int]) -> tuple[Connection, ...]:
        return tuple(replace(c, delay=delay) for c, delay in zip(integers.connections, delays, strict=True))

    @property
    def _constant_name(self) -> str:
        """How the population that fires at every timestep is called."""
        taken, count = set(self.names.values()), 1
        while f"one_{count}" in taken:
            count += 1
        return f"one_{count}"

    def _add_constant(self, populations: list[Population]) -> None:
        """Add the neuron whose synapses carry the biases of currents with memory."""
        if self.constant:
            populations.insert(1, always_firing(self._constant_name))
            self.real.insert(1, RealPopulation(self._constant_name, (1,), constant=True))
            self.losses.append(
                Loss(
                    self._constant_name,
                    "adafire",
                    "a neuron that fires at every timestep carries the biases of currents that have a memory",
                )
            )

    def _integers(self, current: RealCurrent, weight_bits: int) -> IntegerCurrent:
        try:
            integers = to_integers(current, weight_bits, exactly=self.profile is not None)
        except FormatError as error:
            raise FormatError(f"{self.file}:{error.where}", error.problem, error.fix) from None
        self.losses += integers.losses
        return integers

    def _current(
        self, name: str, shape: Shape, threshold: np.ndarray | None, initial: np.ndarray | None
    ) -> tuple[RealCurrent, list[int]]:
        """Return what reaches a population, and how many timesteps each path takes."""
        bias = np.zeros(shape)
        paths, delays = [], []
        for path in self.wiring.paths(name):
            source, operators = path.source, path.operators
            if path.bias is not None:
                before = self.shapes[source]
                offset = np.broadcast_to(per_channel(path.bias, before), before).astype(np.float64)
                bias += apply_chain(operators, offset[np.newaxis], before)[0]
            else:
                paths.append((self.names[source], operators))
                delays.append(path.delay)
        return RealCurrent(self.names[name], shape, tuple(paths), bias, threshold, initial), delays
