"""The loop of every search, on measurements written down here."""

from functools import partial
from types import SimpleNamespace

import pytest

from toolchain.netlist import InputError, Measured
from toolchain.netlist.provenance import Trial
from toolchain.search import ChannelSearch, LayerSearch
from toolchain.search.trials import JudgedNetwork, Trials, WithinBudget, WithinTolerance

#: A network is its name here; the judge knows what each measures: divergence and operations.
MEASURED = {
    "start": (1.0, 100.0),
    "cheap": (2.0, 50.0),
    "cheaper": (1.5, 40.0),
    "exact": (0.5, 120.0),
    "at the limit": (0.9, 80.0),
}
JUDGE = SimpleNamespace(measure=lambda name: Measured(MEASURED[name][0], 1.0, MEASURED[name][1]))
START = JudgedNetwork("start", JUDGE.measure("start"))


def after(limit, names, start=START):
    """Return the trials of a search that proposed these networks, and how often it reported progress."""
    calls = []
    trials = Trials(JUDGE, limit, start, lambda: calls.append(None))
    allowed = [trials.attempt(name, partial(Trial, predicted_operations=1.0)) for name in names]
    assert allowed == [limit.allows(JUDGE.measure(name)) for name in names]
    assert [trial.measured for trial in trials.done] == [JUDGE.measure(name) for name in names]
    assert len(calls) == len(names)
    return trials


def test_within_a_budget_the_least_divergence_wins():
    trials = after(WithinBudget(80.0), ["cheap", "cheaper", "exact", "at the limit", "cheap"])
    assert trials.best.spiking == "at the limit"
    assert trials.last == JUDGE.measure("cheap")
    assert trials.within_budget(0.8, START.measured) is trials.best


def test_within_a_tolerance_the_fewest_operations_win():
    trials = after(WithinTolerance(1.5), ["cheap", "exact", "cheaper", "at the limit"])
    assert trials.best.spiking == "cheaper"


@pytest.mark.parametrize("limit", [WithinBudget(100.0), WithinTolerance(1.0)])
def test_the_start_stands_where_nothing_is_better(limit):
    assert after(limit, ["cheap", "cheaper"]).best is START


def test_a_budget_that_nothing_kept_names_the_least_that_was_spent():
    trials = after(WithinBudget(10.0), ["cheap", "cheaper", "exact"])
    assert trials.best is None
    with pytest.raises(InputError, match=r"^budget: 0.1 cannot be kept .*least feasible one is 0.4$"):
        trials.within_budget(0.1, START.measured)


@pytest.mark.parametrize("search", [ChannelSearch, LayerSearch])
def test_limits_that_no_network_can_keep_are_refused_at_once(search):
    for budget in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"^budget: .* expected a positive share"):
            search(4, 8, budget=budget)
    for tolerance in (-1.0, float("nan")):
        with pytest.raises(InputError, match=r"^tolerance: .* the least feasible one is 0$"):
            search(4, 8, tolerance=tolerance)
