"""What the next sample may hold: thresholds leave room for it where samples say little of a channel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from toolchain.calibrate import CalibrationData, Goal, Thresholds
from toolchain.calibrate.histograms import BINS, Histogram, histogram
from toolchain.calibrate.records import record_error
from toolchain.calibrate.thresholds import choose_threshold
from toolchain.convert import Recipe, convert_network, measure_agreement
from toolchain.data import Dataset
from toolchain.frontend import read_module

_numbers = st.floats(0, 1e3, allow_subnormal=False)


@given(
    tops=arrays(np.float64, 5, elements=_numbers),
    limit=arrays(np.float64, (5, 3), elements=_numbers),
    active=arrays(np.float64, 5, elements=st.integers(0, 1000)),
)
def test_the_error_of_a_record_is_a_mean_over_all_tops(tops, limit, active):
    expected = (np.maximum(tops - limit[:, :, None], 0.0) ** 2).mean(axis=2) / (active[:, None] / 4 + 1)
    np.testing.assert_allclose(record_error(_seen(tops, active), limit), expected, rtol=1e-9, atol=1e-6)


def _seen(tops, active):
    """Return a histogram that counts so many active positions of four."""
    return Histogram(np.eye(1, BINS) * active[:, None], tops, 4)


def _layer(samples, quiet):
    """Return activations of 16 channels that reach about 4, the first of them rarely, and no more than `quiet`."""
    value = torch.rand(samples, 16, 4, 4, generator=torch.Generator().manual_seed(0)) * 4
    value[:, 0] *= quiet / 4 * (torch.arange(samples) % 10 == 0)[:, None, None]
    return value


def _reach(value):
    return 4 * choose_threshold(histogram(value), 4, Thresholds(8))


def test_a_channel_that_few_samples_know_reaches_as_far_as_its_layer():
    assert _reach(_layer(20, 0.2))[0] == pytest.approx(4.0, rel=0.2)


def test_many_samples_know_their_channel():
    """The same channel: its levels are worth more than one record."""
    assert _reach(_layer(20_000, 0.2))[0] == pytest.approx(0.2, rel=0.2)


def test_channels_that_reach_as_far_as_their_layer_keep_eq_13():
    np.testing.assert_allclose(_reach(_layer(200, 4.0)), 4.0, rtol=0.05)


def test_a_goal_counts_one_record_beside_its_samples():
    goal = Goal(np.array([2.0, 1.0]), np.ones(2), 0.0, _seen(np.array([1.0, 3.0]), np.array([4, 8])), 10)
    limit = np.array([1.0, 3.0])
    np.testing.assert_allclose(goal.error(np.array([[5.0, 6.0]]), limit[None]), [[2 * (5.0 + 1.0 / 10), 6.0]])


def test_a_class_that_calibration_never_saw_is_decided():
    """Inputs of 8 features, of which calibration sees 7 speak up: the last one would be clipped where it whispered."""
    network = read_module(nn.Sequential(_eye(), nn.ReLU(), _eye()).eval(), (8,))
    rng = np.random.default_rng(0)

    def samples(classes):
        x = rng.random((len(classes), 8)) * 0.2
        x[np.arange(len(classes)), classes] += 1 + rng.random(len(classes))
        return x.astype(np.float32)

    netlist = convert_network(network, Dataset("seen.npz", samples(np.arange(42) % 7)), Recipe())
    unseen = Dataset("unseen.npz", samples(np.full(40, 7)) + 0.5 * (np.arange(8) < 7).astype(np.float32))
    payload = torch.from_numpy(unseen.payloads(netlist.input))[:, None]
    found = measure_agreement(network, netlist, CalibrationData(torch.from_numpy(unseen.values), payload))
    assert found.decisions == 1.0


def _eye():
    linear = nn.Linear(8, 8)
    with torch.no_grad():
        linear.weight[:], linear.bias[:] = torch.eye(8), 0
    return linear
