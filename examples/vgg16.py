"""VGG16 for 32x32 pictures: 13 convolutions with BatchNorm, average pools, one linear layer.

    adafire convert examples/vgg16.py:vgg16 --weights vgg16_cifar10.safetensors \
        --calibration train.npz --normalize imagenet -o vgg16.h5
"""

from torch import Tensor, nn

CHANNELS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")


class VGG16(nn.Module):
    """The network; keys are features.N and classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in CHANNELS:
            if isinstance(width, str):
                layers.append(nn.AvgPool2d(2))
                continue
            layers += [
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def vgg16() -> nn.Module:
    """VGG16 with 10 classes."""
    return VGG16()
