"""From counts to energies: every energy is an exact product of an integer count and a published price."""

from __future__ import annotations

from decimal import Decimal

from toolchain.energy.counts import Counts, PopulationCounts
from toolchain.energy.on_targets import price_on_targets
from toolchain.energy.prices import Prices, read_prices
from toolchain.energy.readings import (
    baselines,
    break_even,
    first_layer_runs,
    graded,
    omissions,
    snn_readings,
)
from toolchain.energy.result import EnergyReport, PopulationEnergy


def estimate_energy(counts: Counts, prices: Prices | None = None) -> EnergyReport:
    """Price the counts of a run.

    Parameters
    ----------
    counts : Counts
    prices : mapping of str to Price, optional
        adafire's own list by default.

    Returns
    -------
    EnergyReport

    Notes
    -----
    The paper's model (eq. 3 of the appendix of Wang et al., AAAI 2025)::

        E_SNN = 4.6 pJ * MAC(connections from the input) + 0.9 pJ * SOP(all others)
        E_ANN = 4.6 pJ * MAC(all connections)
    """
    prices = prices or read_prices()
    populations = tuple(_population(counts, p, prices) for p in counts.neurons)
    anns = baselines(counts, prices)
    return EnergyReport(
        counts=counts,
        populations=populations,
        snn=snn_readings(counts, prices),
        baselines=anns,
        other_targets=price_on_targets(counts, prices),
        break_even=break_even(counts, anns, prices),
        omissions=omissions(counts),
        prices=prices,
    )


def _population(counts: Counts, population: PopulationCounts, prices: Prices) -> PopulationEnergy:
    incoming = [c for c in counts.connections if c.target == population.name]
    spiking = [c for c in incoming if not c.from_input]
    largest = max(incoming, key=lambda c: c.macs, default=None)
    macs = counts.samples * sum(c.macs for c in incoming)
    first = first_layer_runs(counts) * sum(c.macs for c in incoming if c.from_input)
    sops, events = (sum(getattr(c, what) for c in spiking) for what in ("sops", "events"))
    mac = prices["fp32_mac"].value
    return PopulationEnergy(
        name=population.name,
        kind=population.kind if population.kind == "MaxPool" or largest is None else largest.kind,
        macs=macs,
        first_layer_macs=first,
        sops=sops,
        events=events,
        neuron_updates=population.neurons * counts.steps,
        energy=mac * first + prices["fp32_add"].value * sops,
        energy_graded=mac * first + sum((graded(c, prices) for c in spiking), Decimal(0)),
        energy_ann=mac * macs,
        energy_int8=prices["int8_mac"].value * macs,
    )
