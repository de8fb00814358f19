"""Netlists of the shapes that the targets are judged with, with random weights."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from toolchain.netlist import AdaFire, Connection, Conv, Input, Linear, Netlist, Readout, Reshape, Scale, SumPool
from toolchain.netlist.operators import Pad, Slice


class Builder:
    """Adds layers one after another; weights and thresholds are random but like those of real networks."""

    def __init__(self, shape: tuple[int, ...], phi: int, seed: int, signed: bool = True, spread: int = 30) -> None:
        self.rng = np.random.default_rng(seed)
        self.phi, self.spread = phi, spread
        channels = shape[0]
        self.populations: list = [
            Input("input", shape, 8, signed, 0.02, np.zeros(channels), np.ones(channels), "direct")
        ]
        self.connections: list[Connection] = []

    def weights(self, *shape: int) -> np.ndarray:
        return np.clip(np.rint(self.rng.normal(0, self.spread, shape)), -127, 127).astype(np.int64)

    def conv(self, source: str, out: int, kernel: int = 3, stride: int = 1, pool: int = 1) -> Connection:
        shape = next(p for p in self.populations if p.name == source).shape
        pad = ((kernel // 2, kernel // 2),) * 2
        operators = (Conv(self.weights(out, shape[0], kernel, kernel), (stride, stride), pad, (1, 1)),)
        if pool > 1:
            operators = (SumPool((pool, pool), (pool, pool), ((0, 0), (0, 0))), *operators)
        return Connection(source, "", operators)

    def adafire(self, name: str, *incoming: Connection) -> str:
        first = incoming[0]
        shape = next(p for p in self.populations if p.name == first.source).shape
        for operator in first.operators:
            shape = operator.output_shape(shape)
        theta = self.rng.integers(300, 3000, shape[0])
        self.populations.append(
            AdaFire(name, shape, self.phi, theta, self.rng.integers(-500, 500, shape[0]), theta // 2, np.ones(shape[0]))
        )
        self.connections += [Connection(c.source, name, c.operators) for c in incoming]
        return name

    def readout(self, source: str, classes: int, pool: int = 1) -> None:
        shape = next(p for p in self.populations if p.name == source).shape
        operators: tuple = ()
        if pool > 1:
            operators = (SumPool((pool, pool), (pool, pool), ((0, 0), (0, 0))),)
            shape = operators[0].output_shape(shape)
        flat = int(np.prod(shape))
        operators = (*operators, Reshape((flat,)), Linear(self.weights(classes, flat)))
        self.populations.append(Readout("readout", (classes,), self.rng.integers(-99, 99, classes), np.ones(classes)))
        self.connections.append(Connection(source, "readout", operators))

    def build(self, timesteps: int = 8, weight_bits: int = 8) -> Netlist:
        return Netlist(tuple(self.populations), tuple(self.connections), timesteps, weight_bits)


@cache
def make_resnet20(phi: int = 4, seed: int = 0, width: int = 16, spread: int = 30) -> Netlist:
    """ResNet-20 for 32 x 32 pictures with option-A shortcuts."""
    b = Builder((3, 32, 32), phi, seed, spread=spread)
    x = b.adafire("conv1", b.conv("input", width))
    channels = width
    for stage in range(3):
        for block in range(3):
            down = stage > 0 and block == 0
            out = channels * 2 if down else channels
            mid = b.adafire(f"s{stage}b{block}a", b.conv(x, out, stride=2 if down else 1))
            shortcut: tuple = (Scale(np.full(out, 100)),)
            if down:
                around = ((channels // 2, channels // 2), (0, 0), (0, 0))
                shortcut = (Slice(1, 0, 10**6, 2), Slice(2, 0, 10**6, 2), Pad(around), *shortcut)
                size = next(p for p in b.populations if p.name == x).shape[1]
                shortcut = (Slice(1, 0, size, 2), Slice(2, 0, size, 2), *shortcut[2:])
            x = b.adafire(f"s{stage}b{block}b", b.conv(mid, out), Connection(x, "", shortcut))
            channels = out
    b.readout(x, 10, pool=8)
    return b.build()


@cache
def make_vgg16(phi: int = 4, seed: int = 0, spread: int = 20) -> Netlist:
    """VGG16 for 32 x 32 pictures: 13 convolutions, average pools folded into the next layer."""
    b = Builder((3, 32, 32), phi, seed, spread=spread)
    x, pool, n = "input", 1, 0
    for layer in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"):
        if layer == "M":
            pool = 2
            continue
        x, pool, n = b.adafire(f"conv{n}", b.conv(x, layer, pool=pool)), 1, n + 1
    b.readout(x, 10, pool=2)
    return b.build()


@pytest.fixture(scope="session")
def small_resnet() -> Netlist:
    """Two convolutions and a skip over the second, bursts of 4 and 3, an 8-bit signed input."""
    b = Builder((2, 6, 6), 4, seed=3)
    x = b.adafire("a", b.conv("input", 4))
    b.phi = 3
    x = b.adafire("b", b.conv(x, 4), Connection(x, "", (Scale(np.full(4, 90)),)))
    b.readout(x, 3, pool=3)
    return b.build(timesteps=3)


@pytest.fixture(scope="session")
def fits_loihi1(small_resnet: Netlist) -> Netlist:
    """`small_resnet` with thresholds that Loihi 1 holds in its coarsest steps."""
    populations = [
        replace(p, threshold=p.threshold // 64 * 64, initial=p.threshold // 128 * 64) if isinstance(p, AdaFire) else p
        for p in small_resnet.populations
    ]
    return replace(small_resnet, populations=tuple(populations))


@pytest.fixture(scope="session")
def resnet20() -> Callable[..., Netlist]:
    return make_resnet20


@pytest.fixture(scope="session")
def vgg16() -> Callable[..., Netlist]:
    return make_vgg16
