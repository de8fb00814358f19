"""Channels whose spikes must stand for the same: found from the operators, against sums done by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.frontend import read_module
from toolchain.netlist import Conv, Linear, Permute, Reshape, Slice, SumPool
from toolchain.network import meeting_channels, shared_amplitudes

NONE = ((0, 0), (0, 0))


def groups(labels):
    """The sets of channels that share, as a sorted list."""
    return sorted(sorted(np.flatnonzero(labels == g).tolist()) for g in np.unique(labels))


ALONE, ALL = [[0], [1], [2], [3]], [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        ((Conv(np.ones((2, 4, 3, 3)), (1, 1), NONE, (1, 1)),), ALONE),
        ((SumPool((2, 2), (2, 2), NONE), Reshape((16,)), Linear(np.ones((2, 16)))), ALONE),
        ((Permute((1, 0, 2)), Reshape((64,)), Linear(np.ones((2, 64)))), ALONE),
        ((Permute((1, 0, 2)), Conv(np.ones((2, 4, 1, 1)), (1, 1), NONE, (1, 1))), ALL),
        ((Permute((1, 2, 0)), SumPool((1, 4), (1, 4), NONE)), ALL),
        ((Reshape((2, 2, 16)), SumPool((2, 1), (2, 1), NONE)), [[0, 1], [2, 3]]),
        ((Slice(0, 1, 3), Reshape((1, 8, 4)), SumPool((2, 2), (2, 2), NONE)), [[0], [1, 2], [3]]),
    ],
)
def test_channels_meet_in_sums_and_shared_weights(operators, expected):
    assert groups(meeting_channels(operators, (4, 4, 4))) == expected


class Behind(nn.Module):
    """A convolution with 4 channels, and what a function makes of them."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 4, 3, padding=1), function

    def forward(self, x):
        return self.function(torch.relu(self.conv(x)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.conv2d(x, torch.ones(3, 4, 3, 3)), ALONE),
        (lambda x: F.linear(x.flatten(1), torch.ones(3, 256)), ALONE),
        (lambda x: F.linear(F.max_pool2d(x, 2).flatten(1), torch.ones(3, 64)), ALONE),
        (lambda x: x.sum(1), ALL),
        (lambda x: F.conv2d(F.pixel_shuffle(x, 2), torch.ones(3, 1, 3, 3)), ALL),
        (lambda x: F.conv2d(F.channel_shuffle(x, 2), torch.ones(4, 2, 1, 1), groups=2), ALONE),
        (lambda x: F.linear(x, torch.ones(3, 8)), ALL),
        (lambda x: F.linear(F.max_pool2d(x, 2), torch.ones(3, 4)), ALL),
        (lambda x: F.conv1d(x.flatten(2).reshape(-1, 2, 128), torch.ones(3, 2, 1)), [[0, 1], [2, 3]]),
    ],
)
def test_they_are_found_in_networks_through_maxima(function, expected):
    network = read_module(Behind(function).eval(), (2, 8, 8))
    assert groups(shared_amplitudes(network)["conv"]) == expected
