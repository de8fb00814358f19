"""What a run did, in exact integers: operations per connection, updates and spikes per population.

Counts know nothing of prices. They add up over batches, so that any number of samples is counted in
memory that does not grow with it. Definitions: semantics, section 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from sim import Activity
from toolchain.display import Displayed
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
    chain_shapes,
    fan_out,
)
from toolchain.netlist.shapes import Shape, size

if TYPE_CHECKING:
    from rich.console import RenderableType


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
    sops : int
        Sum over samples, timesteps and source neurons of |payload| * fan-out: a burst of n is n
        accumulates.
    events : int
        Sum over samples, timesteps and source neurons of (payload != 0) * fan-out.
    effective : int
        As `events`, without the synapses whose weight quantised to zero.
    sops_by_timestep : tuple of int
        One per timestep; empty where the run did not keep its timesteps apart.
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
    sops: int = 0
    events: int = 0
    effective: int = 0
    sops_by_timestep: tuple[int, ...] = ()


@dataclass(frozen=True)
class PopulationCounts:
    """Activity of one population.

    Parameters
    ----------
    name : str
    kind : str
        "Input", "AdaFire", "MaxPool" or "Readout".
    neurons : int
    spikes : int
        Sum over samples, timesteps and neurons of |payload|; 0 for a readout.
    active : int
        Number of payloads that are not zero; 0 for a readout.
    """

    name: str
    kind: str
    neurons: int
    spikes: int
    active: int


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
class Counts(Displayed):
    """Counts of a run over `samples` samples, each a sum over all of them.

    Parameters
    ----------
    netlist_hash : str
    timesteps : int
        T, the longest run of a sample.
    samples : int
    steps : int
        Timesteps run, summed over samples: `samples * timesteps` without early exit.
    ann_macs : int
        Multiply-accumulates of one forward pass of the original network, as its conversion counted
        them; of the netlist's own connections where that is not recorded.
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
    steps: int
    ann_macs: int
    held_input: bool
    connections: tuple[ConnectionCounts, ...]
    populations: tuple[PopulationCounts, ...]
    weights: Weights

    @property
    def input_connections(self) -> tuple[ConnectionCounts, ...]:
        """The connections from the input."""
        return tuple(c for c in self.connections if c.from_input)

    @property
    def spiking_connections(self) -> tuple[ConnectionCounts, ...]:
        """The connections from spiking populations."""
        return tuple(c for c in self.connections if not c.from_input)

    @property
    def neurons(self) -> tuple[PopulationCounts, ...]:
        """All populations but the input."""
        return tuple(p for p in self.populations if p.kind != "Input")

    @property
    def sops(self) -> int:
        """Synaptic operations of all connections from spiking populations."""
        return sum(c.sops for c in self.spiking_connections)

    @property
    def spikes(self) -> int:
        """Sum of the payloads of all spiking populations."""
        return sum(p.spikes for p in self.neurons)

    @property
    def neuron_updates(self) -> int:
        """Neurons times timesteps, the readouts' too."""
        return self.steps * sum(p.neurons for p in self.neurons)

    def __rich__(self) -> RenderableType:
        """Return the operations of each connection as a table, means per sample."""
        # Rich loads when counts show: searches and workers count and show none.
        from rich.table import Table

        table = Table(
            "connection", "kind", "MACs", "SOPs", "events", title=f"Operations per sample, mean of {self.samples}"
        )
        for c in self.connections:
            table.add_row(
                f"{c.source}->{c.target}",
                c.kind,
                f"{c.macs:,}",
                f"{c.sops / self.samples:,.0f}",
                f"{c.events / self.samples:,.0f}",
            )
        return table

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
            steps=self.steps + other.steps,
            connections=tuple(
                replace(
                    a,
                    sops=a.sops + b.sops,
                    events=a.events + b.events,
                    effective=a.effective + b.effective,
                    sops_by_timestep=tuple(map(add, a.sops_by_timestep, b.sops_by_timestep)),
                )
                for a, b in zip(self.connections, other.connections, strict=True)
            ),
            populations=tuple(
                replace(a, spikes=a.spikes + b.spikes, active=a.active + b.active)
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
    )
    return Synapses(connection, drive, fan_out(connection.operators, source.shape, zeros=False), counts)


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


def count(netlist: Netlist, runs: Trace | Activity | Iterable[Trace | Activity]) -> Counts:
    """Count the operations of a run.

    Parameters
    ----------
    netlist : Netlist
    runs : Trace or Activity, or an iterable of them
        The run, whole or batch by batch; each batch is counted and let go. Traces tell the
        timesteps apart; activities are the simulator's own sums, of a run with early exit too.

    Returns
    -------
    Counts
        Sums over all samples, exact integers.

    Raises
    ------
    InputError
        When a run is of another netlist, or there is none.

    Notes
    -----
    Source of the formulas: semantics, section 9; eq. 2 of the appendix of Wang et al. (AAAI 2025)
    is ``firing rate * T * MACs``, which equals the SOPs counted here on average only where every
    neuron has the same fan-out.
    """
    wiring = _wiring(netlist)
    batches = [runs] if isinstance(runs, Trace | Activity) else runs
    counted = (_count_batch(netlist, wiring, run) for run in batches)
    first = next(counted, None)
    if first is None:
        raise InputError("run", "there is nothing to count: no batch was given")
    return reduce(add, counted, first)


#: Synapses of netlists that are still in use: callers that count batch by batch need them again and again.
_WIRINGS: WeakKeyDictionary[Netlist, tuple[Synapses, ...]] = WeakKeyDictionary()


def _wiring(netlist: Netlist) -> tuple[Synapses, ...]:
    if netlist not in _WIRINGS:
        _WIRINGS[netlist] = tuple(synapses(netlist, c) for c in netlist.connections)
    return _WIRINGS[netlist]


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over samples; each array is (timesteps, neurons) int64, or (1, neurons) over all timesteps."""

    samples: int
    steps: int
    spikes: dict[str, np.ndarray]
    active: dict[str, np.ndarray]


def _sum_trace(trace: Trace) -> _Sums:
    spikes, active = {}, {}
    for name, payload in trace.spikes.items():
        flat = payload.reshape(*payload.shape[:2], -1)
        magnitude = np.abs(flat.astype(np.int16)) if np.issubdtype(flat.dtype, np.signedinteger) else flat
        spikes[name] = magnitude.sum(axis=1, dtype=np.int64)
        active[name] = np.count_nonzero(flat, axis=1).astype(np.int64)
    return _Sums(trace.samples, trace.samples * trace.timesteps, spikes, active)


def _sum_activity(netlist: Netlist, activity: Activity) -> _Sums:
    emitting = {p.name: p.shape for p in netlist.populations if p.emits}
    if {name: sums.shape for name, sums in activity.payloads.items()} != emitting:
        raise InputError("activity", "its populations are not those of the netlist")
    return _Sums(
        activity.samples,
        activity.steps,
        {name: sums.reshape(1, -1) for name, sums in activity.payloads.items()},
        {name: sums.reshape(1, -1) for name, sums in activity.events.items()},
    )


def _count_batch(netlist: Netlist, wiring: Sequence[Synapses], run: Trace | Activity) -> Counts:
    if isinstance(run, Trace) and run.netlist_hash != netlist.content_hash:
        raise InputError("trace", f"it is of netlist {run.netlist_hash[:12]}, expected {netlist.content_hash[:12]}")
    sums = _sum_trace(run) if isinstance(run, Trace) else _sum_activity(netlist, run)
    return Counts(
        netlist_hash=netlist.content_hash,
        timesteps=run.timesteps if isinstance(run, Trace) else netlist.timesteps,
        samples=sums.samples,
        steps=sums.steps,
        ann_macs=_ann_macs(netlist, wiring),
        held_input=netlist.input.coding == "direct",
        connections=tuple(_connection(drive, sums, by_timestep=isinstance(run, Trace)) for drive in wiring),
        populations=tuple(
            PopulationCounts(
                name=p.name,
                kind=type(p).__name__,
                neurons=size(p.shape),
                spikes=int(sums.spikes[p.name].sum()) if p.emits else 0,
                active=int(sums.active[p.name].sum()) if p.emits else 0,
            )
            for p in netlist.populations
        ),
        weights=weigh(netlist),
    )


def _ann_macs(netlist: Netlist, wiring: Sequence[Synapses]) -> int:
    """Read what the conversion counted, before it composed chains and joined branches."""
    if netlist.provenance.network is not None:
        return netlist.provenance.network.ann_macs
    return sum(drive.counts.macs for drive in wiring)


def _connection(drive: Synapses, sums: _Sums, *, by_timestep: bool) -> ConnectionCounts:
    source = drive.connection.source
    sops = tuple(int(n) for n in sums.spikes[source] @ drive.fan_out.reshape(-1))
    return replace(
        drive.counts,
        sops=sum(sops),
        events=int((sums.active[source] @ drive.fan_out.reshape(-1)).sum()),
        effective=int((sums.active[source] @ drive.effective_fan_out.reshape(-1)).sum()),
        sops_by_timestep=sops if by_timestep else (),
    )


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
