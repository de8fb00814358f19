"""A leaky node's real numbers as the integers of a leaky population."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from toolchain.exchange.integers import IntegerCurrent, RealCurrent, narrow, to_integers
from toolchain.exchange.loss_report import Loss
from toolchain.exchange.nir.leaky import LeakyNode
from toolchain.exchange.real_network import RealPopulation
from toolchain.netlist import (
    Conv,
    CubaLif,
    FormatError,
    Input,
    LeakyReadout,
    Linear,
    Netlist,
    Operator,
    Resample,
    Reshape,
    Scale,
    Shape,
    UnsupportedError,
    bound_leaky,
    per_channel,
    total_current_bound,
)
from toolchain.netlist.leaky import DECAY_UNITY, STATE_LIMIT, WEIGHT_SHIFT
from toolchain.netlist.shapes import size

#: Thresholds are this at most: the potential reaches eight times as far.
ROOMY_THRESHOLD = 2**14


@dataclass(frozen=True, eq=False)
class Made:
    """A leaky population, with what reaches it in integers and in real numbers.

    Parameters
    ----------
    population : CubaLif or LeakyReadout
    integers : IntegerCurrent
    current : RealCurrent
        The same before rounding, in units of the potential.
    node : LeakyNode
    constant : bool
        Whether its last path comes from the neuron that fires at every timestep.
    reset : {"zero", "subtract"}
    losses : tuple of Loss
    """

    population: CubaLif | LeakyReadout
    integers: IntegerCurrent
    current: RealCurrent
    node: LeakyNode
    constant: bool
    reset: Literal["zero", "subtract"]
    losses: tuple[Loss, ...]

    def real(self, delays: list[int]) -> RealPopulation:
        """Return the population before rounding; `delays` of its paths, without that of the constant."""
        return RealPopulation(
            self.population.name,
            self.population.shape,
            paths=tuple(
                (source, operators, delay)
                for (source, operators), delay in zip(self.current.paths, [*delays, 0], strict=False)
            ),
            bias=self.current.bias,
            current_decay=self.node.current_decay,
            voltage_decay=self.node.voltage_decay,
            threshold=self.node.threshold,
            reset=self.reset,
        )


def quantize_leaky(
    where: str,
    node: LeakyNode,
    arriving: RealCurrent,
    constant: str,
    weight_bits: int,
    reset: Literal["zero", "subtract"],
) -> Made:
    """Round a leaky node: decays to 1/4096, thresholds to whole weights, weights beside them to their width.

    Parameters
    ----------
    where : str
        File and node, for messages.
    node : LeakyNode
    arriving : RealCurrent
        What reaches the node, in units of its input; its bias as well.
    constant : str
        Name of the population that fires at every timestep: it carries biases into currents that have a memory.
    weight_bits : int
    reset : {"zero", "subtract"}

    Raises
    ------
    UnsupportedError
        When gains differ from neuron to neuron of a channel.
    FormatError
        When a number is too large beside the weights, or a threshold vanishes.
    """
    shape = arriving.shape
    gain = node.gain.reshape(shape[0], -1)
    if not np.all(gain == gain[:, :1]):
        raise UnsupportedError(where, "what an input adds differs from neuron to neuron of a channel (r, tau or w_in)")
    scaled: tuple[Operator, ...] = () if np.all(gain == 1) else (Scale(gain[:, 0].copy()),)
    remembers = bool(np.any(node.current_decay < 1)) and bool(np.any(arriving.bias))
    paths = [(source, (*operators, *scaled)) for source, operators in arriving.paths]
    drive = node.drive
    if remembers:
        paths.append((constant, (*spread(where, arriving.bias), *scaled)))
    else:
        drive = drive + node.gain * arriving.bias
    current = replace(arriving, paths=tuple(paths), bias=np.zeros(shape), threshold=node.threshold)
    integers = to_integers(current, weight_bits, largest_threshold=ROOMY_THRESHOLD)
    unit = per_channel(integers.scale, shape) / 2**WEIGHT_SHIFT
    bias = np.rint(drive / unit)
    if float(np.abs(bias).max()) >= STATE_LIMIT:
        raise FormatError(where, f"a bias of {np.abs(drive).max():g} is too large beside the weights")
    decays = [np.rint(d * DECAY_UNITY).astype(np.int64) for d in (node.current_decay, node.voltage_decay)]
    losses = list(integers.losses)
    moved = max(
        float(np.abs(d / DECAY_UNITY - r).max())
        for d, r in zip(decays, (node.current_decay, node.voltage_decay), strict=True)
    )
    if moved > 1e-9:
        losses.append(Loss(arriving.name, "adafire", f"decays rounded by up to {moved:.2g}"))
    u, v = (narrow(d) for d in decays)
    whole = narrow(bias.astype(np.int64))
    population: CubaLif | LeakyReadout
    if integers.threshold is None:
        population = LeakyReadout(arriving.name, shape, u, v, whole, integers.scale / 2**WEIGHT_SHIFT)
    else:
        population = CubaLif(arriving.name, shape, integers.threshold, u, v, whole, reset)
    real = replace(current, bias=drive)
    return Made(population, integers, real, node, remembers, reset, tuple(losses))


def spread(where: str, bias: np.ndarray) -> tuple[Operator, ...]:
    """Return how one neuron reaches all others with their biases as weights, in real numbers."""
    shape: Shape = bias.shape
    flat = bias.reshape(shape[0], -1)
    if len(shape) == 1:
        return (Linear(flat),)
    if not np.all(flat == flat[:, :1]):
        return (Linear(bias.reshape(size(shape), 1)), Reshape(shape))
    ones = tuple(np.ones((n, 1), np.int64) for n in shape[1:])
    kernel = flat[:, :1].reshape(shape[0], 1, *(1 for _ in ones))
    return (
        Reshape((1,) * len(shape)),
        Resample(ones),
        Conv(kernel, (1,) * len(ones), ((0, 0),) * len(ones), (1,) * len(ones)),
    )


def always_firing(name: str) -> CubaLif:
    """Return one neuron that fires at every timestep."""
    one = np.ones(1, np.int64)
    return CubaLif(name, (1,), one, one * DECAY_UNITY, one * DECAY_UNITY, one << (WEIGHT_SHIFT + 1))


def can_wrap(netlist: Netlist) -> bool:
    """Return whether spikes can make a leaky population's current wrap around; of the input, one event at a time."""
    events = replace(netlist.input, bits=1, signed=False)
    judged = replace(netlist, populations=tuple(events if isinstance(p, Input) else p for p in netlist.populations))
    return any(
        bound_leaky(p, total_current_bound(judged, p.name), judged.timesteps)[0].magnitude >= STATE_LIMIT
        for p in judged.populations
        if isinstance(p, CubaLif | LeakyReadout)
    )
