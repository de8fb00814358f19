"""The golden step: the arithmetic of semantics.md in plain numpy, one timestep at a time.

Nothing here is clever: int64 everywhere, one loop over timesteps, one over populations in
topological order. Every other executor is compared with this one for equality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sim.golden_leaky import leak
from sim.golden_radix import run_window
from sim.windows import max_over_windows
from toolchain.netlist import (
    AdaFire,
    CubaLif,
    Input,
    LeakyReadout,
    MaxPool,
    Netlist,
    Readout,
    Trace,
    apply_chain,
    check_payloads,
    per_channel,
)


def fire(potential: np.ndarray, threshold: np.ndarray, phi: int) -> tuple[np.ndarray, np.ndarray]:
    """Fire once and reset by subtraction.

    Parameters
    ----------
    potential : ndarray, int64
        Membrane potential after integration.
    threshold : ndarray, int64
        Broadcasts over `potential`.
    phi : int
        Longest burst.

    Returns
    -------
    burst, potential : ndarray, int64
        ``n = clip(floor(u / threshold), 0, phi)`` and ``u - n * threshold``.

    Examples
    --------
    >>> fire(np.array([-3, 4, 5, 27]), np.array(5), phi=4)
    (array([0, 0, 1, 4]), array([-3,  4,  0,  7]))
    """
    burst = np.clip(potential // threshold, 0, phi)
    return burst, potential - burst * threshold


@dataclass
class State:
    """What the populations remember between timesteps, each (N, *shape) int64."""

    potential: dict[str, np.ndarray] = field(default_factory=dict)
    current: dict[str, np.ndarray] = field(default_factory=dict)
    cumulative: dict[str, np.ndarray] = field(default_factory=dict)
    readout: dict[str, np.ndarray] = field(default_factory=dict)
    saturations: dict[str, int] = field(default_factory=dict)
    #: What every source of a delayed connection emitted, the latest last.
    past: dict[str, list[np.ndarray]] = field(default_factory=dict)


def initial_state(netlist: Netlist, samples: int) -> State:
    """Return the state before the first timestep."""
    state = State()
    for population in netlist.populations:
        match population:
            case AdaFire():
                start = per_channel(population.initial, population.shape).astype(np.int64)
                state.potential[population.name] = np.broadcast_to(start, (samples, *population.shape)).copy()
                state.saturations[population.name] = 0
            case CubaLif() | LeakyReadout():
                state.current[population.name] = np.zeros((samples, *population.shape), np.int64)
                state.potential[population.name] = np.zeros((samples, *population.shape), np.int64)
                state.saturations[population.name] = 0
            case MaxPool():
                state.cumulative[population.name] = np.zeros((samples, *population.input_shape), np.int64)
            case Readout():
                state.readout[population.name] = np.zeros((samples, *population.shape), np.int64)
    for connection in netlist.connections:
        if np.any(connection.delay):
            state.past[connection.source] = []
    return state


def delayed(state: State, emitted: dict[str, np.ndarray], source: str, delay: int) -> np.ndarray | None:
    """Return what a source emitted `delay` timesteps ago; None where that was before the first one."""
    if delay == 0:
        return emitted[source]
    past = state.past[source]
    return past[-delay] if delay <= len(past) else None


def step(netlist: Netlist, state: State, payload: np.ndarray) -> dict[str, np.ndarray]:
    """Advance every population by one timestep, in place.

    Parameters
    ----------
    netlist : Netlist
    state : State
        Updated in place.
    payload : ndarray (N, *input shape), integer
        The input's payload at this timestep.

    Returns
    -------
    dict of str to ndarray (N, *shape), int64
        The payload that each population emitted.
    """
    emitted: dict[str, np.ndarray] = {netlist.input.name: payload.astype(np.int64)}
    for population in netlist.populations:
        if isinstance(population, Input):
            continue
        name = population.name
        current = np.zeros((payload.shape[0], *population.current_shape), np.int64)
        for connection in netlist.inputs(population.name):
            for delay, operators in connection.parts:
                source = delayed(state, emitted, connection.source, delay)
                if source is not None:
                    current += apply_chain(operators, source, netlist[connection.source].shape)
        match population:
            case AdaFire():
                limit = netlist.membrane_limit
                unclipped = state.potential[population.name] + current + per_channel(population.bias, population.shape)
                integrated = np.clip(unclipped, -limit, limit)
                state.saturations[population.name] += int(np.count_nonzero(integrated != unclipped))
                theta = per_channel(population.threshold, population.shape)
                burst, state.potential[population.name] = fire(integrated, theta, population.phi)
                emitted[population.name] = burst
            case CubaLif() | LeakyReadout():
                spikes, last = leak(population, current, state.current[name], state.potential[name])
                state.current[name], state.potential[name], limited = last
                state.saturations[name] += limited
                if isinstance(population, CubaLif):
                    emitted[name] = spikes
                else:
                    state.readout[name] = state.potential[name]
            case MaxPool():
                before = max_over_windows(state.cumulative[population.name], population)
                state.cumulative[population.name] += current
                after = max_over_windows(state.cumulative[population.name], population)
                emitted[population.name] = after - before
            case Readout():
                state.readout[population.name] += current + per_channel(population.bias, population.shape)
    for name, past in state.past.items():
        past.append(emitted[name])
    return emitted


def simulate(netlist: Netlist, payloads: np.ndarray, timesteps: int | None = None) -> Trace:
    """Run a netlist on a batch and record everything.

    Parameters
    ----------
    netlist : Netlist
    payloads : ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; integer
    timesteps : int, optional
        The netlist's own by default; in radix code no other.

    Returns
    -------
    Trace
        `backend` is "golden".

    Raises
    ------
    InputError
        When the payloads are not what the input takes.
    """
    source = netlist.input
    timesteps = netlist.length(timesteps)
    given = check_payloads(source, payloads, timesteps)
    if netlist.radix is not None:
        window = run_window(netlist, given[0])
        return _trace(netlist, window.spikes, window.readouts, window.saturations)
    state = initial_state(netlist, given.shape[1])
    spikes: dict[str, list[np.ndarray]] = {}
    readouts: dict[str, list[np.ndarray]] = {}
    for t in range(timesteps):
        for name, burst in step(netlist, state, given[min(t, len(given) - 1)]).items():
            dtype = source.payload_dtype if name == source.name else np.uint8
            spikes.setdefault(name, []).append(burst.astype(dtype))
        for name, total in state.readout.items():
            readouts.setdefault(name, []).append(total.copy())
    stacked = {name: np.stack(bursts) for name, bursts in spikes.items()}
    return _trace(netlist, stacked, {name: np.stack(sums) for name, sums in readouts.items()}, state.saturations)


def _trace(
    netlist: Netlist,
    spikes: Mapping[str, np.ndarray],
    readouts: Mapping[str, np.ndarray],
    saturations: Mapping[str, int],
) -> Trace:
    kinds = {netlist.input.name: netlist.input.payload_dtype}
    return Trace(
        netlist_hash=netlist.content_hash,
        backend="golden",
        spikes={name: values.astype(kinds.get(name, np.uint8), copy=False) for name, values in spikes.items()},
        readouts=dict(readouts),
        saturations=dict(saturations),
    )
