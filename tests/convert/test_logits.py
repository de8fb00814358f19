"""Decisions alike: counted, and expected of noise where the ANN is less sure."""

import numpy as np
import pytest

from toolchain.convert.logits import Logits

#: Deviations of an estimate from what so many decisions count.
SAMPLES, CHANCE = 200_000, 0.002


def noisy(margins, noise, gain=1.0, classes=3, seed=0):
    """Classes in any order, the two greatest apart by the margins, with noise of this deviation in the difference."""
    rng = np.random.default_rng(seed)
    ann = np.zeros((len(margins), classes))
    ann[:, 0], ann[:, 1], ann[:, 2:] = margins, 0, -100
    ann = rng.permuted(ann, axis=1)
    return Logits(ann, gain * ann + rng.normal(0, noise / np.sqrt(2), ann.shape))


@pytest.mark.parametrize(("noise", "gain"), [(0.1, 1.0), (0.3, 1.0), (0.3, 0.5), (0.2, 2.0)])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_of_margins_spread_evenly_what_is_expected_is_what_is_alike(noise, gain, share):
    logits = noisy(np.random.default_rng(1).uniform(0, 2, SAMPLES), noise, gain)
    assert logits.expected(share) == pytest.approx(logits.alike(share), abs=CHANCE)


def test_an_ann_that_is_sure_of_all_samples_does_not_hide_the_noise():
    sure, noise = np.random.default_rng(1).uniform(8, 12, SAMPLES), 1.5
    logits = noisy(sure, noise)
    assert logits.alike() == 1
    less_sure = noisy(np.random.default_rng(1).uniform(0, 20, SAMPLES), noise)
    assert logits.expected() == pytest.approx(less_sure.alike(), abs=CHANCE)
    assert logits.expected() < 0.975


def test_one_logit_is_held_against_zero():
    rng = np.random.default_rng(1)
    ann = rng.uniform(-3, 3, (SAMPLES, 1))
    logits = Logits(ann, ann + rng.normal(0, 0.5, ann.shape))
    assert logits.expected() == pytest.approx(logits.alike(), abs=CHANCE)


def test_what_decides_nothing_or_the_contrary():
    ann = np.eye(4)
    assert Logits(ann, ann).expected() == 1
    assert Logits(ann, -ann).expected() == 0
    assert Logits(np.zeros((5, 3)), np.ones((5, 3))).expected() == 1
