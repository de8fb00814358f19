"""How many samples a unit is calibrated on, and how many run through it."""

import torch
from torch import nn

from toolchain.calibrate.enough import LEAST, POSITIONS_PER_WEIGHT, enough_samples, running_samples
from toolchain.frontend import read_module


class Net(nn.Module):
    """Many positions, then one for 36 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 36)
        self.last = nn.Linear(36, 2)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)).flatten(1))))


def test_units_with_many_weights_and_few_positions_take_more_samples():
    network = read_module(Net().eval(), (1, 8, 8))
    counts = enough_samples(network, 10_000, fitted=True)
    _, first, second, last = (unit.name for unit in network.units)
    assert counts[first] == LEAST
    assert counts[second] == POSITIONS_PER_WEIGHT * 144
    assert counts[last] == POSITIONS_PER_WEIGHT * 36
    running = running_samples(network, counts)
    # What a later unit reads has run through all before it.
    assert [running[name] for name in (first, second, last)] == [1152, 1152, 288]


def test_biases_need_few_and_no_more_than_there_are():
    network = read_module(Net().eval(), (1, 8, 8))
    assert set(enough_samples(network, 10_000, fitted=False).values()) == {LEAST}
    assert set(enough_samples(network, 100, fitted=True).values()) == {100}
