"""Operations of a run as exact counts, and what they cost at published prices."""

from toolchain.energy.counts import ConnectionCounts, Counts, PopulationCounts, Weights, count
from toolchain.energy.model import estimate_energy
from toolchain.energy.neurobench import neurobench
from toolchain.energy.on_targets import TargetEnergy, Term, price_on_targets
from toolchain.energy.prices import Price, Prices, read_prices
from toolchain.energy.readings import BreakEven, Omission, Reading
from toolchain.energy.result import EnergyReport, LayerEnergy, energy_text, quantity

__all__ = [
    "BreakEven",
    "ConnectionCounts",
    "Counts",
    "EnergyReport",
    "LayerEnergy",
    "Omission",
    "PopulationCounts",
    "Price",
    "Prices",
    "Reading",
    "TargetEnergy",
    "Term",
    "Weights",
    "count",
    "energy_text",
    "estimate_energy",
    "neurobench",
    "price_on_targets",
    "quantity",
    "read_prices",
]
