"""The integers to quantise to, and whether a target holds them at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw_targets.target import Target
from toolchain.netlist import TargetError

#: Membrane potentials without a target: what Loihi 2 has, and far beyond what calibrated networks reach.
_MEMBRANE_BITS = 24


@dataclass(frozen=True)
class Precision:
    """The integers to quantise to.

    Parameters
    ----------
    weight_bits : int
        Width of the signed weights, 2 to 16.
    target : Target, optional
        Its fields limit weights, thresholds, biases and payloads; without one only the
        netlist's own limits hold.
    """

    weight_bits: int = 8
    target: Target | None = None

    @property
    def top(self) -> int:
        """Greatest weight; scales are chosen so that the largest weight of a channel meets it."""
        return int(2 ** (self.weight_bits - 1) - 1)

    @property
    def membrane_bits(self) -> int:
        """Width of the membrane potential: the target's, or 24 bits."""
        return (self.target.netlist_membrane_bits if self.target else None) or _MEMBRANE_BITS

    @property
    def membrane_limit(self) -> int:
        """Magnitude at which the membrane potential saturates."""
        return int(2 ** (self.membrane_bits - 1) - 1)


def check_precision(precision: Precision, phis: Mapping[str, int]) -> None:
    """Raise when the target cannot hold the weights or payloads at all.

    Parameters
    ----------
    precision : Precision
    phis : mapping of str to int
        Longest burst of every unit that fires.

    Raises
    ------
    TargetError
        Naming the field or the unit, what was asked and what the target holds.
    """
    target = precision.target
    if target is None:
        return
    if target.weight_bits is not None and precision.weight_bits > max(target.weight_bits):
        raise TargetError(
            "weight_bits",
            f"weights of {precision.weight_bits} bits asked, {target.name} holds {max(target.weight_bits)}",
            f"use `weight_bits` of {max(target.weight_bits)} or fewer",
        )
    # Where spikes are binary, bursts can be unrolled: `adafire check --unroll` says whether they fit then.
    if target.max_payload is not None and not target.binary:
        for name, phi in phis.items():
            if phi > target.max_payload:
                raise TargetError(
                    name,
                    f"bursts of {phi} asked, spikes of {target.name} carry at most {target.max_payload}",
                    f"use `phi` of {target.max_payload} or less",
                )
