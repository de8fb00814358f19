"""ResNet-20 of twice the width (32, 64, 128), projection shortcuts, for CIFAR-100.

    adafire convert examples/resnet20x2.py:resnet20x2 --weights resnet20x2_cifar100.safetensors \
        --calibration train.npz --normalize imagenet -o resnet20x2.h5
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions; a strided 1x1 convolution where the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.down = nn.Sequential()
        if c_in != c_out:
            self.down = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.down(x))


class ResNet20x2(nn.Module):
    """Nine blocks in one list."""

    def __init__(self, classes: int = 100) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(32)
        blocks, channels = [], 32
        for width in (32, 64, 128):
            for _ in range(3):
                blocks.append(Block(channels, width, 1 if channels == width else 2))
                channels = width
        self.layers = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


def resnet20x2() -> nn.Module:
    """ResNet-20x2 with 100 classes."""
    return ResNet20x2()
