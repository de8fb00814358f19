"""Networks for benchmarks, with pictures to calibrate on: trained where ADAFIRE_DATA has them, else random."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.data import Dataset, parse_normalization, read_data
from toolchain.frontend import load_module, load_weights

EXAMPLES = Path(__file__).parent.parent / "examples"


class Subject(NamedTuple):
    """A module, pictures to calibrate on, how they are normalised, and whether its weights are trained."""

    module: nn.Module
    pictures: Dataset
    normalize: str
    trained: bool


class _Block(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.down = nn.Sequential()
        if stride > 1:
            self.down = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.down(x))


class _Bottleneck(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.down = nn.Sequential()
        if c_in != out:
            self.down = nn.Sequential(nn.Conv2d(c_in, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.down(x))


def _resnet(block: type[_Block] | type[_Bottleneck], depths: tuple[int, ...]) -> nn.Module:
    """The shape of a ResNet for 224 x 224 pictures (He et al. 2016), with an average pool in its max-pool's place."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.AvgPool2d(2)]
    channels = 64
    for width, depth in zip((64, 128, 256, 512), depths, strict=True):
        for index in range(depth):
            layers.append(block(channels, width, 2 if index == 0 and width > 64 else 1))
            channels = width * (4 if block is _Bottleneck else 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def random_pictures(samples: int, size: int) -> Dataset:
    """Return seeded pictures with large smooth areas, as photographs have."""
    small = np.random.default_rng(0).uniform(0, 255, (samples, 3, 8, 8)).astype(np.uint8)
    return Dataset("random", small.repeat(size // 8, axis=2).repeat(size // 8, axis=3))


def scale_to_unit_variance(module: nn.Module, x: Tensor) -> None:
    """Set the statistics of every BatchNorm to those of `x`, so that random weights keep activations alive."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    module.train()
    with torch.no_grad():
        module(x)
    module.eval()


def _cifar(function: str, weights: str, normalize: str, samples: int) -> Subject:
    """Return a network of the examples, trained where ADAFIRE_DATA has it."""
    torch.manual_seed(0)
    file = {"vgg16": "vgg16.py"}.get(function, "resnet20.py")
    module = load_module(f"{EXAMPLES / file}:{function}").eval()
    folder = os.environ.get("ADAFIRE_DATA")
    if folder:
        load_weights(module, Path(folder, "models", weights))
        pictures = read_data(Path(folder, "cifar10", "train_10k.npz"), limit=samples)
    else:
        pictures = random_pictures(samples, 32)
        _keep_alive(module, pictures, normalize)
    return Subject(module, pictures, normalize, bool(folder))


def _keep_alive(module: nn.Module, pictures: Dataset, normalize: str) -> None:
    normalization = parse_normalization(normalize, 3)
    some = pictures.select(np.arange(min(len(pictures), 32)))
    x = torch.from_numpy(some.normalized(normalization.mean, normalization.std)).float()
    scale_to_unit_variance(module, x)


def _random_resnet(block: type[_Block] | type[_Bottleneck], depths: tuple[int, ...], samples: int) -> Subject:
    torch.manual_seed(0)
    module, pictures = _resnet(block, depths), random_pictures(samples, 224)
    _keep_alive(module, pictures, "imagenet")
    return Subject(module, pictures, "imagenet", False)


def _efficientnet(samples: int) -> Subject:
    """Return EfficientNet-Lite0, whose weights are a package of their own (`examples/efficientnet_lite0.py`)."""
    module = load_module(f"{EXAMPLES / 'efficientnet_lite0.py'}:efficientnet_lite0").eval()
    return Subject(module, random_pictures(samples, 224), "0.498,0.498,0.498/0.502,0.502,0.502", True)


SUBJECTS: dict[str, Callable[[int], Subject]] = {
    "resnet20": lambda samples: _cifar("resnet20", "resnet20_cifar10.safetensors", "imagenet", samples),
    "resnet44": lambda samples: _cifar("resnet44", "resnet44_cifar10.safetensors", "imagenet", samples),
    "vgg16": lambda samples: _cifar("vgg16", "vgg16_cifar10.safetensors", "imagenet", samples),
    "resnet18_224": lambda samples: _random_resnet(_Block, (2, 2, 2, 2), samples),
    "resnet50_224": lambda samples: _random_resnet(_Bottleneck, (3, 4, 6, 3), samples),
    "efficientnet_lite0": _efficientnet,
}
