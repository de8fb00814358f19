"""A foreign network in the real numbers that it came in, and how many spikes rounding moves.

Float64, one Euler step per timestep (see `nir.leaky`): what the integers of the netlist are compared with, layer by
layer, each network on its own spikes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from toolchain.netlist import Operator, Shape, Trace, apply_chain


@dataclass(frozen=True, eq=False)
class RealPopulation:
    """A population in real numbers; arrays of its shape, float64.

    Parameters
    ----------
    name : str
    shape : tuple of int
    paths : tuple of (source, operators, delay)
    bias : ndarray
        Added to the potential at every timestep.
    current_decay, voltage_decay : ndarray or None
        What goes per timestep, 0 to 1; None for integrate-and-fire neurons.
    threshold, initial : ndarray or None
    phi : int
        Longest burst of integrate-and-fire neurons.
    reset : {"zero", "subtract"}
    constant : bool
        Whether it fires at every timestep, whatever reaches it.
    """

    name: str
    shape: Shape
    paths: tuple[tuple[str, tuple[Operator, ...], int], ...] = ()
    bias: np.ndarray | None = None
    current_decay: np.ndarray | None = None
    voltage_decay: np.ndarray | None = None
    threshold: np.ndarray | None = None
    initial: np.ndarray | None = None
    phi: int = 1
    reset: Literal["zero", "subtract"] = "zero"
    constant: bool = False


@dataclass(frozen=True)
class Moved:
    """How far a population's spikes are those of the network before rounding.

    Parameters
    ----------
    population : str
    spikes : int
        Of the network in float64.
    moved : int
        Payloads, one per neuron, timestep and sample, that differ.
    payloads : int
        All of them.
    """

    population: str
    spikes: int
    moved: int
    payloads: int

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {"population": self.population, "spikes": self.spikes, "moved": self.moved, "payloads": self.payloads}

    def __str__(self) -> str:
        share = self.moved / self.payloads if self.payloads else 0.0
        return f"{self.moved:,} of {self.payloads:,} payloads differ ({share:.2%}), {self.spikes:,} spikes in float64"


@dataclass(frozen=True, eq=False)
class RealNetwork:
    """Populations in real numbers, the input first, in topological order."""

    populations: tuple[RealPopulation, ...]

    def run(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Run frames (T, N, *shape); return the payloads (T, N, *shape) of every population that fires."""
        timesteps, samples = frames.shape[:2]
        source, *others = self.populations
        sent = {source.name: frames.astype(np.float64)}
        shapes = {p.name: p.shape for p in self.populations}
        u = {p.name: np.zeros((samples, *p.shape)) for p in others}
        v = {p.name: np.zeros((samples, *p.shape)) + (0 if p.initial is None else p.initial) for p in others}
        for p in others:
            sent[p.name] = np.zeros((timesteps, samples, *p.shape))
        for t in range(timesteps):
            for p in others:
                if p.constant:
                    sent[p.name][t] = 1
                    continue
                arriving = np.zeros((samples, *p.shape))
                for name, operators, delay in p.paths:
                    if t >= delay:
                        arriving += apply_chain(operators, sent[name][t - delay], shapes[name])
                keep_u = 0 if p.current_decay is None else 1 - p.current_decay
                keep_v = 1 if p.voltage_decay is None else 1 - p.voltage_decay
                u[p.name] = keep_u * u[p.name] + arriving
                v[p.name] = keep_v * v[p.name] + u[p.name] + (0 if p.bias is None else p.bias)
                sent[p.name][t], v[p.name] = _fire(p, v[p.name])
        firing = {p.name for p in others if p.threshold is not None}
        return {name: values for name, values in sent.items() if name in firing}

    def compare(self, trace: Trace) -> tuple[Moved, ...]:
        """Return how far the spikes of a netlist's run are those of this network on the same frames."""
        expected = self.run(trace.spikes[self.populations[0].name])
        return tuple(
            Moved(
                name,
                int(values.sum()),
                int(np.count_nonzero(values != trace.spikes[name])),
                int(values.size),
            )
            for name, values in expected.items()
        )


def _fire(population: RealPopulation, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return payloads, and the potential after reset; leaky neurons fire above the threshold, others from it on."""
    threshold = population.threshold
    if threshold is None:
        return np.zeros_like(v), v
    if population.voltage_decay is None:
        payload = np.clip(np.floor(v / threshold), 0, population.phi)
    else:
        payload = (v > threshold).astype(np.float64)
    return payload, np.where(payload > 0, 0 if population.reset == "zero" else v - payload * threshold, v)
