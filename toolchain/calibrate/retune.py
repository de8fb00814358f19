"""Thresholds, initial potentials and biases chosen on the currents that really arrive.

Eq. 13 knows a neuron under a constant input. Real currents come in bursts: a neuron may fire early and
cannot take a spike back. Here the currents of a unit are computed once, and every candidate of
threshold and initial potential runs on them, its bias shifted by its own mean error (eq. 14) until
ANN and SNN agree on average; each channel keeps the candidate of least cost,

    influence * squared error + price * operations
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numba import njit

from sim.currents import compile_current
from sim.threads import for_each
from toolchain.calibrate.spiking_walk import Walk
from toolchain.netlist import AdaFire, Input, MaxPool
from toolchain.network import Activation, Firing, SpikingNetwork
from toolchain.quantize import QuantizedUnit

#: Thresholds that are tried, relative to the given one.
RATIOS = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.45)
#: Initial potentials that are tried, in thresholds.
INITIALS = (0.15, 0.35, 0.5)
#: Samples that the candidates run on, and how many of them a thread takes.
SAMPLES, _PART = 64, 8
#: Runs of a candidate: its bias is shifted after each but the last.
_RUNS = 2


@dataclass(frozen=True)
class Goal:
    """What a channel's candidates are judged by.

    Parameters
    ----------
    influence : ndarray (C,), float64
        `toolchain.calibrate.influence`.
    synapses : ndarray (C,), float64
        Mean fan-out of the channel's neurons.
    price : float
        Per operation, in squared error of the outputs.
    """

    influence: np.ndarray
    synapses: np.ndarray
    price: float


@njit(nogil=True, cache=True)
def _run_candidate(
    current: np.ndarray,
    wanted: np.ndarray,
    theta: np.ndarray,
    bias: np.ndarray,
    initial: np.ndarray,
    amplitude: np.ndarray,
    phi: int,
    totals: np.ndarray,
) -> None:
    """Fire on given currents and add up errors per channel.

    Parameters
    ----------
    current : ndarray (N, T or 1, S, C), float32
        S positions; with one timestep: held, and `T` is that of `totals`.
    wanted : ndarray (N, S, C), float32
        The ANN's activation.
    theta, bias, initial : ndarray (C,), float32
        Whole numbers.
    amplitude : ndarray (C,), float32
        What one spike adds to the average activation: Vth / T.
    phi : int
    totals : ndarray (T + 3, C), float64
        Row 0: error, row 1: squared error, row 2: spikes; sums over samples and positions.
        The other rows only say how many timesteps there are.
    """
    samples, moving, positions, channels = current.shape
    timesteps = totals.shape[0] - 3
    step = 0 if moving == 1 else 1
    inverse = np.float32(1) / theta
    half, zero, top = np.float32(0.5), np.float32(0), np.float32(phi)
    u = np.empty(channels, np.float32)
    emitted = np.empty(channels, np.float32)
    for n in range(samples):
        for s in range(positions):
            u[:] = initial
            emitted[:] = 0
            for t in range(timesteps):
                i = current[n, t * step, s]
                for c in range(channels):
                    v = u[c] + i[c] + bias[c]
                    m = np.trunc(min(max((v + half) * inverse[c], zero), top))
                    u[c] = v - m * theta[c]
                    emitted[c] += m
            for c in range(channels):
                error = wanted[n, s, c] - emitted[c] * amplitude[c]
                totals[0, c] += error
                totals[1, c] += error * error
                totals[2, c] += emitted[c]


class _Trial:
    """The currents of one unit, and what candidates make of them."""

    def __init__(self, walk: Walk, unit: QuantizedUnit, wanted: torch.Tensor) -> None:
        population = unit.population
        assert isinstance(population, AdaFire)
        self.population = population
        self.timesteps = walk.spiking.timesteps
        self.samples = min(SAMPLES, wanted.shape[0])
        channels = population.shape[0]
        self.parts = [slice(i, min(i + _PART, self.samples)) for i in range(0, self.samples, _PART)]
        self.wanted = wanted[: self.samples].movedim(1, -1).reshape(self.samples, -1, channels).contiguous().numpy()
        held = all(walk.spikes(c.source).shape[0] == 1 for c in unit.connections)
        steps = 1 if held else self.timesteps
        total = torch.zeros(self.samples, steps, self.wanted.shape[1], channels)
        for connection in unit.connections:
            source = walk.population(connection.source)
            assert isinstance(source, Input | AdaFire | MaxPool)
            compiled = compile_current(connection, source)
            for part in self.parts:
                payload = walk.spikes(connection.source)[:, part]
                value = compiled(payload.flatten(0, 1)).float().movedim(1, -1)
                value = value.reshape(payload.shape[0], payload.shape[1], -1, channels)
                total[part] += value.transpose(0, 1)
        self.current = total.numpy()

    def run(self, theta: np.ndarray, bias: np.ndarray, initial: np.ndarray) -> np.ndarray:
        """Return error, squared error and spikes per channel, (3, C), per sample."""
        numbers = np.asarray(theta, np.float32), np.asarray(bias, np.float32), np.asarray(initial, np.float32)
        amplitude = (theta * self.population.scale / self.timesteps).astype(np.float32)
        totals = np.zeros((len(self.parts), self.timesteps + 3, theta.size))

        def work(index: int) -> None:
            part = self.parts[index]
            _run_candidate(
                self.current[part], self.wanted[part], *numbers, amplitude, self.population.phi, totals[index]
            )

        for_each(work, range(len(self.parts)))
        return np.asarray(totals.sum(0)[:3] / self.samples)


def retune(walk: Walk, name: str, wanted: torch.Tensor, goal: Goal) -> SpikingNetwork:
    """Return the walk's network with threshold, initial potential and bias of one unit chosen.

    Parameters
    ----------
    walk : Walk
        Standing at this unit.
    name : str
        An `Activation` with one bias and one initial potential per channel; others stay as they are.
    wanted : Tensor (N, *shape)
        The ANN's activation.
    goal : Goal
    """
    spiking, unit, firing = walk.spiking, walk.spiking.network[name], walk.spiking.firing.get(name)
    if firing is None or not isinstance(unit, Activation):
        return spiking
    if unit.bias.shape != firing.threshold.shape or firing.initial.shape != firing.threshold.shape or firing.drift:
        return spiking
    quantized = walk.quantized(name)
    trial, population = _Trial(walk, quantized, wanted), quantized.population
    assert isinstance(population, AdaFire)
    positions = trial.wanted.shape[1]
    initials = sorted({*INITIALS, float(firing.initial[0])})
    costs, thetas, starts, biases = [], [], [], []
    for ratio, initial in product(RATIOS, initials):
        theta = np.maximum(np.rint(ratio * population.threshold), 1.0)
        start, bias = np.floor(initial * theta), population.bias.astype(np.float64)
        for run in range(_RUNS):
            error, squares, spikes = trial.run(theta, bias, start)
            if run < _RUNS - 1:
                bias = bias + np.rint(error / positions / population.scale)
        costs.append(goal.influence * squares + goal.price * goal.synapses * spikes)
        thetas.append(theta)
        starts.append(np.full(theta.shape, initial))
        biases.append(bias - population.bias)
    best = np.argmin(np.array(costs), axis=0)[None]

    def pick(values: list[np.ndarray]) -> np.ndarray:
        return np.take_along_axis(np.array(values), best, axis=0)[0]

    tuned = Firing(firing.phi, pick(thetas) * population.scale / firing.rho, pick(starts), rho=firing.rho)
    shifted = replace(unit, bias=unit.bias + pick(biases) * population.scale)
    network = replace(spiking.network, units=tuple(shifted if u.name == name else u for u in spiking.network.units))
    return replace(spiking, network=network, firing={**spiking.firing, name: tuned})
