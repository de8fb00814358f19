"""Firing-pattern search: the longest burst of every layer, within a budget of operations.

Algorithm 1 of the appendix of Wang et al. (AAAI 2025) on sensitivities measured one layer at a time. The
sum of single-layer sensitivities is a surrogate: several nodes of its frontier are built, calibrated and
measured as a whole on data that neither table nor calibration has seen, and the best one that keeps
the budget as measured wins; uniform phi is one of the candidates where it keeps the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from toolchain.display import Progress, silent
from toolchain.netlist import InputError, Measured, SensitivityTable
from toolchain.netlist.provenance import CompressionRecord, FiringRecord, Predicted, SearchRecord, Trial
from toolchain.network import SpikingNetwork
from toolchain.search.measure import Judge
from toolchain.search.pareto import pareto_frontier

#: Share of the budget that the surrogate may spend, one candidate each.
SHARES = (1.0, 0.95, 0.9)
#: A candidate that spends more than the budget as measured is tightened this often.
_TIGHTENINGS = 3


Record = TypeVar("Record", FiringRecord, CompressionRecord, SearchRecord)


@dataclass(frozen=True, eq=False)
class Found(Generic[Record]):
    """A searched network, what was predicted and what was measured.

    Parameters
    ----------
    spiking : SpikingNetwork
    measured : Measured
        On data kept for that.
    record : FiringRecord, CompressionRecord or SearchRecord
        For the netlist's provenance.
    """

    spiking: SpikingNetwork
    measured: Measured
    record: Record


def search_firing(
    table: SensitivityTable,
    uniform: SpikingNetwork,
    build: Callable[[Mapping[str, int]], SpikingNetwork],
    judge: Judge,
    budget: float,
    *,
    progress: Progress = silent,
) -> Found[FiringRecord]:
    """Choose phi of every layer.

    Parameters
    ----------
    table : SensitivityTable
        Settings are phi; the base is the target phi in every layer.
    uniform : SpikingNetwork
        The calibrated network with the target phi everywhere (BurstFire).
    build : callable
        Thresholds and calibration for chosen phi.
    judge : Judge
    budget : float
        Relative to the operations of `uniform`.
    progress : Progress

    Raises
    ------
    InputError
        When no choice keeps the budget; the message names the least feasible one.
    """
    baseline = judge.measure(uniform)
    limit = budget * baseline.operations
    predicted_uniform = float(np.take_along_axis(table.operations, table.base[:, None], axis=1).sum())
    least = float(table.operations.min(axis=1).sum()) / predicted_uniform
    if least > budget:
        raise InputError("budget", f"{budget:g} found, the least feasible one is {least:.4g}")
    history: list[Trial] = []
    best: tuple[SpikingNetwork, Measured, list[int]] | None = None
    if budget >= 1:
        best = (uniform, baseline, [int(table.settings[i]) for i in table.base])
    tried: set[tuple[int, ...]] = set()
    with progress("candidates of the firing-pattern search", len(SHARES)) as advance:
        for share in SHARES:
            aim = share * budget * predicted_uniform
            for _ in range(1 + _TIGHTENINGS):
                if aim < table.operations.min(axis=1).sum():
                    break
                frontier = pareto_frontier(list(table.operations), list(table.increase), budget=aim)
                node = frontier.within_cost(aim)
                phi = tuple(int(table.settings[i]) for i in frontier.choice[node])
                if phi in tried:
                    break
                tried.add(phi)
                spiking = build(dict(zip(table.layers, phi, strict=True)))
                measured = judge.measure(spiking)
                predicted = Predicted(float(frontier.loss[node]), float(frontier.cost[node]))
                history.append(Trial(measured, predicted=predicted, phi=phi))
                if measured.operations <= limit:
                    if best is None or measured.divergence < best[1].divergence:
                        best = (spiking, measured, list(phi))
                    break
                aim *= 0.99 * limit / measured.operations
            advance()
    if best is None:
        cheapest = min(h.measured.operations for h in history) / baseline.operations
        raise InputError("budget", f"{budget:g} cannot be kept as measured, the least reached is {cheapest:.4g}")
    return Found(
        best[0],
        best[1],
        FiringRecord(budget, best[1], tuple(history), baseline, dict(zip(table.layers, best[2], strict=True))),
    )
