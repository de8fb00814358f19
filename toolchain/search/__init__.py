"""Search: sensitivities, firing patterns, spike compression, and prices per channel."""

from toolchain.search.cache import MeasurementCache, default_folder
from toolchain.search.measure import Judge, Measured, reference_outputs
from toolchain.search.pareto import Frontier, pareto_frontier
from toolchain.search.sensitivity import Measuring, SensitivityTable, measure_sensitivities
from toolchain.search.workbench import Base, Sensitivity, Workbench

__all__ = [
    "Base",
    "Frontier",
    "Judge",
    "Measured",
    "MeasurementCache",
    "Measuring",
    "Sensitivity",
    "SensitivityTable",
    "Workbench",
    "default_folder",
    "measure_sensitivities",
    "pareto_frontier",
    "reference_outputs",
]
