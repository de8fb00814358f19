"""Ridge regression: both forms solve the same equations, and a change that does no good is none."""

import numpy as np
import pytest
import torch

from sim.threads import each_alone
from toolchain.calibrate.ridge import KeptRows, Moments, Rows, best_change, equations


def rows(count, seed, groups=2, inputs=30, outputs=5, noise=0.1):
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(0).normal(size=(groups, inputs, outputs))
    x = rng.normal(1.0, 1.0, (groups, count, inputs))
    errors = x @ weights + 0.5 + noise * rng.normal(size=(groups, count, outputs))
    return Rows(torch.from_numpy(x).float(), torch.from_numpy(errors).float())


def parts(whole, size):
    starts = range(0, len(whole), size)
    return [Rows(whole.inputs[:, i : i + size], whole.errors[:, i : i + size]) for i in starts]


@pytest.mark.parametrize("count", [20, 200])
def test_both_forms_give_the_same_change(count):
    whole = rows(count, 1)
    changes = []
    for form in (KeptRows(), Moments(2, 30, 5)):
        for part in parts(whole, 16):
            form.add(form.digest(part))
        system = form.system()
        changes.append(system.solve(system.factor(0.1)))
    kept, summed = changes
    scale = float(kept.weights.abs().max())
    torch.testing.assert_close(kept.weights, summed.weights, rtol=0, atol=1e-3 * scale)
    torch.testing.assert_close(kept.bias, summed.bias, rtol=0, atol=1e-3 * scale)


@pytest.mark.parametrize("count", [300, 500, 700, 900, 1100])
def test_equations_do_not_depend_on_the_number_of_threads(count):
    """Sums that are large enough to be shared between cores."""
    whole, before = rows(count, count, 1, 1000, 8), torch.get_num_threads()
    systems = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            form = equations(1, 1000, 8, count)
            form.add(each_alone(form.digest, [whole])[0])
            systems.append(form.system())
        finally:
            torch.set_num_threads(before)
    for field in ("matrix", "right", "energy", "mean_input", "mean_error"):
        assert torch.equal(*(getattr(system, field) for system in systems)), field


def test_the_smaller_form_is_chosen():
    assert isinstance(equations(1, 100, 10, 99), KeptRows)
    assert isinstance(equations(1, 100, 10, 100), Moments)


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_inputs_that_are_all_alike_or_zero_have_a_solution(scale):
    form = Moments(1, 4, 2)
    form.add(form.digest(Rows(torch.full((1, 50, 4), scale), torch.ones(1, 50, 2))))
    system = form.system()
    change = system.solve(system.factor(1e-3))
    assert torch.isfinite(change.weights).all()
    torch.testing.assert_close(change.bias + scale * change.weights.sum(1), torch.ones(1, 2), rtol=1e-3, atol=1e-3)


def test_a_change_must_do_good_on_rows_that_the_fit_has_not_seen():
    form = Moments(2, 30, 5)
    form.add(form.digest(rows(400, 1)))
    found = best_change(form.system(), rows(100, 2), (1e-3, 1.0))
    assert found is not None
    assert found.left_over(rows(100, 2), slice(None)) < 0.1 * float(rows(100, 2).errors.square().sum())
    other = rows(100, 2)
    assert best_change(form_of(rows(400, 1)), Rows(other.inputs, -other.errors), (1e-3, 1.0)) is None


def form_of(whole):
    form = Moments(2, 30, 5)
    form.add(form.digest(whole))
    return form.system()
