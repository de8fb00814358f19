"""A float network whose activations fire: what calibration refines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.netlist import Input, NetlistError, Radix
from toolchain.netlist.checks import check_finite, check_positive_ints
from toolchain.network.float_network import Curve, FloatNetwork, Gated


@dataclass(frozen=True, eq=False)
class Firing:
    """How one activation fires.

    Parameters
    ----------
    phi : int
        Longest burst.
    threshold : ndarray (C,), float64
        Vth, the activation that one spike stands for (before `rho`).
    initial : ndarray (C,) or `shape`, float64
        Membrane potential before the first timestep, in thresholds.
    drift : float
        Added at every timestep, in thresholds (`init` "spread": 0.5 / T).
    rho : float
        Factor of spike compression on the threshold, 1 without.
    shared : ndarray (C,), int64, or None
        Channels of the same number have one threshold, and their spikes stand for exactly the same
        (`toolchain.network.meeting`); None where every channel has its own.
    """

    phi: int
    threshold: np.ndarray
    initial: np.ndarray
    drift: float = 0.0
    rho: float = 1.0
    shared: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_positive_ints("Firing", "phi", [self.phi])
        check_finite("Firing", "threshold", self.threshold)
        check_finite("Firing", "initial", self.initial)
        if not np.all(self.threshold > 0) or not self.rho > 0:
            raise NetlistError("Firing", "threshold and rho must be positive")

    @property
    def amplitude(self) -> np.ndarray:
        """Activation that one spike of a burst stands for, (C,) float64: ``rho * Vth``."""
        return self.rho * self.threshold


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """A float network whose activations fire.

    Parameters
    ----------
    network : FloatNetwork
        Its biases may have been calibrated.
    source : Input
        What data become as payloads; named and shaped as the network's source.
    firing : mapping of str to Firing
        One per `Activation`.
    timesteps : int
        T; 1 where neurons send numbers.
    radix : Radix or None
        Base and digits of the numbers that neurons send as their bursts, in radix code; None for rates. Digits matter
        to what is sent and counted only: a network of numbers fires, and is calibrated, as rates of one timestep are.
    """

    network: FloatNetwork
    source: Input
    firing: Mapping[str, Firing]
    timesteps: int
    radix: Radix | None = None

    def __post_init__(self) -> None:
        given, taken = (self.source.name, self.source.shape), (self.network.source.name, self.network.source.shape)
        if given != taken:
            raise NetlistError("network", f"input {given} found, expected the network's source {taken}")
        unspiking: tuple[Curve | Gated, ...] = (*self.network.curves, *self.network.gated)
        for unit in unspiking:
            raise NetlistError(unit.name, f"no neuron computes a {type(unit).__name__}", "use `toolchain.pieces` first")
        expected = {u.name for u in self.network.activations}
        if set(self.firing) != expected:
            raise NetlistError("network", f"firing is given for {sorted(self.firing)}, expected {sorted(expected)}")
        check_positive_ints("network", "timesteps", [self.timesteps])
        if self.radix is not None and (
            self.timesteps != 1 or {f.phi for f in self.firing.values()} - {self.radix.greatest}
        ):
            found = sorted({f.phi for f in self.firing.values()})
            raise NetlistError(
                "network",
                f"{self.timesteps} timesteps and bursts up to {found} found, expected 1 and {self.radix.greatest}",
            )
