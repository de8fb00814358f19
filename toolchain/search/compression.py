"""Sensitivity Spike Compression: thresholds raised by rho, fewest operations within a tolerance.

The sum of single-layer sensitivities promises too much: errors compound. So the surrogate only
proposes; each proposal is built, its biases calibrated, and the whole network measured on data kept
for that. The surrogate's allowance is then narrowed (bisection) to the greatest one whose network
keeps the tolerance as measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from toolchain.display import Progress, silent
from toolchain.netlist import InputError, SensitivityTable
from toolchain.netlist.provenance import CompressionRecord, Predicted, Trial
from toolchain.network import SpikingNetwork
from toolchain.search.firing import Found
from toolchain.search.measure import Judge
from toolchain.search.pareto import pareto_frontier

#: Threshold factors of the appendix: 1 to 10 in steps of 0.5.
RHO = tuple(float(r) for r in np.arange(1.0, 10.01, 0.5))
#: Networks that are built and measured.
_TRIALS = 7


def search_compression(
    table: SensitivityTable,
    start: SpikingNetwork,
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
    start : SpikingNetwork
        The calibrated network without compression.
    build : callable
        Raises the thresholds and calibrates.
    judge : Judge
    tolerance : float
        Greatest measured increase of the divergence over `start`.
    progress : Progress

    Raises
    ------
    InputError
        When the tolerance is negative: not to compress costs 0.
    """
    if not tolerance >= 0:
        raise InputError("tolerance", f"{tolerance:g} found, the least feasible one is 0")
    before = judge.measure(start)
    # A layer that measured better than the base did so by chance: it is no allowance for others.
    frontier = pareto_frontier(list(table.operations), list(np.maximum(table.increase, 0.0)))
    # From the whole tolerance down; the surrogate is never trusted beyond it.
    low, high, allowance = 0.0, tolerance, tolerance
    best, best_measured, best_rho = start, before, [1.0] * len(table.layers)
    history: list[Trial] = []
    tried: set[tuple[float, ...]] = set()
    with progress("candidates of spike compression", _TRIALS) as advance:
        for _ in range(_TRIALS):
            node = frontier.within_loss(allowance)
            rho = tuple(table.settings[i] for i in frontier.choice[node])
            if rho in tried:
                break
            tried.add(rho)
            spiking = build(dict(zip(table.layers, rho, strict=True)))
            measured = judge.measure(spiking)
            predicted = Predicted(float(frontier.loss[node]), float(frontier.cost[node]))
            history.append(Trial(measured, predicted=predicted, rho=rho))
            if measured.divergence - before.divergence <= tolerance:
                low = allowance
                if measured.operations < best_measured.operations:
                    best, best_measured, best_rho = spiking, measured, list(rho)
                if allowance >= high:
                    break
            else:
                high = allowance
            allowance = (low + high) / 2
            advance()
    return Found(
        best,
        best_measured,
        CompressionRecord(
            tolerance, before, best_measured, tuple(history), dict(zip(table.layers, best_rho, strict=True))
        ),
    )
