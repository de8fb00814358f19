"""Networks of many architectures, small enough to run in every executor and in the formats of others."""

import numpy as np
from builder import Builder

from toolchain.netlist import AdaFire, ConvTranspose, Netlist, Pad, Permute, Resample, Scale, Slice


class Lively:
    """Small weights against small thresholds: neurons fire often, from the first timestep on."""

    weight_bits = 8

    def source(self, rng, channels):
        return 0.02, rng.normal(size=channels) * 0.1, np.full(channels, 0.25)

    def weights(self, rng, shape):
        return rng.integers(-20, 21, shape)

    def neurons(self, rng, phi, shape, incoming):
        channels = shape[0]
        threshold = rng.integers(80, 401, channels)
        return threshold, rng.integers(-40, 61, channels), threshold // 2, rng.uniform(0.001, 0.01, channels)

    def logits(self, rng, channels, incoming):
        return rng.integers(-50, 51, channels), np.full(channels, 0.0125)


def start(seed: int, phi: int, shape: tuple[int, ...], **source) -> Builder:
    return Builder(Lively(), seed, phi, shape, origin={"seed": seed}, **source)


def mlp(seed: int, phi: int) -> Netlist:
    b = start(seed, phi, (12,), signed=False)
    b.fire("hidden.0", b.linear(16), shape=(16,))
    b.fire("hidden.1", b.linear(9), shape=(9,))
    return b.read("logits", b.linear(4), shape=(4,)).netlist(5)


def cnn(seed: int, phi: int) -> Netlist:
    b = start(seed, phi, (2, 8, 8))
    b.fire("conv1", b.conv(4), shape=(4, 8, 8))
    b.fire("conv2", b.conv(5, stride=2), shape=(5, 4, 4))
    b.fire("conv3", b.pool(2), b.conv(6, 1), shape=(6, 2, 2))
    return b.read("logits", b.linear(3), shape=(3,)).netlist(4)


def residual(seed: int, phi: int) -> Netlist:
    """Option-A shortcut (strided slice, channel pad) and an identity shortcut."""
    b = start(seed, phi, (3, 8, 8))
    thin = (Slice(1, 0, 8, 2), Slice(2, 0, 8, 2), Pad(((2, 2), (0, 0), (0, 0))))
    b.fire("stem", b.conv(4), shape=(4, 8, 8))
    b.fire("block1.a", b.conv(8, stride=2), shape=(8, 4, 4))
    b.fire("block1.b", b.conv(8), shape=(8, 4, 4), skips={"stem": (*thin, b.scale(1, 30))})
    b.fire("block2.a", b.conv(8), shape=(8, 4, 4))
    b.fire("block2.b", b.conv(8), shape=(8, 4, 4), skips={"block1.b": (b.scale(1, 30),)})
    b.read("logits", b.pool(4), b.linear(5), shape=(5,))
    return b.netlist(6, alpha=tuple(np.linspace(0.9, 0.6, 6)))


def grouped(seed: int, phi: int) -> Netlist:
    """Depthwise and grouped convolutions, kernels that are not square, uneven padding, dilation."""
    b = start(seed, phi, (4, 9, 7), signed=False)
    b.fire("depthwise", b.conv(8, groups=4), shape=(8, 9, 7))
    b.fire("wide", b.conv(6, (1, 3), groups=2), shape=(6, 9, 7))
    b.fire("uneven", b.conv(5, stride=2, padding=((1, 1), (0, 2))), shape=(5, 5, 4))
    b.fire("dilated", b.conv(4, dilation=2), shape=(4, 5, 4))
    return b.read("logits", b.linear(3), shape=(3,)).netlist(4)


def signal(seed: int, phi: int) -> Netlist:
    """One spatial axis; two connections between the same populations."""
    b = start(seed, phi, (3, 20))
    b.fire("conv1", b.conv(5, 5, stride=2), shape=(5, 10))
    thin = (Slice(1, 1, 10, 2), Pad(((0, 1), (0, 0))), b.scale(1, 20))
    b.fire("conv2", b.pool(2), b.conv(6), shape=(6, 5), skips={"conv1": thin})
    return b.read("logits", b.linear(4), shape=(4,)).netlist(4)


def concat(seed: int, phi: int) -> Netlist:
    """Two branches read by one layer, two readouts, event frames."""
    b = start(seed, phi, (2, 6, 6), coding="frames", signed=False, bits=4)
    b.fire("left", b.conv(3), shape=(3, 6, 6))
    b.fire("right", b.conv(4, 1), source="input", shape=(4, 6, 6), phi=max(1, phi // 2))
    b.fire("joined", b.conv(5), source="left", skips={"right": (b.conv(5),)}, shape=(5, 6, 6))
    b.read("classes", b.linear(3), shape=(3,))
    return b.read("map", b.conv(2, 1), source="joined", shape=(2, 6, 6)).netlist(5)


def every_operator(seed: int, phi: int) -> Netlist:
    """What NIR has no node for: max-pooling, upsampling, transposed convolution, permutation, bias per neuron."""
    b = start(seed, phi, (2, 8, 8))
    b.fire("conv", b.conv(4), shape=(4, 8, 8)).maxpool("pool")
    nearest = np.repeat(np.eye(4, dtype=np.int64), 2, axis=0)
    b.fire("up", Resample((nearest, nearest)), b.conv(3), shape=(3, 8, 8))
    b.connect("pool", "up", ConvTranspose(b.ints(-9, 9, 4, 3, 2, 2), (2, 2), ((0, 0), (0, 0))))
    threshold, bias, initial = b.ints(80, 300, 8), b.ints(-9, 9, 8, 3, 8), b.ints(0, 80, 8, 3, 8)
    b.add(AdaFire("turned", (8, 3, 8), phi, threshold, bias, initial, np.full(8, 0.01)))
    b.connect("up", "turned", Permute((1, 0, 2)), Scale(b.ints(1, 99, 8)))
    return b.read("logits", b.linear(3), shape=(3,)).netlist(4)


#: Networks that NIR can express, and all.
NIR_ARCHITECTURES = {f.__name__: f for f in (mlp, cnn, residual, grouped, signal, concat)}
ARCHITECTURES = {**NIR_ARCHITECTURES, "every_operator": every_operator}
