"""What leaky nodes of NIR mean as leaky populations, at a stated length of a timestep.

NIR's equations, ``tau_syn dI/dt = -I + w_in S`` and ``tau_mem dv/dt = (v_leak - v) + r I``, are taken one Euler step of
dt at a time, the current first: the scheme that norse, snntorch, spikingjelly and sinabs write their files for.
With U the current in units of the potential, ``U = r dt / tau_mem I``, and v counted from v_reset::

    U <- (1 - dt / tau_syn) U + gain * S        gain = w_in dt / tau_syn * r dt / tau_mem
    v <- (1 - dt / tau_mem) v + U + dt / tau_mem (v_leak - v_reset)
    fires where v > v_threshold - v_reset, and v <- 0

LIF and LI have no current of their own: ``U = gain * S``, gain = r dt / tau.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import nir
import numpy as np

from toolchain.exchange.nir.neurons import every_neuron
from toolchain.netlist import FormatError, InputError, Shape, UnsupportedError
from toolchain.netlist.leaky import DECAY_UNITY

#: Nodes whose potential decays, and which of them are read.
LEAKY = (nir.CubaLI, nir.CubaLIF, nir.LI, nir.LIF)
READ = (nir.CubaLI, nir.LI)

#: How neurons forget a spike; NIR's own is "zero".
Reset = Literal["zero", "subtract"]
#: What the input sends: one picture, held, or a frame at each timestep.
Coding = Literal["direct", "frames"]


@dataclass(frozen=True, eq=False)
class LeakyNode:
    """A leaky node in real numbers per timestep; arrays of the population's shape, float64.

    Parameters
    ----------
    current_decay, voltage_decay : ndarray
        What goes per timestep, 0 to 1.
    gain : ndarray
        What an input of one adds to the current, in units of the potential.
    drive : ndarray
        What is added to the potential at every timestep.
    threshold : ndarray or None
        None of a node that is read.
    notes : tuple of str
        What had to be assumed.
    """

    current_decay: np.ndarray
    voltage_decay: np.ndarray
    gain: np.ndarray
    drive: np.ndarray
    threshold: np.ndarray | None
    notes: tuple[str, ...]


def leaky_node(where: str, node: Any, shape: Shape, dt: float) -> LeakyNode:
    """Translate a LIF, CubaLIF, LI or CubaLI node, or an IF node, which keeps all it has.

    Raises
    ------
    FormatError
        When a parameter is damaged or has another shape than what arrives.
    UnsupportedError
        When dt does not suit a time constant, or a threshold is not above its reset.
    """
    notes: list[str] = []
    cuba = isinstance(node, nir.CubaLI | nir.CubaLIF)
    if isinstance(node, nir.IF):
        voltage = np.zeros(shape)
        gain, drive = every_neuron(f"{where}/r", node.r, shape) * dt, np.zeros(shape)
    else:
        name = "tau_mem" if cuba else "tau"
        voltage = _decay(f"{where}/{name}", getattr(node, name), shape, dt)
        gain = every_neuron(f"{where}/r", node.r, shape) * voltage
        drive = every_neuron(f"{where}/v_leak", node.v_leak, shape) * voltage
    current = np.ones(shape)
    if cuba:
        current = _decay(f"{where}/tau_syn", node.tau_syn, shape, dt)
        gain = gain * current * every_neuron(f"{where}/w_in", node.w_in, shape)
    # r = tau / dt and w_in = tau / dt are a gain of one, but for the last digit.
    gain[np.isclose(gain, 1, rtol=1e-6, atol=0)] = 1
    threshold = None
    if not isinstance(node, READ):
        start = every_neuron(f"{where}/v_reset", node.v_reset, shape)
        threshold = every_neuron(f"{where}/v_threshold", node.v_threshold, shape) - start
        drive = drive - voltage * start
        if not np.all(threshold > 0):
            raise FormatError(
                where, f"v_threshold less v_reset is {float(threshold.min()):g}, expected positive values"
            )
        if np.any(start):
            notes.append("potentials start at v_reset, and are counted from there")
    if not np.all(gain != 0):
        raise FormatError(where, "r or w_in is 0: nothing that arrives has an effect")
    return LeakyNode(current, voltage, gain, drive, threshold, tuple(notes))


def _decay(where: str, values: Any, shape: Shape, dt: float) -> np.ndarray:
    """Return dt / tau, which is 1 where nothing stays, or raise where 12 bits hold neither it nor what it leaves."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.size == 0 or not np.all(array > 0):
        raise FormatError(where, "is no positive time")
    if np.any(np.isinf(array)):
        raise UnsupportedError(where, "inf: it neither leaks nor integrates what arrives")
    tau = every_neuron(where, values, shape)
    decay = dt / tau
    decay[np.isclose(decay, 1, rtol=1e-6, atol=0)] = 1
    rounded = np.rint(decay * DECAY_UNITY)
    bad = (rounded < 1) | (decay > 1) | ((rounded >= DECAY_UNITY) & (decay < 1))
    if np.any(bad):
        worst = float(tau[bad].ravel()[0])
        raise UnsupportedError(
            where,
            f"{worst:g} s at a `dt` of {dt:g} s decays by {dt / worst * DECAY_UNITY:.3g}/4096 a timestep, "
            "expected 1 to 4095",
            f"choose `dt` between {worst / (DECAY_UNITY - 1):.2g} and {worst * (1 - 1 / DECAY_UNITY):.2g} s",
        )
    return decay


def _guesses(node: Any) -> set[float]:
    """Return tau / r of a node, what several tools write as their dt; nothing where r is 1, or a field is damaged."""
    tau, r = (np.asarray(v) for v in (node.tau if isinstance(node, nir.LI | nir.LIF) else node.tau_mem, node.r))
    if any(v.dtype.kind not in "iuf" or v.size == 0 for v in (tau, r)) or np.all(r == 1):
        return set()
    with np.errstate(all="ignore"):
        return {float(f"{ratio:.4g}") for ratio in np.unique(tau.ravel()[0] / r.ravel()[0])}


def check_dt(file: str, nodes: dict[str, Any], dt: float | None) -> float:
    """Return dt, or raise and say what the file's own constants suggest.

    Raises
    ------
    InputError
        When leaky nodes need a dt and there is none, or it is no positive time.
    """
    if dt is not None:
        if not (np.isfinite(dt) and dt > 0):
            raise InputError("dt", f"{dt:g} found, expected a positive time in seconds")
        return dt
    guesses = {guess for node in nodes.values() if isinstance(node, LEAKY) for guess in _guesses(node)}
    hint = (
        f"tau / r is {guesses.pop():g} s of all of them, which several tools take for it"
        if len(guesses) == 1
        else "the tool that wrote the file knows it"
    )
    raise InputError("dt", f"{file} has leaky neurons, and NIR says no timestep", f"say `dt` in seconds: {hint}")
