"""Quantise a spiking network, population by population in forward order.

Forward, because what a population's spikes stand for once its threshold is rounded goes into the weights behind it.
Calibration uses `toolchain.quantize.units` to work on one population at a time.
"""

from __future__ import annotations

from dataclasses import replace

from toolchain.netlist import Netlist, Provenance
from toolchain.network import SpikingNetwork
from toolchain.quantize.precision import Precision, check_precision
from toolchain.quantize.remarks import summed_up
from toolchain.quantize.units import quantize_source, quantize_unit


def quantize(
    spiking: SpikingNetwork, precision: Precision | None = None, provenance: Provenance | None = None
) -> Netlist:
    """Quantise a whole spiking network.

    Parameters
    ----------
    spiking : SpikingNetwork
    precision : Precision, optional
        8-bit weights without a target by default.
    provenance : Provenance, optional
        Recorded in the netlist, with the roundings that were forced as its notes.

    Returns
    -------
    Netlist

    Raises
    ------
    TargetError
        When a number does not fit the target's fields.
    NetlistError
        When neurons with different thresholds meet in one channel of a weight.
    """
    precision = precision or Precision()
    sent = {n: f.phi if spiking.radix is None else spiking.radix.base - 1 for n, f in spiking.firing.items()}
    check_precision(precision, sent)
    units = [quantize_source(spiking)]
    sources = {units[0].population.name: units[0].population}
    amplitudes = {units[0].population.name: units[0].amplitude}
    for unit in spiking.network.units[1:]:
        units.append(quantize_unit(spiking, unit.name, sources, amplitudes, precision))
        sources[unit.name], amplitudes[unit.name] = units[-1].population, units[-1].amplitude
    notes = tuple(summed_up(remark for unit in units for remark in unit.remarks))
    netlist = Netlist(
        populations=tuple(u.population for u in units),
        connections=tuple(c for u in units for c in u.connections),
        timesteps=spiking.timesteps,
        weight_bits=precision.weight_bits,
        membrane_bits=precision.membrane_bits,
        provenance=replace(provenance or Provenance(), notes=notes),
    )
    return netlist if spiking.radix is None else netlist.spelled(spiking.radix)
