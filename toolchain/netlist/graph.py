"""The netlist: integer populations joined by integer connections, checked as a whole.

Currents of all connections into a population add up; that is the whole graph language. A residual
sum is two connections into one population, a concat is two connections with sliced weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from toolchain.netlist.delays import Group, balanced_depths, check_delay, run_groups, split_delays
from toolchain.netlist.errors import InputError, NetlistError
from toolchain.netlist.leaky import CubaLif, LeakyReadout
from toolchain.netlist.operators import Operator, Resample, Weighted, chain_shapes
from toolchain.netlist.overview import as_html, plain_table, population_row
from toolchain.netlist.populations import AdaFire, AnyReadout, Input, MaxPool, Population, Readout, Spiking
from toolchain.netlist.provenance import Provenance
from toolchain.netlist.radix import Radix, SpikeCode, check_windows, radix_of, with_payloads_up_to
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
        T, the length of one inference; in radix code K, the digits of a number.
    weight_bits : int
        Width of the signed weights, 2 to 16.
    membrane_bits : int
        Width of the signed membrane potential; it saturates at +-(2**(bits - 1) - 1).
    alpha : tuple of float
        Confidence at which a sample may stop, one per timestep; empty without early exit.
    provenance : Provenance
        How the netlist came about. No part of the content hash.
    spike_code : {"rate", "radix"}
        Whether bursts add up over time, or are the digits of a number in base phi + 1 (semantics, section 10).

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
    spike_code: SpikeCode = "rate"

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
        if self.spike_code not in ("rate", "radix"):
            raise NetlistError("netlist", f"spike_code {self.spike_code!r} found, expected 'rate' or 'radix'")
        delayed = next((c.name for c in self.connections if np.any(c.delay)), None)
        if self.radix is not None and delayed is not None:
            raise NetlistError(delayed, "a delay found: a number arrives by its digits' places, not late")
        if self.radix is not None and self.alpha:
            raise NetlistError("netlist", "alpha found: an answer in digits is there at the end of its window only")
        for population in self.populations:
            if isinstance(population, MaxPool):
                self._check_maxpool(population)
                if self.radix is not None:
                    inputs = self.inputs(population.name)
                    check_windows(population, [(c.name, c.operators) for c in inputs])
            if isinstance(population, AdaFire):
                self._check_membrane(population)
            if isinstance(population, CubaLif | LeakyReadout) and self.radix is not None:
                raise NetlistError(population.name, "leaks, and a number in digits must not", "use spike_code 'rate'")
            if isinstance(population, CubaLif | LeakyReadout) and self.membrane_bits != LEAKY_BITS:
                raise NetlistError(
                    population.name, f"leaky neurons have {LEAKY_BITS} bits, but membrane_bits is {self.membrane_bits}"
                )

    def _check_weights(self, connection: Connection) -> None:
        low, high = -(2 ** (self.weight_bits - 1)), 2 ** (self.weight_bits - 1) - 1
        for operator in connection.operators:
            if isinstance(operator, Resample) and any(m.dtype.kind == "f" for m in operator.matrices):
                raise NetlistError(connection.name, "a Resample holds real numbers, expected integers")
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
            f"{len(self.connections)} connections, {self.run_length}, {self.weight_bits}-bit weights>"
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

    @cached_property
    def radix(self) -> Radix | None:
        """Base and digits of its numbers; None where bursts are rates."""
        return radix_of(self.populations, self.timesteps) if self.spike_code == "radix" else None

    @property
    def run_length(self) -> str:
        """How long an inference is, as tables show it."""
        if self.radix is None:
            return f"T={self.timesteps}"
        return f"{self.timesteps} digits in base {self.radix.base}"

    @property
    def answers(self) -> tuple[int, ...]:
        """Timesteps, counted from 1, at which there is an answer: at each, or when a number is there as a whole."""
        return tuple(range(1, self.timesteps + 1)) if self.radix is None else (self.timesteps,)

    def length(self, timesteps: int | None) -> int:
        """Return how many timesteps a run takes that asks for some, or for the netlist's own.

        Raises
        ------
        InputError
            When it asks for none, or for a part of a window of digits.
        """
        if timesteps is None:
            return self.timesteps
        if timesteps < 1:
            raise InputError("timesteps", f"{timesteps} found, expected at least 1")
        if self.radix is not None and timesteps != self.timesteps:
            raise InputError("timesteps", f"{timesteps} found, expected {self.timesteps}: a number has all its digits")
        return timesteps

    @cached_property
    def numbers(self) -> Netlist:
        """The network whose payloads are whole numbers: of one timestep in radix code, itself in rate code.

        A window adds up digits times the values of their places, and what does so adds up the number: connections
        are linear. Where no potential is clipped on the way, both say the same (semantics, section 10).
        """
        if self.radix is None:
            return self
        most = self.radix.greatest
        whole = tuple(with_payloads_up_to(p, most) for p in self.populations)
        return replace(self, populations=whole, timesteps=1, spike_code="rate")

    def spelled(self, radix: Radix) -> Netlist:
        """Return the radix netlist whose `numbers` this netlist is.

        Raises
        ------
        NetlistError
            When it runs for more than one timestep, or its bursts are not numbers of so many digits.
        """
        most = {p.name: p.payload_range[1] for p in self.spiking}
        if self.timesteps != 1 or self.spike_code != "rate" or set(most.values()) - {radix.greatest}:
            raise NetlistError(
                "netlist",
                f"{self.timesteps} timesteps of bursts up to {most} found, expected 1 of up to {radix.greatest}",
            )
        digits = tuple(with_payloads_up_to(p, radix.base - 1) for p in self.populations)
        return replace(self, populations=digits, timesteps=radix.digits, spike_code="radix")

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
        if self.radix is not None:
            values += ["spike_code", self.spike_code]
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
