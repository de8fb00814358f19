"""Count a run: what a netlist's wiring is and what was emitted make the operations (semantics, section 9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from weakref import WeakKeyDictionary

import numpy as np

from sim import Activity
from toolchain.energy.counts import ConnectionCounts, Counts, PopulationCounts, Weights
from toolchain.netlist import (
    Connection,
    Input,
    InputError,
    MaxPool,
    Netlist,
    Operator,
    Scale,
    SumPool,
    Trace,
    Weighted,
    chain_shapes,
    dense_macs,
    fan_out,
    padded_macs,
)
from toolchain.netlist.shapes import Shape, size


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
        macs=sum(dense_macs(o, s) for o, s in steps),
        padded_macs=sum(padded_macs(o, s) for o, s in steps),
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
    # What the conversion counted, before it composed chains and joined branches.
    written = netlist.provenance.network
    return Counts(
        netlist_hash=netlist.content_hash,
        timesteps=run.timesteps if isinstance(run, Trace) else netlist.timesteps,
        samples=sums.samples,
        steps=sums.steps,
        ann_macs=sum(drive.counts.macs for drive in wiring) if written is None else written.ann_macs,
        ann_macs_with_padding=(
            sum(drive.counts.padded_macs for drive in wiring) if written is None else written.ann_macs_with_padding
        ),
        radix=netlist.radix,
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
        for field in ("threshold", "bias", "initial", "current_decay", "voltage_decay"):
            parameters += int(getattr(population, field, np.empty(0)).size)
    return Weights(
        total=sum(int(a.size) for a in arrays),
        zeros=sum(int(a.size - np.count_nonzero(a)) for a in arrays),
        bits=netlist.weight_bits,
        parameters=parameters,
        membrane_bits=netlist.membrane_bits,
    )
