"""Layers without an activation between them, and channels that meet: they convert as well as others, at every width."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.calibrate import CalibrationData
from toolchain.convert import Recipe, convert_network, measure_agreement
from toolchain.data import Dataset
from toolchain.frontend import read_module


def conv(i, o, k=3, **options):
    return nn.Conv2d(i, o, k, padding=k // 2, **options)


def ending(channels):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)


class Behind(nn.Module):
    """Convolution and ReLU, a function of their values, and the rest of a network."""

    def __init__(self, function, *rest):
        super().__init__()
        self.conv, self.function, self.rest = conv(3, 8), function, nn.Sequential(*rest)

    def forward(self, x):
        return self.rest(self.function(torch.relu(self.conv(x))))


class PreActivation(nn.Module):
    """Residual blocks whose ReLUs read the sum of all convolutions before them."""

    def __init__(self, blocks):
        super().__init__()
        self.stem = conv(3, 8)
        self.first = nn.ModuleList(conv(8, 8) for _ in range(blocks))
        self.second = nn.ModuleList(conv(8, 8) for _ in range(blocks))
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(torch.relu(first(torch.relu(x))))
        return self.fc(torch.relu(x).mean((2, 3)))


MASK = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "two convolutions": lambda: nn.Sequential(conv(3, 16), conv(16, 16), nn.ReLU(), *ending(16)),
    "convolution, pooling, matrix": lambda: nn.Sequential(conv(3, 8), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(72, 5)),
    "five convolutions": lambda: nn.Sequential(*[conv(3 if i == 0 else 6, 6) for i in range(5)], nn.ReLU(), *ending(6)),
    "depthwise, pointwise": lambda: Behind(nn.Identity(), conv(8, 8, groups=8), conv(8, 96, 1), nn.ReLU(), *ending(96)),
    "linear layers": lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 32), nn.Linear(32, 32), nn.Linear(32, 5)),
    "transposed, convolution": lambda: Behind(
        nn.AvgPool2d(2), nn.ConvTranspose2d(8, 6, 4, 2, 1), conv(6, 8), nn.ReLU(), *ending(8)
    ),
    "pre-activation": lambda: PreActivation(3),
    "sum over channels": lambda: Behind(lambda x: x.sum(1).flatten(1), nn.Linear(144, 5)),
    "mean over channels": lambda: Behind(lambda x: x.mean(1, keepdim=True), conv(1, 8), nn.ReLU(), *ending(8)),
    "maximum over channels": lambda: Behind(lambda x: x.amax(1).flatten(1), nn.Linear(144, 5)),
    "matrix over positions": lambda: Behind(nn.Linear(12, 7), nn.ReLU(), *ending(8)),
    "permuted": lambda: Behind(lambda x: x.transpose(1, 2), conv(12, 8), nn.ReLU(), *ending(8)),
    "mask": lambda: Behind(lambda x: x * MASK, conv(8, 8), nn.ReLU(), *ending(8)),
    "pixel shuffle": lambda: Behind(lambda x: F.pixel_shuffle(x, 2), conv(2, 8), nn.ReLU(), *ending(8)),
}
EVERY_WIDTH = ["two convolutions", "five convolutions", "depthwise, pointwise"]


@pytest.mark.parametrize(
    ("name", "bits"), [*((name, 8) for name in NETWORKS), *((name, bits) for name in EVERY_WIDTH for bits in (12, 16))]
)
def test_it_agrees_with_the_ann(name, bits):
    torch.manual_seed(0)
    module = NETWORKS[name]().eval()
    rng = np.random.default_rng(0)
    smooth = rng.random((32, 3, 3, 3)).repeat(4, 2).repeat(4, 3)
    x = (0.7 * smooth + 0.3 * rng.random((32, 3, 12, 12))).astype(np.float32)
    network, data = read_module(module, (3, 12, 12)), Dataset("pictures.npz", x)
    netlist = convert_network(network, data, Recipe(weight_bits=bits))
    payload = torch.from_numpy(data.payloads(netlist.input))[:, None]
    found = measure_agreement(network, netlist, CalibrationData(torch.from_numpy(x), payload))
    assert min(found.outputs.values()) > 0.99
