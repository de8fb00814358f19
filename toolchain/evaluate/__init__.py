"""A netlist on a data set: one streaming run, whose observers score it, count, record, compare."""

from toolchain.evaluate.backends import Golden, Lava, Reference, Stopping
from toolchain.evaluate.evaluation import Evaluation, count_operations, evaluate
from toolchain.evaluate.observers import ByName, decide, operations, right, saturations
from toolchain.evaluate.stream import Backend, BatchRun, Observer, Samples, Seen, observe, stream
from toolchain.evaluate.traffic import measure_traffic

__all__ = [
    "Backend",
    "BatchRun",
    "ByName",
    "Evaluation",
    "Golden",
    "Lava",
    "Observer",
    "Reference",
    "Samples",
    "Seen",
    "Stopping",
    "count_operations",
    "decide",
    "evaluate",
    "measure_traffic",
    "observe",
    "operations",
    "right",
    "saturations",
    "stream",
]
