"""The float type in which a population's neurons are scanned, and their constants in it: exact by the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from sim import scan
from sim.currents import EXACT, Diagonal
from toolchain.netlist import AdaFire, NetlistError, Population, Readout, per_channel

#: Types of arrays by those of tensors.
NUMPY: dict[torch.dtype, type[np.generic]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.uint8: np.uint8,
}


@dataclass(frozen=True, eq=False)
class Constants:
    """What `sim.scan.fire` and `fire_once` read, channels-last and repeated over a tile of neurons."""

    theta: np.ndarray
    inverse: np.ndarray
    bias: np.ndarray
    initial: np.ndarray
    skip_weight: np.ndarray
    offset: np.ndarray
    no_state: np.ndarray


def scan_dtype(population: Population, sums: int, potential: int) -> torch.dtype:
    """Return the float type in which currents and membrane potentials are exact.

    Parameters
    ----------
    population : AdaFire, MaxPool or Readout
    sums : int
        Bound of all partial sums of the currents.
    potential : int
        Bound of the membrane potential.

    Raises
    ------
    NetlistError
        When there is none.
    """
    bias, division = 0, 0
    if isinstance(population, AdaFire | Readout):
        bias = int(np.abs(population.bias).max())
    if isinstance(population, AdaFire):
        # The quotient of sim.scan.fire is exact under this: its notes say why.
        division = 4 * (population.phi + 1) * int(population.threshold.max())
        potential = max(potential, int(np.abs(population.initial).max()))
    for dtype, limit in EXACT.items():
        # u + 0.5 takes a bit more than u. The scan adds skip, current and bias to u one by one: each sum on the way is
        # within that of all magnitudes.
        if 2 * (sums + bias + potential) < limit and division < limit:
            return dtype
    raise NetlistError(population.name, f"membrane potentials reach {sums + bias + potential}, expected at most 2**52")


def scan_constants(population: AdaFire, skip: Diagonal | None, dtype: torch.dtype) -> Constants:
    """Lay a population's constants out for `sim.scan.fire`."""
    shape, kind = population.shape, NUMPY[dtype]
    channels = shape[0]
    # Constants per channel repeat from pixel to pixel. A tile is a whole number of pixels, so that every tile begins at
    # the first channel and reads the same constants from the start.
    repeats = min(max(1, scan.TILE // channels), prod(shape[1:]))

    def tile(values: np.ndarray) -> np.ndarray:
        if values.shape == (channels,):
            return np.tile(values.astype(kind), repeats)
        return np.ascontiguousarray(np.moveaxis(values, 0, -1).reshape(-1), dtype=kind)

    theta = tile(population.threshold)
    weight = np.zeros(channels) if skip is None else skip.weight
    bias, initial = population.bias, population.initial
    added = bias + initial if bias.shape == initial.shape else per_channel(bias, shape) + per_channel(initial, shape)
    offset = tile(added) + kind(0.5)
    return Constants(theta, kind(1) / theta, tile(bias), tile(initial), tile(weight), offset, np.empty((0, 1), kind))
