"""Sensitivity Spike Compression: thresholds raised by rho, fewest operations within a tolerance.

The sum of single-layer sensitivities promises too much: errors compound. So the surrogate only
proposes; each proposal is built, its biases calibrated, and the whole network measured on data kept
for that. The surrogate's allowance is then narrowed (bisection) to the greatest one whose network
keeps the tolerance as measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from toolchain.display import Progress, silent
from toolchain.netlist import SensitivityTable
from toolchain.netlist.provenance import CompressionRecord, Predicted, Trial
from toolchain.network import SpikingNetwork
from toolchain.search.measure import Judge
from toolchain.search.pareto import pareto_frontier
from toolchain.search.trials import Found, JudgedNetwork, Trials, WithinTolerance

#: Threshold factors of the appendix: 1 to 10 in steps of 0.5.
RHO = tuple(float(r) for r in np.arange(1.0, 10.01, 0.5))
#: Networks that are built and measured.
_TRIALS = 7


def search_compression(
    table: SensitivityTable,
    start: JudgedNetwork,
    build: Callable[[Mapping[str, float]], SpikingNetwork],
    judge: Judge,
    tolerance: float,
    *,
    progress: Progress = silent,
) -> Found[CompressionRecord]:
    """Choose rho of every layer.

    Parameters
    ----------
    table : SensitivityTable
        Settings are rho; the base is 1 in every layer.
    start : JudgedNetwork
        The calibrated network without compression.
    build : callable
        Raises the thresholds and calibrates.
    judge : Judge
    tolerance : float
        Greatest measured increase of the divergence over `start`, at least 0.
    progress : Progress
    """
    # A layer that measured better than the base did so by chance: it is no allowance for others.
    frontier = pareto_frontier(list(table.operations), list(np.maximum(table.increase, 0.0)))
    # From the whole tolerance down; the surrogate is never trusted beyond it.
    low, high, allowance = 0.0, tolerance, tolerance
    with progress("candidates of spike compression", _TRIALS) as advance:
        trials = Trials(judge, WithinTolerance(start.measured.divergence + tolerance), start, advance)
        for _ in range(_TRIALS):
            node = frontier.within_loss(allowance)
            rho = tuple(table.settings[i] for i in frontier.choice[node])
            if rho in {trial.rho for trial in trials.done}:
                break
            predicted = Predicted(float(frontier.loss[node]), float(frontier.cost[node]))
            spiking = build(dict(zip(table.layers, rho, strict=True)))
            if not trials.attempt(spiking, partial(Trial, predicted=predicted, rho=rho)):
                high = allowance
            elif allowance >= high:
                break
            else:
                low = allowance
            allowance = (low + high) / 2
    best = trials.best or start
    chosen = {name: best.spiking.firing[name].rho for name in table.layers}
    record = CompressionRecord(tolerance, start.measured, best.measured, tuple(trials.done), chosen)
    return Found(best.spiking, best.measured, record)
