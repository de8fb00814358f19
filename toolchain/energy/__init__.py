"""Operations of a run as exact counts, and what they cost at published prices."""

from toolchain.energy.counting import Synapses, count, synapses, weigh
from toolchain.energy.counts import ConnectionCounts, Counts, PopulationCounts, Weights
from toolchain.energy.model import estimate_energy
from toolchain.energy.neurobench import neurobench
from toolchain.energy.on_targets import TargetEnergy, Term, price_on_targets
from toolchain.energy.prices import Price, Prices, read_prices
from toolchain.energy.readings import (
    BreakEven,
    Omission,
    Reading,
    paper_energy_by_timestep,
    priced,
    sops_by_timestep,
)
from toolchain.energy.result import (
    EnergyReport,
    PopulationEnergy,
    energy_text,
    price_list,
    quantity,
    reading_groups,
    shown_energy,
)

__all__ = [
    "BreakEven",
    "ConnectionCounts",
    "Counts",
    "EnergyReport",
    "Omission",
    "PopulationCounts",
    "PopulationEnergy",
    "Price",
    "Prices",
    "Reading",
    "Synapses",
    "TargetEnergy",
    "Term",
    "Weights",
    "count",
    "energy_text",
    "estimate_energy",
    "neurobench",
    "paper_energy_by_timestep",
    "price_list",
    "price_on_targets",
    "priced",
    "quantity",
    "read_prices",
    "reading_groups",
    "shown_energy",
    "sops_by_timestep",
    "synapses",
    "weigh",
]
