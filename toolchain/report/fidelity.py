"""How close spikes come to real-valued activations, population by population.

Two references: the netlist itself without spikes (its integer weights, real-valued rates, no
timesteps), which shows what spiking alone costs; and the ANN, which shows all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sim.kernels import apply_chain
from toolchain.netlist import (
    AdaFire,
    CubaLif,
    Input,
    LeakyReadout,
    MaxPool,
    Netlist,
    Readout,
    Trace,
    last_reads,
    per_channel,
)


@dataclass(frozen=True)
class Error:
    """Sums over neurons and samples; they add up over batches.

    Parameters
    ----------
    reference, measured : float
        Sum of squares of the reference and of the measured activations.
    product : float
        Sum of their products.
    """

    reference: float = 0.0
    measured: float = 0.0
    product: float = 0.0

    def __add__(self, other: Error) -> Error:
        """Join two batches."""
        return Error(self.reference + other.reference, self.measured + other.measured, self.product + other.product)

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between both, 1 where they are proportional; None where one is silent."""
        norm = (self.reference * self.measured) ** 0.5
        return min(1.0, self.product / norm) if norm else None

    @property
    def sqnr(self) -> float | None:
        """Signal to quantisation noise ratio in dB; None without signal or without noise."""
        noise = self.reference + self.measured - 2 * self.product
        return float(10 * np.log10(self.reference / noise)) if self.reference > 0 and noise > 0 else None


def error(reference: Tensor, measured: Tensor) -> Error:
    """Compare a batch; both (N, *shape), in the same unit."""
    a, b = reference.double().flatten(), measured.double().flatten()
    return Error(float(a @ a), float(b @ b), float(a @ b))


def has_rates(netlist: Netlist) -> bool:
    """Return whether rates say what a netlist does: not where potentials leak, or a loop has no first population."""
    leaks = any(isinstance(p, CubaLif | LeakyReadout) for p in netlist.populations)
    return not leaks and not any(group.loops for group in netlist.groups)


@torch.inference_mode()
def without_spikes(netlist: Netlist, payload: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Run a netlist with real-valued rates instead of spikes.

    Parameters
    ----------
    netlist : Netlist
        One that `has_rates`.
    payload : Tensor (N, *shape), floating point
        Mean payload of the input per timestep.

    Yields
    ------
    name, rate : str, Tensor (N, *shape)
        Mean payload per timestep if there were any number of levels: ``clip(I / theta, 0, phi)``, of numbers to
        the greatest; for a readout the mean current.
    """
    netlist = netlist.numbers
    done = last_reads((p.name for p in netlist.populations), netlist.connections)
    rates: dict[str, Tensor] = {}
    for population in netlist.populations:
        name = population.name
        if isinstance(population, Input):
            rates[name] = payload
        else:
            incoming = netlist.inputs(name)
            current = sum(
                (apply_chain(c.operators, rates[c.source]) for c in incoming), torch.zeros((), dtype=payload.dtype)
            )
            assert isinstance(population, AdaFire | MaxPool | Readout)
            rates[name] = _rate(population, current)
        yield name, rates[name]
        for source in done[name]:
            del rates[source]


def _rate(population: AdaFire | MaxPool | Readout, current: Tensor) -> Tensor:
    if isinstance(population, MaxPool):
        current = F.pad(current, [n for pair in reversed(population.padding) for n in pair])
        for axis, (kernel, stride) in enumerate(zip(population.kernel, population.stride, strict=True), start=2):
            current = current.unfold(axis, kernel, stride).amax(-1)
        return current
    current = current + torch.from_numpy(per_channel(population.bias, population.shape)).to(current)
    if isinstance(population, Readout):
        return current
    theta = torch.from_numpy(per_channel(population.threshold, population.shape)).to(current)
    return (current / theta).clamp(0, population.phi)


def mean_payloads(netlist: Netlist, trace: Trace) -> dict[str, Tensor]:
    """Return the mean payload per timestep, and the mean current of readouts; (N, *shape) float32.

    Of digits the numbers that they spell, and what the readouts hold of them.
    """
    if netlist.radix is not None:
        numbers = {name: torch.from_numpy(netlist.radix.read(p)).float() for name, p in trace.spikes.items()}
        return {**numbers, **{name: torch.from_numpy(r[-1]).float() for name, r in trace.readouts.items()}}
    rates = {name: torch.from_numpy(p.mean(axis=0, dtype=np.float32)) for name, p in trace.spikes.items()}
    finals = {
        name: torch.from_numpy((r[-1] / trace.timesteps).astype(np.float32)) for name, r in trace.readouts.items()
    }
    return {**rates, **finals}


def in_payloads(netlist: Netlist, name: str, activation: Tensor) -> Tensor:
    """Convert an ANN's activations (N, *shape) to the unit of `mean_payloads`."""
    population = netlist[name]
    match population:
        case AdaFire():
            unit = population.threshold * population.scale
        case CubaLif():
            unit = np.ones(population.shape[0])
        case Readout() | LeakyReadout():
            unit = population.scale
        case Input():
            unit = np.full(population.shape[0], population.scale)
        case MaxPool():
            sources = netlist.inputs(name)
            return in_payloads(netlist, sources[0].source, activation)
    return activation / torch.from_numpy(per_channel(unit, population.shape)).to(activation)
