"""Thresholds, initial potentials and biases chosen on the currents that really arrive.

Eq. 13 knows a neuron under a constant input. Real currents come in bursts: a neuron may fire early and
cannot take a spike back. Here the currents of a unit are computed once, and every candidate of
threshold and initial potential runs on them, its bias shifted by its own mean error (eq. 14) until
ANN and SNN agree on average; each channel keeps the candidate with the least of

    influence * squared error + operation_cost * operations

the error of an activation that no sample held (`toolchain.calibrate.records`) included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
import torch

from sim.currents import compile_current
from sim.jit import jit
from sim.threads import for_each
from toolchain.calibrate.histograms import Histogram
from toolchain.calibrate.light import shift_bias
from toolchain.calibrate.records import record_error
from toolchain.calibrate.thresholds import sum_shared
from toolchain.calibrate.walk import CalibrationWalk
from toolchain.netlist import AdaFire, Input, MaxPool
from toolchain.network import Activation, SpikingNetwork
from toolchain.quantize import QuantizedUnit

#: Thresholds that are tried, relative to the given one: around what eq. 13 finds for constant input.
RATIOS = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.45)
#: Initial potentials that are tried, in thresholds: the less a neuron starts with, the later and safer its first spike.
#: What one that starts below nothing lacks, its bias gives back over the run.
INITIALS = (-0.5, -0.2, 0.15, 0.5)
#: Samples that the candidates run on, and more of a unit with few positions, until there are as many of these: the
#: best of many candidates on few numbers is the luckiest.
SAMPLES, POSITIONS = 64, 8192
#: Numbers of currents in memory at once; of big maps some samples say enough.
_NUMBERS = 2**25
#: Neurons whose potentials stay in a core's first cache over all timesteps.
_TILE = 1024
#: Currents that its second cache holds, beside what it needs of candidates.
_BLOCK = 2**17
#: How many parts they are cut into, always as many: sums depend on it.
_PARTS = 8
#: Runs of a candidate: its bias is shifted after each but the last. One shift is enough to compare candidates fairly;
#: the bias of the one that is kept is calibrated afterwards on all samples.
_RUNS = 2


@dataclass(frozen=True)
class Goal:
    """What a channel's candidates are judged by.

    Parameters
    ----------
    influence : ndarray (C,), float64
        `toolchain.calibrate.influence`.
    fan_out : ndarray (C,), float64
        Mean number of synapses that a neuron of the channel drives.
    operation_cost : float
        In squared error of the outputs.
    activations : Histogram
        Of the ANN on the calibration samples.
    samples : int
        How many these are.
    """

    influence: np.ndarray
    fan_out: np.ndarray
    operation_cost: float
    activations: Histogram
    samples: int

    def error(self, squares: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """Return the squared error per sample that is to be expected, in those of the outputs, (K, C) float64.

        Parameters
        ----------
        squares : ndarray (K, C), float64
            Squared error per sample, as measured, of every candidate.
        limit : ndarray (K, C), float64
            What activations are clipped at.
        """
        records = record_error(self.activations, limit.T).T
        return np.asarray(self.influence * (squares + records / self.samples))


@jit
def _run_candidate(
    current: np.ndarray,
    wanted: np.ndarray,
    theta: np.ndarray,
    bias: np.ndarray,
    initial: np.ndarray,
    amplitude: np.ndarray,
    phi: int,
    timesteps: int,
    digits: np.ndarray,
    totals: np.ndarray,
) -> None:
    """Fire on given currents and add up errors per neuron of a tile.

    Parameters
    ----------
    current : ndarray (N, T or 1, M), float32
        M neurons, channels innermost; with one timestep: held.
    wanted : ndarray (N, M), float32
        The ANN's activation.
    theta, bias, initial : ndarray (tile,), float32
        Whole numbers: a channel's own, position after position.
    amplitude : ndarray (tile,), float32
        What one spike adds to the average activation: Vth / T.
    phi, timesteps : int
    digits : ndarray (phi + 1,) or (0,), int64
        Spikes that say a number; empty for rates, of which every spike counts.
    totals : ndarray (3, tile), float64
        Row 0: error, row 1: squared error, row 2: spikes; sums over samples and tiles.
    """
    samples, moving, neurons = current.shape
    step, tile = 0 if moving == 1 else 1, theta.size
    inverse = np.float32(1) / theta
    half, zero, top = np.float32(0.5), np.float32(0), np.float32(phi)
    u = np.empty(tile, np.float32)
    emitted = np.empty(tile, np.float32)
    for n in range(samples):
        for start in range(0, neurons, tile):
            want = wanted[n, start : start + tile]
            u[:] = initial
            emitted[:] = 0
            for t in range(timesteps):
                i = current[n, t * step, start : start + tile]
                # Neurons lie next to each other in memory, and one instruction does several.
                for c in range(i.size):
                    v = u[c] + i[c] + bias[c]
                    # The floor of v / theta. All numbers are whole, so half a unit more changes no floor, and keeps
                    # the rounding of a product with the inverse from doing so; negatives become 0 either way.
                    m = np.trunc(min(max((v + half) * inverse[c], zero), top))
                    u[c] = v - m * theta[c]
                    emitted[c] += m
            for c in range(want.size):
                error = want[c] - emitted[c] * amplitude[c]
                totals[0, c] += error
                totals[1, c] += error * error
            if digits.size == 0:
                for c in range(want.size):
                    totals[2, c] += emitted[c]
            else:
                for c in range(want.size):
                    totals[2, c] += digits[np.int64(emitted[c])]


class _Arriving:
    """The currents that arrive at one unit, and what candidates make of them.

    Parameters
    ----------
    walk : CalibrationWalk
        Standing at this unit.
    unit : QuantizedUnit
        As the network stands.
    """

    def __init__(self, walk: CalibrationWalk, unit: QuantizedUnit) -> None:
        population = unit.population
        assert isinstance(population, AdaFire)
        self.population = population
        self.timesteps = walk.spiking.timesteps
        self.digits = np.zeros(0, np.int64) if walk.spiking.radix is None else walk.spiking.radix.digit_sums
        channels, positions = population.shape[0], prod(population.shape[1:])
        most = max(1, _NUMBERS // (self.timesteps * channels * positions))
        self.samples = min(max(SAMPLES, POSITIONS // positions), most, walk.running(population.name))
        size = -(-self.samples // _PARTS)
        self.parts = [slice(i, min(i + size, self.samples)) for i in range(0, self.samples, size)]
        wanted = walk.wanted(population.name, slice(0, self.samples))
        self.wanted = wanted.movedim(1, -1).reshape(self.samples, -1).contiguous().numpy()
        #: Positions whose neurons are worked off together.
        self.repeats = min(max(1, _TILE // channels), positions)
        #: Samples whose currents a core's second cache holds.
        self.block = max(1, _BLOCK // (self.timesteps * channels * positions))
        # Where all sources are held, so is the current: it is computed and kept once, not T times.
        held = all(walk.is_held(c.source) for c in unit.connections)
        steps = 1 if held else self.timesteps
        total = torch.zeros(self.samples, steps, self.wanted.shape[1])
        compiled = []
        for connection in unit.connections:
            source = walk.population(connection.source)
            assert isinstance(source, Input | AdaFire | MaxPool)
            compiled.append((connection.source, compile_current(connection, source)))

        def fill(part: slice) -> None:
            for name, current in compiled:
                payload = walk.spikes(name, part)
                value = current(payload.flatten(0, 1)).float().movedim(1, -1)
                total[part] += value.reshape(*payload.shape[:2], -1).transpose(0, 1)

        for_each(fill, self.parts)
        self.current = total.numpy()

    def run(self, theta: np.ndarray, bias: np.ndarray, initial: np.ndarray) -> np.ndarray:
        """Return what candidates come to: error, squared error and spikes, (K, 3, C) float64, sums over positions.

        Parameters
        ----------
        theta, bias, initial : ndarray (K, C), float64
            Whole numbers, in units of the membrane potential, of every candidate.
        """
        amplitude = theta * self.population.scale / self.timesteps
        numbers = [np.tile(n.astype(np.float32), self.repeats) for n in (theta, bias, initial, amplitude)]
        limits = self.population.phi, self.timesteps, self.digits
        totals = np.zeros((len(self.parts), len(theta), 3, self.repeats * theta.shape[1]))

        def work(index: int) -> None:
            part = self.parts[index]
            for start in range(part.start, part.stop, self.block):
                # All candidates on a block of currents while a core's second cache holds it.
                block = slice(start, min(start + self.block, part.stop))
                for candidate, *own in zip(totals[index], *numbers, strict=True):
                    _run_candidate(self.current[block], self.wanted[block], *own, *limits, candidate)

        for_each(work, range(len(self.parts)))
        per_channel = totals.sum(0).reshape(len(theta), 3, self.repeats, -1).sum(2)
        return np.asarray(per_channel / self.samples)


def retune(walk: CalibrationWalk, name: str, goals: Mapping[str, Goal]) -> SpikingNetwork:
    """Return the walk's network with threshold, initial potential and bias of one unit chosen.

    Parameters
    ----------
    walk : CalibrationWalk
        Standing at this unit.
    name : str
        An `Activation` with one bias and one initial potential per channel; others stay as they are.
    goals : mapping of str to Goal
        Per activation; one without a goal stays as it is.
    """
    spiking, unit, goal = walk.spiking, walk.spiking.network[name], goals.get(name)
    if goal is None or not isinstance(unit, Activation):
        return spiking
    firing = spiking.firing[name]
    # Candidates are per channel and start at a potential; beside a drift there would be nothing to start with.
    if unit.bias.shape != firing.threshold.shape or firing.initial.shape != firing.threshold.shape or firing.drift:
        return spiking
    quantized = walk.quantized(name)
    arriving, population = _Arriving(walk, quantized), quantized.population
    assert isinstance(population, AdaFire)
    positions = prod(population.shape[1:])
    # A number fires once, when all has arrived: there is no first spike to put off.
    initials = sorted({*(INITIALS if spiking.radix is None else ()), float(firing.initial[0])})
    ratios, relative = np.array(list(product(RATIOS, initials))).T[:, :, None]
    thetas = np.maximum(np.rint(ratios * population.threshold), 1.0)
    starts, biases = np.floor(relative * thetas), np.broadcast_to(population.bias.astype(np.float64), thetas.shape)
    for _ in range(_RUNS - 1):
        biases = biases + np.rint(arriving.run(thetas, biases, starts)[:, 0] / positions / population.scale)
    _, squares, spikes = arriving.run(thetas, biases, starts).transpose(1, 0, 2)
    error = goal.error(squares, population.phi * thetas * population.scale)
    sums = error + goal.operation_cost * goal.fan_out * spikes
    best = np.argmin(sum_shared(sums, firing.shared), axis=0)[None]

    def pick(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, best, axis=0)[0]

    # Back to real numbers, in which the network is; rho is a factor of its own (`Firing.amplitude`).
    initial = pick(np.broadcast_to(relative, thetas.shape))
    tuned = replace(firing, threshold=pick(thetas) * population.scale / firing.rho, initial=initial)
    shifted = shift_bias(spiking, name, pick(biases - population.bias) * population.scale)
    return replace(shifted, firing={**spiking.firing, name: tuned})
