"""Histograms of activations: what is counted, in one pass and in any order."""

import numpy as np
import pytest
import torch
from small_modules import ResidualCNN
from torch import nn

from toolchain.calibrate import collect_histograms
from toolchain.calibrate.histograms import BINS, Counting, histogram
from toolchain.frontend import read_module
from toolchain.netlist import InputError
from toolchain.network import activations


def _activations(samples, scale=1.0):
    drawn = torch.randn(samples, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return (drawn * torch.tensor([scale, 1e3 * scale, 0.0])[:, None, None]).clamp(0)


def test_every_activation_is_counted_within_a_bin_of_its_own():
    value = _activations(50)
    found = histogram(value)
    assert np.array_equal(found.top, value.amax((0, 2, 3)).double().numpy())
    for channel in range(3):
        values = np.sort(value[:, channel].flatten().double().numpy())
        values = values[values > 0]
        assert found.counts[channel].sum() == values.size
        centres = np.repeat(found.values[channel], found.counts[channel].astype(int))
        # Half a bin, and half of one of those that activations were counted in, which are finer.
        assert np.abs(centres - values).max(initial=0.0) <= found.top[channel] / BINS


@pytest.mark.parametrize("shape", [(7, 20_000), (3, 900, 2, 3), (2, 1, 9_000)])
def test_counts_are_of_every_channel_however_many(shape):
    """Against numpy, bin by bin: what is counted together is less than a sample here, or many of them."""
    value = torch.randn(shape, generator=torch.Generator().manual_seed(2)).clamp(0)
    found = histogram(value)
    for channel in range(0, shape[1], 97):
        values = value[:, channel].flatten().double().numpy()
        reach = 2.0 ** np.floor(np.log2(max(values.max(), 1e-9)) + 1)
        fine = np.histogram(values[values > 0], 2 * BINS, (0.0, reach))[0]
        centres = (np.arange(2 * BINS) + 0.5) / (2 * BINS) * reach
        bins = np.minimum((centres / max(values.max(), 1e-9) * BINS).astype(int), BINS - 1)
        assert np.array_equal(found.counts[channel], np.bincount(bins, fine, BINS))


@pytest.mark.parametrize("scale", [1e-42, 1e-33, 1e-12, 1e33])
def test_activations_of_any_size(scale):
    value = _activations(20, scale)
    found = histogram(value)
    assert np.array_equal(found.top, value.amax((0, 2, 3)).double().numpy())
    assert np.array_equal(found.counts.sum(1), (value > 0).sum((0, 2, 3)).numpy())


@pytest.mark.parametrize("scale", [1e-42, 1.0])
def test_the_order_of_samples_decides_nothing(scale):
    value = _activations(40, scale) * torch.logspace(-3, 3, 40)[:, None, None, None]
    seen = []
    for parts in (value.split(7), value.flip(0).split(3)):
        counting = Counting(3)
        for part in parts:
            assert counting.add(part)
        seen.append(counting.finish(25))
    assert np.array_equal(seen[0].counts, seen[1].counts)


def test_counts_of_chunks_are_those_of_all_at_once():
    network = read_module(ResidualCNN().eval(), (2, 8, 8))
    x = torch.randn(20, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    values = activations(network, x)
    for name, found in collect_histograms(network, x).items():
        assert np.array_equal(found.counts, histogram(values[name]).counts)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_no_numbers_are_refused(value):
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        module[0].bias[1] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        collect_histograms(read_module(module, (1, 2, 2)), torch.zeros(3, 1, 2, 2))
