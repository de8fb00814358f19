"""What no neuron computes becomes what neurons compute, on calibration data: gates their means, curves their pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from sim.threads import one_thread
from toolchain.display import Progress, silent
from toolchain.netlist import FrozenGates, UnsupportedError
from toolchain.network import (
    Curve,
    FloatNetwork,
    Gated,
    MaxUnit,
    SampleTensor,
    arguments,
    chunks,
    each_chunk,
    reference_outputs,
)
from toolchain.pieces.fit import BINS, Distribution, Piece, Pieces, count, fit, span
from toolchain.pieces.replace import replaced


@dataclass(frozen=True, eq=False)
class Substituted:
    """A network that neurons compute, and how it came from another.

    Parameters
    ----------
    network : FloatNetwork
        Without curves and gates.
    frozen : FloatNetwork
        The network with its gates frozen, its curves as they were; without gates, the network itself.
    pieces : mapping of str to Pieces
        By curve of `frozen`.
    units : mapping of str to tuple of str
        The units of each curve's pieces.
    ranges : mapping of str to tuple of float
        The least and the greatest value that each curve takes on the calibration data.
    gates : FrozenGates or None
        What freezing costs.
    """

    network: FloatNetwork
    frozen: FloatNetwork
    pieces: Mapping[str, Pieces]
    units: Mapping[str, tuple[str, ...]]
    ranges: Mapping[str, tuple[float, float]]
    gates: FrozenGates | None = None

    def bursts(self, phi: int, *, alike: bool = False) -> dict[str, int]:
        """Return the longest burst of every unit: `phi`, or what a piece needs for the steps of its curve's largest.

        A piece that changes the sum little needs few levels: its spikes then stand for as much as those of the others.
        """
        found = {u.name: phi for u in self.network.activations}
        for name, pieces in () if alike else self.pieces.items():
            reach = [abs(p.gain) * self._width(name, p) for p in pieces.pieces]
            for unit, change in zip(self.units[name], reach, strict=True):
                found[unit] = max(1, ceil(phi * change / max(reach)))
        return found

    def _width(self, curve: str, piece: Piece) -> float:
        low, high = self.ranges[curve]
        return min(piece.width, high - piece.start if piece.sign > 0 else piece.start - low)


@one_thread()
@torch.inference_mode()
def substitute(
    network: FloatNetwork,
    x: SampleTensor,
    *,
    pieces: int | None = None,
    freeze_gates: bool = False,
    progress: Progress = silent,
) -> Substituted:
    """Put pieces and means in the place of curves and gates.

    Parameters
    ----------
    network : FloatNetwork
    x : SampleTensor (N, *source shape), float32
        Normalised calibration data.
    pieces : int, optional
        At most so many pieces of a curve; by default as few as are good (`toolchain.pieces.fit`).
    freeze_gates : bool
        Whether a gate may become its mean.
    progress : Progress

    Raises
    ------
    UnsupportedError
        When there are gates and `freeze_gates` is false; says what freezing them would cost on these data.
    InputError
        When a function is not finite on these data.
    """
    frozen, gates = network, None
    if network.gated:
        means = _means(network, x)
        frozen, _ = replaced(network, {}, means)
        gates = _cost(network, frozen, x)
        if not freeze_gates:
            raise _refusal(network.gated, gates)
    if not frozen.curves:
        return Substituted(frozen, frozen, {}, {}, {}, gates)
    found: dict[str, Pieces] = {}
    ranges: dict[str, tuple[float, float]] = {}
    rising = _pooled(frozen)
    distributions = _distributions(frozen, x)
    with progress("fitting activations", len(frozen.curves)) as advance:
        for curve in frozen.curves:
            name, data = curve.name, distributions[curve.name]
            found[name] = fit(name, curve.function, data, pieces=pieces, rising=name in rising)
            ranges[name] = (data.low, data.high)
            advance()
    made, units = replaced(frozen, found)
    return Substituted(made, frozen, found, units, ranges, gates)


def _distributions(network: FloatNetwork, x: SampleTensor) -> dict[str, Distribution]:
    """Return the values that every curve takes: one pass of the network for their ranges, one to count."""
    parts = chunks(x.shape[0], network.widest)

    def taken(part: slice) -> Iterator[tuple[str, Tensor]]:
        return ((name, values) for name, values in arguments(network, x[part]) if isinstance(network[name], Curve))

    def ranges(part: slice) -> dict[str, np.ndarray]:
        return {name: np.array([float(values.min()), -float(values.max())]) for name, values in taken(part)}

    least: dict[str, np.ndarray] = {}
    for found in each_chunk(ranges, parts):
        least = {name: np.minimum(least.get(name, np.inf), value) for name, value in found.items()}
    spans = {name: span(float(low), -float(high)) for name, (low, high) in least.items()}

    def counted(part: slice) -> dict[str, np.ndarray]:
        return {name: count(values, *spans[name]) for name, values in taken(part)}

    counts: dict[str, np.ndarray] = dict.fromkeys(spans, np.zeros(BINS))
    for found in each_chunk(counted, parts):
        counts = {name: counts[name] + value for name, value in found.items()}
    return {name: Distribution(*spans[name], counts[name]) for name in spans}


def _means(network: FloatNetwork, x: SampleTensor) -> dict[str, np.ndarray]:
    """Return the mean of every gate over samples, (*shape) float64."""
    sums: dict[str, np.ndarray] = {}
    for part in chunks(x.shape[0], network.widest):
        for name, values in arguments(network, x[part]):
            if isinstance(network[name], Gated):
                sums[name] = sums.get(name, 0.0) + values.double().sum(0).numpy()
    return {name: total / x.shape[0] for name, total in sums.items()}


def _cost(network: FloatNetwork, frozen: FloatNetwork, x: SampleTensor) -> FrozenGates:
    """Compare outputs with frozen gates to those of the network."""
    same, off, spread = [], 0.0, 0.0
    for wanted, got in zip(reference_outputs(network, x), reference_outputs(frozen, x), strict=True):
        same.append(float((wanted.argmax(1) == got.argmax(1)).double().mean()))
        off += float((wanted - got).double().square().sum())
        spread += float((wanted - wanted.mean(0)).double().square().sum())
    error = float(np.sqrt(off / spread)) if spread > 0 else 0.0
    return FrozenGates(tuple(u.name for u in network.gated), x.shape[0], float(np.mean(same)), error)


def _refusal(gated: tuple[Gated, ...], cost: FrozenGates) -> UnsupportedError:
    names = [u.name for u in gated]
    others = f" (and {len(names) - 1} more: {', '.join(names[1:4])}{', ...' if len(names) > 4 else ''})"
    return UnsupportedError(
        names[0],
        f"multiplies activations by a gate that depends on the sample{others if names[1:] else ''}",
        f"`freeze_gates` puts its mean in its place: {cost.agreement:.1%} of {cost.samples:,} calibration samples keep "
        f"their decision, outputs are {cost.error:.1%} off; or remove the gate and train again",
    )


def _pooled(network: FloatNetwork) -> set[str]:
    """Return the curves whose values a maximum is taken of."""
    return {c.source for c in network.connections if isinstance(network[c.target], MaxUnit)}
