"""Run netlists on Lava: our own Processes, in a worker process that can be ended.

Importing this package imports no Lava; a run that finds none says so.
"""

from hw_targets.lava_runtime.report import LavaRun, LavaTiming, ProcessTime, add_timings
from hw_targets.lava_runtime.run import measure_on_lava, run_on_lava
from hw_targets.lava_runtime.shim import lava_is_installed

__all__ = [
    "LavaRun",
    "LavaTiming",
    "ProcessTime",
    "add_timings",
    "lava_is_installed",
    "measure_on_lava",
    "run_on_lava",
]
