"""ResNet-20 for CIFAR-10 (He et al. 2016, option-A shortcuts).

    adafire convert examples/resnet20.py:resnet20 --weights resnet20_cifar10.safetensors \
        --calibration train.npz --normalize imagenet -o resnet20.h5

Parameter names are those of github.com/akamaster/pytorch_resnet_cifar10, whose weights load as they are
(once saved as a plain state_dict).
"""

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride = stride
        self.grow = c_out - c_in

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every second pixel, zeros for the new channels."""
        if self.stride == 1:
            return x
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow // 2, self.grow // 2))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y)


class ResNet20(nn.Module):
    """Three stages of as many blocks, 16, 32 and 64 channels; a deeper one has more of them."""

    def __init__(self, classes: int = 10, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks)
        self.layer2 = self._stage(16, 32, 2, blocks)
        self.layer3 = self._stage(32, 64, 2, blocks)
        self.fc = nn.Linear(64, classes)

    @staticmethod
    def _stage(c_in: int, c_out: int, stride: int, blocks: int) -> nn.Sequential:
        others = (BasicBlock(c_out, c_out, 1) for _ in range(blocks - 1))
        return nn.Sequential(BasicBlock(c_in, c_out, stride), *others)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.shape[3])
        return self.fc(x.view(x.shape[0], -1))


def resnet20() -> nn.Module:
    """ResNet-20 with 10 classes."""
    return ResNet20()


def resnet32() -> nn.Module:
    """ResNet-32: five blocks a stage."""
    return ResNet20(blocks=5)


def resnet44() -> nn.Module:
    """ResNet-44: seven blocks a stage."""
    return ResNet20(blocks=7)
