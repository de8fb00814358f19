"""The verbs of the command line as functions: what `import adafire` offers.

Each is a thin face of the package that does the work, with files and names resolved. Data are whatever `dataset`
takes: a path, an array, a data set; a network is a module, or what SPEC of ``adafire convert`` names.
"""

from toolchain.api.arguments import Decode, Network, dataset, decoder, original
from toolchain.api.conversion import convert
from toolchain.api.costs import energy, info, report
from toolchain.api.files import export, read, write
from toolchain.api.hardware import check, place, targets
from toolchain.api.runs import ann_outputs, outputs, simulate, verify

__all__ = [
    "Decode",
    "Network",
    "ann_outputs",
    "check",
    "convert",
    "dataset",
    "decoder",
    "energy",
    "export",
    "info",
    "original",
    "outputs",
    "place",
    "read",
    "report",
    "simulate",
    "targets",
    "verify",
    "write",
]
