"""Search: sensitivities, firing patterns, spike compression, and costs per channel."""

from toolchain.search.cache import MeasurementCache, default_folder
from toolchain.search.channels import ChannelSearch
from toolchain.search.layers import LayerSearch
from toolchain.search.measure import Judge
from toolchain.search.pareto import Frontier, pareto_frontier
from toolchain.search.sensitivity import Measuring, measure_sensitivities
from toolchain.search.trials import Found, JudgedNetwork, Trials
from toolchain.search.workbench import BaseNetwork, Sensitivity, Workbench

__all__ = [
    "BaseNetwork",
    "ChannelSearch",
    "Found",
    "Frontier",
    "Judge",
    "JudgedNetwork",
    "LayerSearch",
    "MeasurementCache",
    "Measuring",
    "Sensitivity",
    "Trials",
    "Workbench",
    "default_folder",
    "measure_sensitivities",
    "pareto_frontier",
]
