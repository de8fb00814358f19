"""A netlist on a data set: one streaming run, whose observers score it, count, record, compare."""

from toolchain.evaluate.backends import Continuing, Golden, Lava, Reference, Stopping
from toolchain.evaluate.evaluation import Evaluation, count_operations, evaluate
from toolchain.evaluate.observers import ByName, InputClips, input_clips, operations, saturations
from toolchain.evaluate.outputs import netlist_outputs, network_outputs, network_score, network_values
from toolchain.evaluate.scoring import Scoring, own_units, scoring
from toolchain.evaluate.stream import Backend, BatchRun, Observer, Samples, Seen, observe, stream
from toolchain.evaluate.traffic import measure_traffic

__all__ = [
    "Backend",
    "BatchRun",
    "ByName",
    "Continuing",
    "Evaluation",
    "Golden",
    "InputClips",
    "Lava",
    "Observer",
    "Reference",
    "Samples",
    "Scoring",
    "Seen",
    "Stopping",
    "count_operations",
    "evaluate",
    "input_clips",
    "measure_traffic",
    "netlist_outputs",
    "network_outputs",
    "network_score",
    "network_values",
    "observe",
    "operations",
    "own_units",
    "saturations",
    "scoring",
    "stream",
]
