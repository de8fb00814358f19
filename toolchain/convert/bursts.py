"""Longer bursts in the layers that need them, where the netlist does not decide as the ANN does; else advice.

Both rest on what was measured: the netlist's outputs beside the ANN's on the calibration samples. How much nearer they
would come with longer bursts or more timesteps is estimated (`toolchain.calibrate.levels`), and where bursts
are lengthened it is measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from toolchain.calibrate import Aside, CalibrationMethod, Levels
from toolchain.convert.agreement import AIM, Agreement
from toolchain.netlist import Netlist
from toolchain.network import SpikingNetwork

#: Conversions at most beyond the first: the second of them makes up for an estimate that was too hopeful.
_ROUNDS = 2
#: Longest burst that is chosen without being asked for: one byte of currents per spike has room for more, but at
#: T = 8 its 257 levels are those of the 8-bit input.
LONGEST = 32
#: Timesteps that advice goes to, as a multiple of those that ran.
_MOST_TIMESTEPS = 16


@dataclass(frozen=True, eq=False)
class Converted:
    """A conversion, and how it agrees with the ANN.

    Parameters
    ----------
    phi : mapping of str to int
        Longest burst of every activation.
    timesteps : int
    agreement : Agreement
    networks : Aside of (SpikingNetwork, Netlist)
        Calibrated, and quantised. Aside, for another conversion may follow, which needs the memory.
    """

    phi: Mapping[str, int]
    timesteps: int
    agreement: Agreement
    networks: Aside[tuple[SpikingNetwork, Netlist]]


def lengthen(
    first: Converted, levels: Levels, longest: int, convert: Callable[[Mapping[str, int]], Converted]
) -> Converted:
    """Convert with longer bursts where the agreement demands it; return the conversion that agrees best.

    Parameters
    ----------
    first : Converted
    levels : Levels
    longest : int
        No burst becomes longer.
    convert : callable
        Converts with the longest burst of every activation.
    """
    best = first
    for _ in range(_ROUNDS):
        if best.agreement.holds:
            break
        wanted = best.agreement.needed_share() ** 2 * levels.error(best.phi, best.timesteps)
        phi = levels.lengthen(best.phi, wanted, longest)
        if phi == best.phi:
            break
        found = convert(phi)
        if not found.agreement.better_than(best.agreement):
            break
        best = found
    return best


def lengthened_note(first: Converted, chosen: Converted) -> Iterator[str]:
    """Say which bursts were lengthened, and what for; nothing where none was."""
    longer: dict[int, list[str]] = {}
    for name, phi in chosen.phi.items():
        if phi != first.phi[name]:
            longer.setdefault(phi, []).append(name)
    if longer:
        where = "; ".join(f"up to {phi} in {_names(longer[phi], len(chosen.phi))}" for phi in sorted(longer))
        yield (
            f"longer bursts than {min(first.phi.values())} where the agreement with the ANN demanded it: {where} "
            f"({first.agreement.short()} without them, {chosen.agreement.measure:.1%} with them); `phi` fixes them"
        )


def advice(done: Converted, levels: Levels, longest: int, method: CalibrationMethod) -> Iterator[str]:
    """Say what longer bursts or more timesteps are estimated to bring, where they would bring something.

    Parameters
    ----------
    done : Converted
    levels : Levels
    longest : int
        The longest burst that may be advised.
    method : {"light", "advanced", "none"}
        How it was calibrated: without advanced calibration that comes first, for it costs no operations.
    """
    if done.agreement.reaches(AIM):
        return
    if method != "advanced":
        yield f"{done.agreement.short()}: `calibrate` advanced comes nearer at about as many operations"
        return
    timesteps = done.timesteps
    now = levels.error(done.phi, timesteps)
    if now == 0:
        return
    offers = []
    phi = levels.lengthen(done.phi, done.agreement.needed_share() ** 2 * now, longest)
    if phi != done.phi:
        names = [name for name, n in phi.items() if n != done.phi[name]]
        estimate = done.agreement.estimated((levels.error(phi, timesteps) / now) ** 0.5)
        # Where the netlist holds, bursts do not grow by themselves.
        free = "" if done.agreement.holds else ", or without `phi` where they are needed"
        offers.append(
            f"bursts of up to {max(phi[n] for n in names)} in {_names(names, len(phi))} are estimated to give "
            f"{estimate:.0%} (`phi` {max(phi.values())}{free})"
        )
    factor = 2
    while factor < _MOST_TIMESTEPS and done.agreement.estimated(_ratio(levels, done, factor)) < AIM:
        factor *= 2
    estimate = done.agreement.estimated(_ratio(levels, done, factor))
    if estimate > done.agreement.measure:
        offers.append(f"`timesteps` {factor * timesteps} to give {estimate:.0%}")
    if offers:
        yield f"{done.agreement.short()}: {', '.join(offers)}"


def _ratio(levels: Levels, done: Converted, factor: int) -> float:
    """Return by what the error of the outputs would be multiplied with so many times the timesteps."""
    timesteps = done.timesteps
    return float((levels.error(done.phi, factor * timesteps) / levels.error(done.phi, timesteps)) ** 0.5)


def _names(names: list[str], of: int) -> str:
    """Name layers, or say that it is all of them."""
    if len(names) == of:
        return "all layers"
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more of {of} layers"
