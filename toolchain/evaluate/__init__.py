"""A netlist on a data set: one streaming run, whose observers score it, count, record, compare."""

from toolchain.evaluate.backends import Continuing, Golden, Lava, Reference, Stopping
from toolchain.evaluate.evaluation import Evaluation, count_operations, evaluate
from toolchain.evaluate.observers import ByName, InputClips, input_clips, operations, right, saturations
from toolchain.evaluate.outputs import netlist_outputs, network_outputs
from toolchain.evaluate.scoring import (
    accuracy_text,
    classes,
    decide,
    interval,
    interval_text,
    scored_readout,
    why_unscored,
)
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
    "Seen",
    "Stopping",
    "accuracy_text",
    "classes",
    "count_operations",
    "decide",
    "evaluate",
    "input_clips",
    "interval",
    "interval_text",
    "measure_traffic",
    "netlist_outputs",
    "network_outputs",
    "observe",
    "operations",
    "right",
    "saturations",
    "scored_readout",
    "stream",
    "why_unscored",
]
