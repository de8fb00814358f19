"""The Pareto frontier of independent choices: one option per layer, costs and losses add up.

Algorithm 1 of the appendix of Wang et al. (AAAI 2025): layer by layer, extend every kept node by every
option, sort by cost, and keep a node only if its loss is strictly below that of every cheaper one and
its cost is within the budget. Exact: a dropped node is dominated however the later layers are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.netlist import InputError


@dataclass(frozen=True, eq=False)
class Frontier:
    """Non-dominated ways to choose one option per layer.

    Parameters
    ----------
    cost, loss : ndarray (K,), float64
        Cost ascending, loss strictly descending.
    choice : ndarray (K, layers), int64
        Index of the option that each layer takes.
    """

    cost: np.ndarray
    loss: np.ndarray
    choice: np.ndarray

    def within_cost(self, budget: float) -> int:
        """Return the position of the node of least loss whose cost is at most `budget`.

        Raises
        ------
        InputError
            When the cheapest node costs more; the message names its cost.
        """
        position = int(np.searchsorted(self.cost, budget, side="right")) - 1
        if position < 0:
            raise InputError("budget", f"{budget:g} found, the least feasible one is {self.cost[0]:g}")
        return position

    def within_loss(self, tolerance: float) -> int:
        """Return the position of the cheapest node whose loss is at most `tolerance`.

        Raises
        ------
        InputError
            When every node loses more; the message names the least loss.
        """
        position = int(np.argmax(self.loss <= tolerance))
        if self.loss[position] > tolerance:
            raise InputError("tolerance", f"{tolerance:g} found, the least feasible one is {self.loss[-1]:g}")
        return position


def pareto_frontier(costs: Sequence[np.ndarray], losses: Sequence[np.ndarray], *, budget: float = np.inf) -> Frontier:
    """Return the frontier of sums of costs and losses.

    Parameters
    ----------
    costs, losses : sequence of ndarray (options,), float
        One pair per layer.
    budget : float
        Nodes that cannot stay within it, whatever the later layers take, are left out.

    Returns
    -------
    Frontier

    Raises
    ------
    InputError
        When no choice stays within the budget; the message names the least feasible one.

    Examples
    --------
    >>> frontier = pareto_frontier([np.array([1, 2]), np.array([1, 3])], [np.array([5, 1]), np.array([2, 0])])
    >>> frontier.cost, frontier.loss
    (array([2., 3., 5.]), array([7., 3., 1.]))
    """
    least_rest = np.append(np.cumsum([float(np.min(c)) for c in costs][::-1])[::-1], 0.0)
    if least_rest[0] > budget:
        raise InputError("budget", f"{budget:g} found, the least feasible one is {least_rest[0]:g}")
    cost, loss = np.zeros(1), np.zeros(1)
    parents: list[np.ndarray] = []
    picks: list[np.ndarray] = []
    for layer, (c, s) in enumerate(zip(costs, losses, strict=True)):
        total_cost = (cost[:, None] + np.asarray(c, np.float64)).ravel()
        total_loss = (loss[:, None] + np.asarray(s, np.float64)).ravel()
        # Rounding of sums must not drop the one node that just meets the budget.
        affordable = np.flatnonzero(total_cost + least_rest[layer + 1] <= budget * (1 + 1e-12))
        order = affordable[np.lexsort((total_loss[affordable], total_cost[affordable]))]
        cheaper = np.minimum.accumulate(np.append(np.inf, total_loss[order]))[:-1]
        kept = order[total_loss[order] < cheaper]
        parents.append(kept // len(c))
        picks.append(kept % len(c))
        cost, loss = total_cost[kept], total_loss[kept]
    choice = np.empty((len(cost), len(costs)), np.int64)
    node = np.arange(len(cost))
    for layer in reversed(range(len(costs))):
        choice[:, layer] = picks[layer][node]
        node = parents[layer][node]
    return Frontier(cost, loss, choice)
