"""What a run did, in exact integers: operations per connection, updates and spikes per population.

Counts know nothing of prices. They add up over batches, so that any number of samples is counted in
memory that does not grow with it. Definitions: semantics, section 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import numpy as np

from toolchain.netlist import (
    Connection,
    Conv,
    ConvTranspose,
    Input,
    InputError,
    Linear,
    MaxPool,
    Netlist,
    Operator,
    Scale,
    SumPool,
    Trace,
    Weighted,
    adjoint,
    chain_shapes,
    fan_out,
)
from toolchain.netlist.linear import structure
from toolchain.netlist.shapes import Shape, size


def _sum_rows(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(left, right, strict=True))


@dataclass(frozen=True)
class ConnectionCounts:
    """Operations of one connection.

    Parameters
    ----------
    source, target : str
    kind : str
        The weighted operator that it is made of, or "Identity".
    from_input : bool
        Whether its source is the input: its operations are then multiply-accumulates, not SOPs.
    payload_max : int
        Greatest magnitude of a payload.
    synapses : int
        Sum of the source neurons' fan-out, borders of convolutions included: paths of the chain.
    macs : int
        Multiply-accumulates of one forward pass of the ANN. Products with padding zeros are not
        counted; an identity (`Scale`) and pooling multiply nothing.
    padded_macs : int
        The same with padding zeros, which is what FLOP counters print.
    additions : int
        Additions of one forward pass of the ANN in identities and pooling.
    sops : tuple of int, one per timestep
        Sum over samples and source neurons of |payload| * fan-out: a burst of n is n accumulates.
    events : tuple of int, one per timestep
        Sum over samples and source neurons of (payload != 0) * fan-out.
    effective : tuple of int, one per timestep
        As `events`, without the synapses whose weight quantised to zero.
    """

    source: str
    target: str
    kind: str
    from_input: bool
    payload_max: int
    synapses: int
    macs: int
    padded_macs: int
    additions: int
    sops: tuple[int, ...]
    events: tuple[int, ...]
    effective: tuple[int, ...]


@dataclass(frozen=True)
class PopulationCounts:
    """Activity of one population.

    Parameters
    ----------
    name : str
    kind : {"Input", "AdaFire", "MaxPool", "Readout"}
    neurons : int
    spikes : tuple of int, one per timestep
        Sum over samples and neurons of |payload|; zeros for a readout.
    active : tuple of int, one per timestep
        Number of payloads that are not zero; zeros for a readout.
    """

    name: str
    kind: Literal["Input", "AdaFire", "MaxPool", "Readout"]
    neurons: int
    spikes: tuple[int, ...]
    active: tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """Sizes of a netlist's arrays.

    Parameters
    ----------
    total, zeros : int
        Weights of all connections, and how many of them are zero.
    bits : int
        Width of a weight.
    parameters : int
        Thresholds, biases and initial membrane potentials, per channel or per neuron as stored.
    membrane_bits : int
        Width of each of these.
    """

    total: int
    zeros: int
    bits: int
    parameters: int
    membrane_bits: int

    @property
    def footprint(self) -> int:
        """Bytes of all arrays at their own width, each value in whole bytes."""
        return self.total * -(-self.bits // 8) + self.parameters * -(-self.membrane_bits // 8)


@dataclass(frozen=True)
class Counts:
    """Counts of a run over `samples` samples, each a sum over all of them.

    Parameters
    ----------
    netlist_hash : str
    timesteps, samples : int
    held_input : bool
        Whether the input's payload is the same at every timestep (direct coding), so that the
        current of the first layer can be computed once per inference and held.
    connections : tuple of ConnectionCounts
        In the order of the netlist.
    populations : tuple of PopulationCounts
        In the order of the netlist.
    weights : Weights
    """

    netlist_hash: str
    timesteps: int
    samples: int
    held_input: bool
    connections: tuple[ConnectionCounts, ...]
    populations: tuple[PopulationCounts, ...]
    weights: Weights

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both batches together.

        Raises
        ------
        InputError
            When the counts are of different netlists or numbers of timesteps.
        """
        if (self.netlist_hash, self.timesteps) != (other.netlist_hash, other.timesteps):
            raise InputError("counts", "counts of different netlists or numbers of timesteps cannot be added")
        return replace(
            self,
            samples=self.samples + other.samples,
            connections=tuple(
                replace(
                    a,
                    sops=_sum_rows(a.sops, b.sops),
                    events=_sum_rows(a.events, b.events),
                    effective=_sum_rows(a.effective, b.effective),
                )
                for a, b in zip(self.connections, other.connections, strict=True)
            ),
            populations=tuple(
                replace(a, spikes=_sum_rows(a.spikes, b.spikes), active=_sum_rows(a.active, b.active))
                for a, b in zip(self.populations, other.populations, strict=True)
            ),
        )


@dataclass(frozen=True, eq=False)
class Synapses:
    """What does not depend on the run: a connection's fan-out and the ANN's operations.

    Parameters
    ----------
    connection : Connection
    fan_out, effective_fan_out : ndarray (source shape), int64
        Synapses that each source neuron drives; without those of weight zero.
    counts : ConnectionCounts
        With nothing run yet.
    """

    connection: Connection
    fan_out: np.ndarray
    effective_fan_out: np.ndarray
    counts: ConnectionCounts


def synapses(netlist: Netlist, connection: Connection) -> Synapses:
    """Count the synapses of a connection and the ANN's operations along it."""
    source = netlist[connection.source]
    shapes = chain_shapes(connection.operators, source.shape)
    drive = fan_out(connection.operators, source.shape)
    steps = list(zip(connection.operators, shapes, strict=False))
    counts = ConnectionCounts(
        source=connection.source,
        target=connection.target,
        kind=connection_kind(connection),
        from_input=isinstance(source, Input),
        payload_max=max(abs(limit) for limit in netlist.payload_range(source.name)),
        synapses=int(drive.sum()),
        macs=sum(_synapse_count(o, s) for o, s in steps if isinstance(o, Weighted) and not isinstance(o, Scale)),
        padded_macs=sum(_padded_macs(o, s) for o, s in steps),
        additions=sum(_synapse_count(o, s) for o, s in steps if isinstance(o, Scale | SumPool)),
        sops=(),
        events=(),
        effective=(),
    )
    return Synapses(connection, drive, _effective_fan_out(connection.operators, shapes), counts)


def connection_kind(connection: Connection) -> str:
    """Name the operator that does a connection's work: its first weighted one, or "Identity"."""
    kinds = [type(o).__name__ for o in connection.operators if isinstance(o, Weighted)]
    named = [kind for kind in kinds if kind != "Scale"]
    return (named or kinds or ["Identity"])[0]


def _synapse_count(operator: Operator, shape: Shape) -> int:
    return int(fan_out((operator,), shape).sum())


def _padded_macs(operator: Operator, shape: Shape) -> int:
    out = size(operator.output_shape(shape))
    match operator:
        case Conv(weight=weight):
            return out * int(np.prod(weight.shape[1:]))
        case ConvTranspose(weight=weight):
            return size(shape) * int(np.prod(weight.shape[1:]))
        case Linear(weight=weight):
            return int(weight.size)
    return 0


def _effective_fan_out(operators: tuple[Operator, ...], shapes: tuple[Shape, ...]) -> np.ndarray:
    """Fan-out through weights that are not zero: the transpose of the pattern applied to ones."""
    count = np.ones(shapes[-1], dtype=np.int64)
    for operator, before in zip(reversed(operators), reversed(shapes[:-1]), strict=True):
        if isinstance(operator, Weighted):
            pattern: Operator = replace(operator, weight=(operator.weight != 0).astype(np.int64))
        else:
            pattern = structure(operator)
        count = adjoint(pattern, count, before)
    return count


def count(netlist: Netlist, traces: Trace | Iterable[Trace]) -> Counts:
    """Count the operations of a run.

    Parameters
    ----------
    netlist : Netlist
    traces : Trace or iterable of Trace
        The run, whole or batch by batch; each batch is counted and let go.

    Returns
    -------
    Counts
        Sums over all samples, exact integers.

    Raises
    ------
    InputError
        When a trace is of another netlist, or there is none.

    Notes
    -----
    Source of the formulas: semantics, section 9; eq. 2 of the appendix of Wang et al. (AAAI 2025)
    is ``firing rate * T * MACs``, which equals the SOPs counted here on average only where every
    neuron has the same fan-out.
    """
    drives = [synapses(netlist, c) for c in netlist.connections]
    batches = [traces] if isinstance(traces, Trace) else traces
    counted = (_count_batch(netlist, drives, trace) for trace in batches)
    first = next(counted, None)
    if first is None:
        raise InputError("trace", "there is nothing to count: no trace was given")
    return reduce(lambda total, batch: total + batch, counted, first)


def _count_batch(netlist: Netlist, drives: Sequence[Synapses], trace: Trace) -> Counts:
    if trace.netlist_hash != netlist.content_hash:
        raise InputError("trace", f"it is of netlist {trace.netlist_hash[:12]}, expected {netlist.content_hash[:12]}")
    # Sums over samples are enough for everything: (T, *shape) int64, at most 2**55 for 255 * any N below 2**47.
    spikes: dict[str, np.ndarray] = {}
    active: dict[str, np.ndarray] = {}
    for name, payload in trace.spikes.items():
        signed = np.issubdtype(payload.dtype, np.signedinteger)
        magnitude = np.abs(payload.astype(np.int16)) if signed else payload
        spikes[name] = magnitude.sum(axis=1, dtype=np.int64)
        active[name] = np.count_nonzero(payload, axis=1).astype(np.int64)
    connections = tuple(
        replace(
            drive.counts,
            sops=_dot(spikes[drive.connection.source], drive.fan_out),
            events=_dot(active[drive.connection.source], drive.fan_out),
            effective=_dot(active[drive.connection.source], drive.effective_fan_out),
        )
        for drive in drives
    )
    silent = (0,) * trace.timesteps
    populations = tuple(
        PopulationCounts(
            name=p.name,
            kind=type(p).__name__,  # type: ignore[arg-type]  # the union's class names are the literals
            neurons=size(p.shape),
            spikes=_totals(spikes[p.name]) if p.emits else silent,
            active=_totals(active[p.name]) if p.emits else silent,
        )
        for p in netlist.populations
    )
    return Counts(
        netlist_hash=netlist.content_hash,
        timesteps=trace.timesteps,
        samples=trace.samples,
        held_input=netlist.input.coding == "direct",
        connections=connections,
        populations=populations,
        weights=weigh(netlist),
    )


def _dot(summed: np.ndarray, drive: np.ndarray) -> tuple[int, ...]:
    """Sum (T, *shape) times (*shape) per timestep."""
    return tuple(int(total) for total in summed.reshape(summed.shape[0], -1) @ drive.reshape(-1))


def _totals(summed: np.ndarray) -> tuple[int, ...]:
    return tuple(int(total) for total in summed.reshape(summed.shape[0], -1).sum(axis=1))


def weigh(netlist: Netlist) -> Weights:
    """Count a netlist's weights and parameters."""
    arrays = [o.weight for c in netlist.connections for o in c.operators if isinstance(o, Weighted)]
    parameters = 0
    for population in netlist.populations:
        if isinstance(population, Input | MaxPool):
            continue
        for field in ("threshold", "bias", "initial"):
            parameters += int(getattr(population, field, np.empty(0)).size)
    return Weights(
        total=sum(int(a.size) for a in arrays),
        zeros=sum(int(a.size - np.count_nonzero(a)) for a in arrays),
        bits=netlist.weight_bits,
        parameters=parameters,
        membrane_bits=netlist.membrane_bits,
    )
