"""Search: sensitivities, firing patterns, spike compression, and prices per channel."""

from toolchain.search.cache import MeasurementCache, default_folder
from toolchain.search.channels import ChannelSearch
from toolchain.search.layers import LayerSearch
from toolchain.search.measure import Judge
from toolchain.search.pareto import Frontier, pareto_frontier
from toolchain.search.sensitivity import Measuring, measure_sensitivities
from toolchain.search.workbench import Base, Sensitivity, Workbench

__all__ = [
    "Base",
    "ChannelSearch",
    "Frontier",
    "Judge",
    "LayerSearch",
    "MeasurementCache",
    "Measuring",
    "Sensitivity",
    "Workbench",
    "default_folder",
    "measure_sensitivities",
    "pareto_frontier",
]
