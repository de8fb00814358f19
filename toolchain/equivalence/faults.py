"""Faults that executors are known to have, each as a change of the golden arithmetic.

A fault changes one thing: the currents (weights, payloads, delays), the neuron's update, or what
happens between samples. `replay` runs one population with one fault, on the payloads that really
arrived, so that an executor's fault shows by reproducing what it emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.equivalence.leaky_faults import RIGHT, LeakyStep, leaky_faults, run_leaky
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    CubaLif,
    LeakyReadout,
    MaxPool,
    Netlist,
    Operator,
    Readout,
    Weighted,
    apply_chain,
    per_channel,
)
from toolchain.netlist.shapes import Shape

#: (u after integration, theta, phi) -> (payload, u after reset)
Firing = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
#: (u, limit) -> u
Saturation = Callable[[np.ndarray, int], np.ndarray]


def fire(u: np.ndarray, theta: np.ndarray, phi: int) -> tuple[np.ndarray, np.ndarray]:
    """Fire as the semantics say (section 2)."""
    n = np.clip(u // theta, 0, phi)
    return n, u - n * theta


def saturate(u: np.ndarray, limit: int) -> np.ndarray:
    """Clip to the membrane's width."""
    return np.clip(u, -limit, limit)


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing that an executor does differently; the defaults do nothing.

    Parameters
    ----------
    cause : str
        How reports call it.
    connection : str or None
        The one connection concerned; None for all.
    weight, payload : callable or None
        Applied to each weight array, to each arriving payload.
    flipped : bool
        Kernels are flipped: a convolution instead of a cross-correlation.
    delay : int
        Timesteps by which currents arrive late (early if negative).
    gain : int
        0 where the connection is missing.
    fire, saturate : callable
    initial, bias : int
        Factors on the initial membrane potential and on the bias.
    carried : bool
        The state of the previous sample is kept.
    output_delay : int
        Timesteps by which the population's own payloads come late.
    momentary : bool
        Max-pooling of each timestep's payloads instead of their sums.
    leak : LeakyStep
        How leaky neurons are updated.
    """

    cause: str
    connection: str | None = None
    weight: Callable[[np.ndarray], np.ndarray] | None = None
    payload: Callable[[np.ndarray], np.ndarray] | None = None
    flipped: bool = False
    delay: int = 0
    gain: int = 1
    fire: Firing = fire
    saturate: Saturation = saturate
    initial: int = 1
    bias: int = 1
    carried: bool = False
    output_delay: int = 0
    momentary: bool = False
    leak: LeakyStep = RIGHT

    def concerns(self, connection: Connection) -> bool:
        """Return whether the currents of a connection differ."""
        return self.connection in (None, connection.name)


NONE = Fault("none")


def _above(u: np.ndarray, theta: np.ndarray, phi: int) -> tuple[np.ndarray, np.ndarray]:
    n = np.clip(-((-u) // theta) - 1, 0, phi)
    return n, u - n * theta


def _reset_to_zero(u: np.ndarray, theta: np.ndarray, phi: int) -> tuple[np.ndarray, np.ndarray]:
    n = np.clip(u // theta, 0, phi)
    return n, np.where(n > 0, 0, u)


def _reset_once(u: np.ndarray, theta: np.ndarray, phi: int) -> tuple[np.ndarray, np.ndarray]:
    n = np.clip(u // theta, 0, phi)
    return n, u - (n > 0) * theta


def _limited(limit: int) -> Firing:
    return lambda u, theta, phi: fire(u, theta, limit)


def _cut(limit: int) -> Firing:
    def cut(u: np.ndarray, theta: np.ndarray, phi: int) -> tuple[np.ndarray, np.ndarray]:
        n, after = fire(u, theta, phi)
        return np.minimum(n, limit), after

    return cut


def _masked(mask: int) -> Firing:
    def masked(u: np.ndarray, theta: np.ndarray, phi: int) -> tuple[np.ndarray, np.ndarray]:
        n, after = fire(u, theta, phi)
        return n & mask, after

    return masked


def _wrap(bits: int) -> Saturation:
    return lambda u, limit: (u + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def _narrow(bits: int) -> Saturation:
    return lambda u, limit: np.clip(u, -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1)


def _toward_zero(w: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(w) * (np.abs(w) // 2 * 2))


def faults(netlist: Netlist, name: str, *, largest: int) -> list[Fault]:
    """List the faults to try on a population.

    Parameters
    ----------
    netlist : Netlist
    name : str
    largest : int
        Greatest payload that the other side emitted in this population.
    """
    population = netlist[name]
    found = _current_faults(netlist.inputs(name))
    if isinstance(population, CubaLif | LeakyReadout):
        found += [Fault(cause, leak=leak) for cause, leak in leaky_faults(population).items()]
    if isinstance(population, MaxPool):
        found.append(Fault("max-pooling: the maximum of each timestep instead of the sums'", momentary=True))
    if isinstance(population, AdaFire):
        found += _neuron_faults(population.phi, largest, netlist.membrane_bits)
    if isinstance(population, AdaFire | Readout):
        found.append(Fault("bias: not added", bias=0))
    if not isinstance(population, Readout | LeakyReadout):
        found.append(Fault("delay off by one: payloads leave one timestep late", output_delay=1))
        found.append(Fault("delay off by one: payloads leave one timestep early", output_delay=-1))
    found.append(Fault("reset: state kept from the previous sample", carried=True))
    return found


def _neuron_faults(phi: int, largest: int, membrane_bits: int) -> list[Fault]:
    found = [
        Fault("threshold compare: fires at u > theta instead of u >= theta", fire=_above),
        Fault("reset: to zero instead of by subtraction", fire=_reset_to_zero),
        Fault("reset: one threshold subtracted for a whole burst", fire=_reset_once),
        Fault("initial membrane potential: zero", initial=0),
        Fault("saturation: none", saturate=lambda u, limit: u),
        Fault(f"saturation: wraps around at {membrane_bits} bits", saturate=_wrap(membrane_bits)),
        Fault("saturation: no negative membrane potential", saturate=lambda u, limit: np.clip(u, 0, limit)),
    ]
    for bits in (8, 16, 20, 23):
        if bits < membrane_bits:
            found.append(Fault(f"saturation: clips at {bits} bits", saturate=_narrow(bits)))
            found.append(Fault(f"saturation: wraps around at {bits} bits", saturate=_wrap(bits)))
    if largest != phi:
        found.append(Fault(f"payload clip: bursts of at most {largest} instead of {phi}", fire=_limited(largest)))
    if largest < phi:
        found.append(Fault(f"payload clip: a burst is cut to {largest} after its reset", fire=_cut(largest)))
    if phi > 1:
        found.append(Fault("dropped bit: lowest bit of the payload lost", fire=_masked(~1)))
        found += [
            Fault(f"dropped bit: payload carried by {bits} bits", fire=_masked(2**bits - 1))
            for bits in range(1, phi.bit_length())
        ]
    return found


def _current_faults(connections: tuple[Connection, ...]) -> list[Fault]:
    found = []
    for connection in connections:
        here = connection.name
        for late, word in ((1, "late"), (-1, "early")):
            found.append(Fault(f"delay off by one: {here} arrives one timestep {word}", here, delay=late))
        if len(connections) > 1:
            found.append(Fault(f"connection: {here} is missing", here, gain=0))
        if any(isinstance(o, Weighted) for o in connection.operators):
            found.append(Fault(f"dropped bit: lowest bit of the weights of {here} lost", here, weight=lambda w: w & ~1))
            found.append(
                Fault(
                    f"dropped bit: weights of {here} rounded to even numbers, towards zero", here, weight=_toward_zero
                )
            )
        if any(isinstance(o, Conv) and o.weight.shape[2:] != (1,) * (o.weight.ndim - 2) for o in connection.operators):
            found.append(Fault(f"kernel: that of {here} is flipped", here, flipped=True))
        found.append(Fault(f"dropped bit: lowest bit of the payloads over {here} lost", here, payload=lambda q: q & ~1))
        found.append(
            Fault(
                f"dropped bit: payloads over {here} arrive as 0 or 1", here, payload=lambda q: (q != 0).astype(q.dtype)
            )
        )
        found.append(Fault(f"dropped bit: payloads over {here} lose their sign", here, payload=lambda q: q & 255))
    return found


@dataclass(frozen=True, eq=False)
class Replay:
    """What a population does with a fault; arrays are (T, N, *shape) int64.

    Parameters
    ----------
    output : ndarray
        Payloads, or the running sum of a readout.
    before, integrated, after : ndarray or None
        Membrane potential before the timestep, after integration, after reset; AdaFire only.
    """

    output: np.ndarray
    before: np.ndarray | None = None
    integrated: np.ndarray | None = None
    after: np.ndarray | None = None


class Isolated:
    """One population with the payloads that arrived at it, to be replayed with different faults.

    Parameters
    ----------
    netlist : Netlist
    name : str
    payloads : mapping of str to ndarray (T, N, *shape)
        Of every population that feeds it.
    """

    def __init__(self, netlist: Netlist, name: str, payloads: Mapping[str, np.ndarray]) -> None:
        self._netlist = netlist
        self._population = netlist[name]
        self._payloads = {k: v.astype(np.int64) for k, v in payloads.items()}
        self._clean = {c.name: self._current(c, NONE) for c in netlist.inputs(name)}

    def _current(self, connection: Connection, fault: Fault) -> np.ndarray:
        payload = self._payloads[connection.source]
        if fault.payload is not None:
            payload = fault.payload(payload)
        total: np.ndarray | None = None
        for delay, operators in connection.parts:
            altered = tuple(_altered(o, fault) for o in operators) if fault.weight or fault.flipped else operators
            # Of each sample by itself: what is under way at its end reaches nothing.
            arriving = np.zeros_like(payload)
            arriving[delay:] = payload[: len(payload) - delay]
            part = apply_chain(altered, arriving, self._netlist[connection.source].shape)
            total = part if total is None else total + part
        assert total is not None
        return total

    def current(self, fault: Fault = NONE) -> np.ndarray:
        """Return the sum of all connections' currents, (T, N, *current shape) int64."""
        total: np.ndarray | None = None
        for connection in self._netlist.inputs(self._population.name):
            one = self._clean[connection.name]
            if fault.concerns(connection):
                if fault.weight is not None or fault.payload is not None or fault.flipped:
                    one = self._current(connection, fault)
                one = _shifted(one, fault.delay) * fault.gain
            total = one if total is None else total + one
        if total is None:
            first = next(iter(self._payloads.values()))
            return np.zeros((*first.shape[:2], *self._population.shape), np.int64)
        return total

    def replay(self, fault: Fault = NONE) -> Replay:
        """Run the population with one fault."""
        current = self.current(fault)
        match self._population:
            case AdaFire() as neurons:
                replayed = _run_neurons(neurons, current, fault, self._netlist.membrane_limit)
            case CubaLif() | LeakyReadout() as neurons:
                replayed = Replay(run_leaky(neurons, current, fault.leak, carried=fault.carried))
            case MaxPool() as pool:
                replayed = Replay(_run_pool(pool, current, fault))
            case Readout() as readout:
                replayed = Replay(_run_readout(readout, current, fault))
            case _:
                raise TypeError("an input computes nothing")
        return replace(replayed, output=_shifted(replayed.output, fault.output_delay))


def _altered(operator: Operator, fault: Fault) -> Operator:
    if isinstance(operator, Weighted) and fault.weight is not None:
        return replace(operator, weight=fault.weight(operator.weight.astype(np.int64)))
    if isinstance(operator, Conv) and fault.flipped:
        return replace(operator, weight=np.flip(operator.weight, tuple(range(2, operator.weight.ndim))))
    return operator


def _shifted(x: np.ndarray, delay: int) -> np.ndarray:
    """Shift along time, the samples running back to back: what comes late spills into the next sample."""
    if not delay:
        return x
    stream = x.swapaxes(0, 1).reshape(-1, *x.shape[2:])
    moved = np.zeros_like(stream)
    if delay > 0:
        moved[delay:] = stream[:-delay]
    else:
        moved[:delay] = stream[-delay:]
    return moved.reshape(x.shape[1], x.shape[0], *x.shape[2:]).swapaxes(0, 1)


def _starts(start: np.ndarray, samples: int) -> np.ndarray:
    return np.broadcast_to(start, (samples, *start.shape)).astype(np.int64).copy()


def _full(values: np.ndarray, shape: Shape) -> np.ndarray:
    return np.broadcast_to(per_channel(values, shape), shape).astype(np.int64)


def _run_neurons(neurons: AdaFire, current: np.ndarray, fault: Fault, limit: int) -> Replay:
    steps, samples = current.shape[:2]
    theta, bias = (_full(v, neurons.shape) for v in (neurons.threshold, neurons.bias))
    output, before, integrated, after = (np.zeros((steps, samples, *neurons.shape), np.int64) for _ in range(4))
    # With the state carried over, samples are one stream: they run one after the other.
    groups = [slice(i, i + 1) for i in range(samples)] if fault.carried else [slice(0, samples)]
    u = _starts(_full(neurons.initial, neurons.shape) * fault.initial, groups[0].stop)
    for number, group in enumerate(groups):
        if number == 0 or not fault.carried:
            u = _starts(_full(neurons.initial, neurons.shape) * fault.initial, group.stop - group.start)
        for t in range(steps):
            before[t, group] = u
            u = fault.saturate(u + current[t, group] + bias * fault.bias, limit)
            integrated[t, group] = u
            output[t, group], u = fault.fire(u, theta, neurons.phi)
            after[t, group] = u
    return Replay(output, before, integrated, after)


def _run_readout(readout: Readout, current: np.ndarray, fault: Fault) -> np.ndarray:
    total: np.ndarray = np.cumsum(current + _full(readout.bias, readout.shape) * fault.bias, axis=0)
    if fault.carried:
        total[:, 1:] += np.cumsum(total[-1], axis=0)[:-1]
    return total


def _run_pool(pool: MaxPool, current: np.ndarray, fault: Fault) -> np.ndarray:
    steps, samples = current.shape[:2]
    if fault.momentary:
        return _window_max(current, pool)
    if fault.carried:
        stream = current.swapaxes(0, 1).reshape(-1, 1, *current.shape[2:])
        return _growth(stream, pool).reshape(samples, steps, *pool.shape).swapaxes(0, 1)
    return _growth(current, pool)


def _growth(current: np.ndarray, pool: MaxPool) -> np.ndarray:
    maxima = _window_max(np.cumsum(current, axis=0), pool)
    return np.asarray(np.diff(maxima, axis=0, prepend=np.zeros_like(maxima[:1])))


def _window_max(x: np.ndarray, pool: MaxPool) -> np.ndarray:
    axes = len(pool.kernel)
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), *pool.padding))
    windows = np.lib.stride_tricks.sliding_window_view(padded, pool.kernel, axis=tuple(range(3, 3 + axes)))  # type: ignore[call-overload]
    index = tuple(slice(None, (n - 1) * s + 1, s) for n, s in zip(pool.shape[1:], pool.stride, strict=True))
    strided = windows[(slice(None), slice(None), slice(None), *index)]
    return np.asarray(strided.max(axis=tuple(range(3 + axes, 3 + 2 * axes))))
