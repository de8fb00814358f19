"""Sensitivity and cost of every layer at every setting: the table that Algorithm 1 searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.display import Progress, silent
from toolchain.netlist import InputError, SensitivityTable
from toolchain.network import Firing
from toolchain.search.cache import MeasurementCache
from toolchain.search.executor import measure_tasks
from toolchain.search.workbench import BaseNetwork
from toolchain.workers import check_executor

#: Fewer samples than this say little about a layer's sensitivity.
LEAST_SAMPLES = 256


@dataclass(frozen=True)
class Measuring:
    """Where and how sensitivities are measured.

    Parameters
    ----------
    samples : int
        At least 256.
    executor : str
        As `toolchain.workers.tasks.run_tasks` takes it.
    cache : MeasurementCache, optional
    """

    samples: int = LEAST_SAMPLES
    executor: str = "local"
    cache: MeasurementCache | None = None

    def __post_init__(self) -> None:
        check_executor(self.executor)


def measure_sensitivities(
    base: BaseNetwork,
    options: Mapping[str, Sequence[Firing]],
    settings: Sequence[float],
    positions: Sequence[int],
    measuring: Measuring,
    *,
    progress: Progress = silent,
) -> SensitivityTable:
    """Measure every layer at every setting.

    Parameters
    ----------
    base : BaseNetwork
    options : mapping of str to sequence of Firing
        Per layer, how it fires at each setting.
    settings : sequence of float
        What the options are called.
    positions : sequence of int
        Position of the base setting, per layer.
    measuring : Measuring
    progress : Progress

    Raises
    ------
    InputError
        When there are too few samples.
    """
    if len(base.data) < LEAST_SAMPLES:
        raise InputError(
            "calibration",
            f"{len(base.data)} samples found to measure sensitivities on, expected at least {LEAST_SAMPLES}",
            "give more data",
        )
    layers = tuple(options)
    tasks = [(name, firing) for name in layers for firing in options[name]]
    shape = (len(layers), len(settings))
    divergence, operations = np.full(shape, np.nan), np.full(shape, np.nan)
    with progress("sensitivities", len(tasks)) as advance:
        missing = []
        for index, task in enumerate(tasks):
            stored = measuring.cache.load(base.key, *task) if measuring.cache else None
            if stored is None:
                missing.append(index)
            else:
                divergence.flat[index], operations.flat[index] = stored.divergence, stored.operations
                advance()
        if missing:
            found = measure_tasks(base, [tasks[i] for i in missing], measuring.executor, measuring.cache)
            for position, measured in found:
                index = missing[position]
                divergence.flat[index], operations.flat[index] = measured.divergence, measured.operations
                advance()
    return SensitivityTable(
        layers, tuple(float(s) for s in settings), divergence, operations, np.asarray(positions, np.int64)
    )
