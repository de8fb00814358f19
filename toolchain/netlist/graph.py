"""The netlist: integer populations joined by integer connections, checked as a whole.

Currents of all connections into a population add up; that is the whole graph language. A residual
sum is two connections into one population, a concat is two connections with sliced weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from toolchain.netlist.delays import Group, balanced_depths, check_delay, run_groups, split_delays
from toolchain.netlist.errors import NetlistError
from toolchain.netlist.leaky import CubaLif, LeakyReadout
from toolchain.netlist.operators import Operator, Weighted, chain_shapes
from toolchain.netlist.overview import as_html, plain_table, population_row
from toolchain.netlist.populations import AdaFire, AnyReadout, Input, MaxPool, Population, Readout, Spiking
from toolchain.netlist.provenance import Provenance
from toolchain.netlist.records import digest, hashed_fields, smallest_integer
from toolchain.netlist.shapes import Shape

#: Longest run that a netlist may ask for; bounds what a corrupted file can cost.
MAX_TIMESTEPS = 4096

#: Width of current and membrane potential of leaky neurons.
LEAKY_BITS = 24


@dataclass(frozen=True, eq=False)
class Connection:
    """A linear map from one population's payload to another's current.

    Parameters
    ----------
    source, target : str
        Population names.
    operators : tuple of Operator
        Applied in order; none is the identity.
    delay : int or ndarray, int64
        Timesteps from a payload to its effect: 0 within the same timestep; at least 1 for what runs backwards, or to
        its own source. An array, of the shape of the chain's only weights (a `Linear`), delays synapse by synapse.
    """

    source: str
    target: str
    operators: tuple[Operator, ...]
    delay: int | np.ndarray = 0

    @property
    def name(self) -> str:
        """How messages and tables call this connection."""
        return f"{self.source}->{self.target}"

    @property
    def least_delay(self) -> int:
        """The shortest delay of its synapses."""
        return int(np.min(self.delay))

    @cached_property
    def parts(self) -> tuple[tuple[int, tuple[Operator, ...]], ...]:
        """The synapses by their delay, each with the operators that deliver them: what executors run."""
        return split_delays(self.delay, self.operators)


@dataclass(frozen=True, eq=False)
class Netlist:
    """A spiking network in the integers that a chip holds.

    Parameters
    ----------
    populations : tuple of Population
        In topological order; exactly one `Input`, first; at least one `Readout`.
    connections : tuple of Connection
        Kept in the order (target, source) of the populations.
    timesteps : int
        T, the length of one inference.
    weight_bits : int
        Width of the signed weights, 2 to 16.
    membrane_bits : int
        Width of the signed membrane potential; it saturates at +-(2**(bits - 1) - 1).
    alpha : tuple of float
        Confidence at which a sample may stop, one per timestep; empty without early exit.
    provenance : Provenance
        How the netlist came about. No part of the content hash.

    Raises
    ------
    NetlistError
        When a rule is broken: names, references, order, shapes, ranges.
    """

    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    timesteps: int
    weight_bits: int = 8
    membrane_bits: int = 24
    alpha: tuple[float, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if not 1 <= self.timesteps <= MAX_TIMESTEPS:
            raise NetlistError("netlist", f"timesteps {self.timesteps} found, expected 1 to {MAX_TIMESTEPS}")
        if not 2 <= self.weight_bits <= 16:
            raise NetlistError("netlist", f"weight_bits {self.weight_bits} found, expected 2 to 16")
        if not 8 <= self.membrane_bits <= 32:
            raise NetlistError("netlist", f"membrane_bits {self.membrane_bits} found, expected 8 to 32")
        if self.alpha and (len(self.alpha) != self.timesteps or not np.all(np.isfinite(self.alpha))):
            raise NetlistError("netlist", f"alpha has {len(self.alpha)} values, expected {self.timesteps} finite ones")
        for connection in self.connections:
            check_delay(connection.name, connection.delay, connection.operators)
        order = check_graph(self.populations, self.connections)
        object.__setattr__(
            self,
            "connections",
            tuple(sorted(self.connections, key=lambda c: (order[c.target], order[c.source]))),
        )
        for connection in self.connections:
            self._check_weights(connection)
        for population in self.populations:
            if isinstance(population, MaxPool):
                self._check_maxpool(population)
            if isinstance(population, AdaFire):
                self._check_membrane(population)
            if isinstance(population, CubaLif | LeakyReadout) and self.membrane_bits != LEAKY_BITS:
                raise NetlistError(
                    population.name, f"leaky neurons have {LEAKY_BITS} bits, but membrane_bits is {self.membrane_bits}"
                )

    def _check_weights(self, connection: Connection) -> None:
        low, high = -(2 ** (self.weight_bits - 1)), 2 ** (self.weight_bits - 1) - 1
        for operator in connection.operators:
            if not isinstance(operator, Weighted):
                continue
            if not np.issubdtype(operator.weight.dtype, np.integer):
                raise NetlistError(connection.name, f"weights are {operator.weight.dtype}, expected integers")
            if int(operator.weight.min()) < low or int(operator.weight.max()) > high:
                raise NetlistError(
                    connection.name,
                    f"weights reach {int(operator.weight.min())} .. {int(operator.weight.max())}, "
                    f"expected {low} .. {high} for {self.weight_bits} bits",
                )

    def _check_maxpool(self, population: MaxPool) -> None:
        for connection in self.inputs(population.name):
            source = self[connection.source]
            if isinstance(source, Input):
                raise NetlistError(population.name, "max-pooling of the input payload is not spiking")
            if any(isinstance(o, Weighted) for o in connection.operators):
                raise NetlistError(population.name, f"connection {connection.name} has weights, expected none")
            if self.payload_range(source.name)[1] > population.max_payload:
                raise NetlistError(
                    population.name, f"max_payload {population.max_payload} is below that of {source.name!r}"
                )

    def _check_membrane(self, population: AdaFire) -> None:
        limit = self.membrane_limit
        for what, values in (
            ("threshold", population.threshold),
            ("bias", population.bias),
            ("initial", population.initial),
        ):
            if max(-int(values.min()), int(values.max())) > limit:
                raise NetlistError(population.name, f"{what} exceeds the {self.membrane_bits}-bit membrane, +-{limit}")

    def __repr__(self) -> str:
        return (
            f"<Netlist {self.content_hash[:12]}: {len(self.populations)} populations, "
            f"{len(self.connections)} connections, T={self.timesteps}, {self.weight_bits}-bit weights>"
        )

    def __str__(self) -> str:
        return plain_table(repr(self), [population_row(p) for p in self.populations])

    def _repr_html_(self) -> str:
        return as_html(str(self))

    def __getitem__(self, name: str) -> Population:
        try:
            return self._by_name[name]
        except KeyError:
            raise NetlistError("netlist", f"no population {name!r}; there are {', '.join(self._by_name)}") from None

    @cached_property
    def _by_name(self) -> dict[str, Population]:
        return {p.name: p for p in self.populations}

    @cached_property
    def _inputs(self) -> dict[str, tuple[Connection, ...]]:
        return {p.name: tuple(c for c in self.connections if c.target == p.name) for p in self.populations}

    @property
    def input(self) -> Input:
        """The one input population."""
        source = self.populations[0]
        if not isinstance(source, Input):
            raise NetlistError(source.name, "the first population must be the input")
        return source

    @property
    def spiking(self) -> tuple[Spiking, ...]:
        """The populations that emit spikes or bursts, in topological order."""
        return tuple(p for p in self.populations if isinstance(p, AdaFire | CubaLif | MaxPool))

    @property
    def readouts(self) -> tuple[AnyReadout, ...]:
        """The populations that are read out, in topological order."""
        return tuple(p for p in self.populations if isinstance(p, Readout | LeakyReadout))

    @property
    def classifier(self) -> AnyReadout | None:
        """The readout that decides on classes: the only one, if it is a single list of logits; else None."""
        readouts = self.readouts
        return readouts[0] if len(readouts) == 1 and len(readouts[0].shape) == 1 else None

    @property
    def membrane_limit(self) -> int:
        """Magnitude at which the membrane potential saturates."""
        return int(2 ** (self.membrane_bits - 1) - 1)

    def inputs(self, name: str) -> tuple[Connection, ...]:
        """Return the connections into a population."""
        return self._inputs[self[name].name]

    def outputs(self, name: str) -> tuple[Connection, ...]:
        """Return the connections out of a population."""
        return tuple(c for c in self.connections if c.source == self[name].name)

    def payload_range(self, name: str) -> tuple[int, int]:
        """Return the least and greatest payload that a population emits."""
        population = self[name]
        if isinstance(population, Readout | LeakyReadout):
            raise NetlistError(name, "a readout emits no payload")
        return population.payload_range

    @cached_property
    def depths(self) -> Mapping[str, int]:
        """Longest path from the input to each population, in hops less the delays on it (semantics, section 4).

        Raises
        ------
        UnsupportedError
            When a loop has more hops than its delays are timesteps: no pipeline balances it.
        """
        return balanced_depths([p.name for p in self.populations], self.connections)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The populations in the order to run them: each for itself, or a loop's together."""
        return run_groups([p.name for p in self.populations], self.connections)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of everything but the provenance."""
        values: list[Any] = []
        for key in ("timesteps", "weight_bits", "membrane_bits", "alpha"):
            values += [key, getattr(self, key)]
        for population in self.populations:
            values += hashed_fields(population)
        for connection in self.connections:
            values.append((connection.source, connection.target, len(connection.operators)))
            # Written down only where there is one: netlists of earlier versions keep their hash.
            if np.any(connection.delay):
                values += ["delay", _plain_delay(connection.delay)]
            for operator in connection.operators:
                values += hashed_fields(operator)
        return digest(values)


def _plain_delay(delay: int | np.ndarray) -> int | np.ndarray:
    """Return a delay as files and the hash have it."""
    return smallest_integer(delay) if isinstance(delay, np.ndarray) else int(delay)


def check_graph(populations: tuple[Any, ...], connections: tuple[Connection, ...]) -> dict[str, int]:
    """Check names, references, topological order and shapes; return each population's position.

    Serves every network of populations and connections, float or integer: populations need
    `name`, `shape`, `emits` and, where they take connections, `current_shape`.
    """
    order: dict[str, int] = {}
    for position, population in enumerate(populations):
        if population.name in order:
            raise NetlistError(population.name, "two populations have this name")
        order[population.name] = position
    shapes: dict[str, Shape] = {p.name: p.shape for p in populations}
    currents: dict[str, Shape] = {p.name: p.current_shape for p in populations if hasattr(p, "current_shape")}
    sources = [p.name for p in populations if p.name not in currents]
    if len(sources) != 1 or order[sources[0]] != 0:
        raise NetlistError("netlist", f"inputs {sources} found, expected exactly one input, as the first population")
    emitting = {p.name for p in populations if p.emits}
    if len(emitting) == len(populations):
        raise NetlistError("netlist", "no readout found, expected at least one")
    for connection in connections:
        for end in (connection.source, connection.target):
            if end not in order:
                raise NetlistError(connection.name, f"there is no population {end!r}")
        if connection.target not in currents:
            raise NetlistError(connection.name, "an input takes no connections")
        if connection.source not in emitting:
            raise NetlistError(connection.name, f"{connection.source!r} is a readout and emits nothing")
        if order[connection.source] >= order[connection.target] and connection.least_delay < 1:
            raise NetlistError(
                connection.name,
                "runs backwards without delay: populations stand in topological order, and a loop needs a delay",
                "give it a delay of at least one timestep, or order the populations",
            )
        try:
            reached = chain_shapes(connection.operators, shapes[connection.source])[-1]
        except NetlistError as error:
            raise NetlistError(f"{connection.name}, {error.where}", error.problem, error.fix) from None
        if reached != currents[connection.target]:
            raise NetlistError(
                connection.name, f"delivers shape {reached}, {connection.target!r} takes {currents[connection.target]}"
            )
    return order


def last_reads(order: Iterable[str], connections: Iterable[Connection]) -> dict[str, tuple[str, ...]]:
    """Name, for each population or unit in topological order, the values that nobody reads after it.

    A walk in that order may drop them once it has computed that one. A value that no connection reads is its own last
    reading: it may go as soon as it is there.

    Examples
    --------
    >>> last_reads("abc", [Connection("a", "b", ()), Connection("a", "c", ()), Connection("b", "c", ())])
    {'a': (), 'b': (), 'c': ('a', 'b', 'c')}
    """
    position = {name: i for i, name in enumerate(order)}
    last = {name: name for name in position}
    for connection in connections:
        last[connection.source] = max(last[connection.source], connection.target, key=position.__getitem__)
    return {reader: tuple(name for name in last if last[name] == reader) for reader in position}
