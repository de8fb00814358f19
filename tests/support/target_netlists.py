"""Netlists of the shapes that the targets are judged with, with random weights."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from builder import Builder

from toolchain.netlist import AdaFire, Netlist, Pad, Scale, Slice


@dataclass(frozen=True)
class Trained:
    """Weights and thresholds like those of trained networks: a bell of standard deviation `spread`."""

    spread: int = 30
    weight_bits: int = 8

    def source(self, rng, channels):
        return 0.02, np.zeros(channels), np.ones(channels)

    def weights(self, rng, shape):
        return np.clip(np.rint(rng.normal(0, self.spread, shape)), -127, 127).astype(np.int64)

    def neurons(self, rng, phi, shape, incoming):
        channels = shape[0]
        threshold = rng.integers(300, 3000, channels)
        return threshold, rng.integers(-500, 500, channels), threshold // 2, np.ones(channels)

    def logits(self, rng, channels, incoming):
        return rng.integers(-99, 99, channels), np.ones(channels)


@cache
def make_resnet20(phi: int = 4, seed: int = 0, width: int = 16, spread: int = 30) -> Netlist:
    """ResNet-20 for 32 x 32 pictures with option-A shortcuts."""
    b = Builder(Trained(spread), seed, phi, (3, 32, 32))
    b.fire("conv1", b.conv(width))
    for stage in range(3):
        for block in range(3):
            before, channels = b.last, width * 2**stage
            shortcut, stride = (Scale(np.full(channels, 100)),), 1
            if stage > 0 and block == 0:
                size, around, stride = b.populations[before].shape[1], (channels // 4,) * 2, 2
                thin = (Slice(1, 0, size, 2), Slice(2, 0, size, 2), Pad((around, (0, 0), (0, 0))))
                shortcut = (*thin, *shortcut)
            b.fire(f"s{stage}b{block}a", b.conv(channels, stride=stride))
            b.fire(f"s{stage}b{block}b", b.conv(channels), skips={before: shortcut})
    return b.read("readout", b.pool(8), b.linear(10)).netlist(8)


@cache
def make_vgg16(phi: int = 4, seed: int = 0, spread: int = 20) -> Netlist:
    """VGG16 for 32 x 32 pictures: 13 convolutions, average pools folded into the next layer."""
    b = Builder(Trained(spread), seed, phi, (3, 32, 32))
    stages = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
    n = 0
    for stage, layers in enumerate(stages):
        for layer, channels in enumerate(layers):
            pool = (b.pool(2),) if stage > 0 and layer == 0 else ()
            b.fire(f"conv{n}", *pool, b.conv(channels))
            n += 1
    return b.read("readout", b.pool(2), b.linear(10)).netlist(8)


def make_small_resnet() -> Netlist:
    """Two convolutions and a skip over the second, bursts of 4 and 3, an 8-bit signed input."""
    b = Builder(Trained(), 3, 4, (2, 6, 6))
    b.fire("a", b.conv(4)).fire("b", b.conv(4), skips={"a": (Scale(np.full(4, 90)),)}, phi=3)
    return b.read("readout", b.pool(3), b.linear(3)).netlist(3)


def make_fits_loihi1() -> Netlist:
    """The small ResNet with thresholds that Loihi 1 holds in its coarsest steps."""
    netlist = make_small_resnet()
    populations = [
        replace(p, threshold=p.threshold // 64 * 64, initial=p.threshold // 128 * 64) if isinstance(p, AdaFire) else p
        for p in netlist.populations
    ]
    return replace(netlist, populations=tuple(populations))
