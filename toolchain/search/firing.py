"""Firing-pattern search: the longest burst of every layer, within a budget of operations.

Algorithm 1 of the appendix of Wang et al. (AAAI 2025) on sensitivities measured one layer at a time. The
sum of single-layer sensitivities is a surrogate: several nodes of its frontier are built, calibrated and
measured as a whole on data that neither table nor calibration has seen, and the best one that keeps
the budget as measured wins; uniform phi is one of the candidates where it keeps the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from toolchain.display import Progress, silent
from toolchain.netlist import InputError, SensitivityTable
from toolchain.netlist.provenance import FiringRecord, Predicted, Trial
from toolchain.network import SpikingNetwork
from toolchain.search.measure import Judge
from toolchain.search.pareto import pareto_frontier
from toolchain.search.trials import Found, JudgedNetwork, Trials, WithinBudget

#: Share of the budget that the surrogate may spend, one candidate each.
SHARES = (1.0, 0.95, 0.9)
#: A candidate that spends more than the budget as measured is tightened this often.
_TIGHTENINGS = 3


def search_firing(
    table: SensitivityTable,
    uniform: JudgedNetwork,
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
    uniform : JudgedNetwork
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
    limit = WithinBudget(budget * uniform.measured.operations)
    predicted_uniform = float(np.take_along_axis(table.operations, table.base[:, None], axis=1).sum())
    least = table.operations.min(axis=1).sum()
    if least / predicted_uniform > budget:
        raise InputError("budget", f"{budget:g} found, the least feasible one is {least / predicted_uniform:.4g}")
    with progress("candidates of the firing-pattern search", len(SHARES) * (1 + _TIGHTENINGS)) as advance:
        trials = Trials(judge, limit, uniform, advance)
        for share in SHARES:
            aim = share * budget * predicted_uniform
            for _ in range(1 + _TIGHTENINGS):
                if aim < least:
                    break
                frontier = pareto_frontier(list(table.operations), list(table.increase), budget=aim)
                node = frontier.within_cost(aim)
                phi = tuple(int(table.settings[i]) for i in frontier.choice[node])
                if phi in {trial.phi for trial in trials.done}:
                    break
                predicted = Predicted(float(frontier.loss[node]), float(frontier.cost[node]))
                spiking = build(dict(zip(table.layers, phi, strict=True)))
                if trials.attempt(spiking, partial(Trial, predicted=predicted, phi=phi)):
                    break
                # By as much as it overspent, and a little more: settings are few, and the next one may spend as much.
                aim *= 0.99 * limit.operations / trials.last.operations
    best = trials.within_budget(budget, uniform.measured)
    chosen = {name: best.spiking.firing[name].phi for name in table.layers}
    record = FiringRecord(budget, best.measured, tuple(trials.done), uniform.measured, chosen)
    return Found(best.spiking, best.measured, record)
