"""ResNet-20's shape as a netlist with seeded random weights: needs no data and no conversion."""

import numpy as np

from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    Input,
    Linear,
    Netlist,
    Pad,
    Readout,
    Reshape,
    Scale,
    Slice,
    SumPool,
)


def random_resnet20(*, timesteps: int = 8, phi: int = 4) -> Netlist:
    """Return 19 convolutions with option-A shortcuts, spiking at about the rates of a trained network."""
    rng = np.random.default_rng(0)
    source = Input("input", (3, 32, 32), 8, True, 1 / 64, np.zeros(3), np.ones(3))
    populations: list[AdaFire] = []
    connections: list[Connection] = []

    def conv(name: str, before: str, inputs: int, channels: int, size: int, stride: int = 1) -> None:
        weight = np.clip(np.rint(rng.normal(0, 40, (channels, inputs, 3, 3))), -127, 127).astype(np.int64)
        connections.append(Connection(before, name, (Conv(weight, (stride,) * 2, ((1, 1),) * 2, (1, 1)),)))
        payload = 64 if before == "input" else 0.8
        threshold = np.full(channels, round(40 * payload * (9 * inputs) ** 0.5), np.int64)
        zeros = np.zeros(channels, np.int64)
        shape = (channels, size, size)
        populations.append(AdaFire(name, shape, phi, threshold, zeros, threshold // 2, np.ones(channels)))

    conv("stem", "input", 3, 16, 32)
    last, inputs = "stem", 16
    for stage, (channels, size) in enumerate(((16, 32), (32, 16), (64, 8)), start=1):
        for block in range(3):
            stride = 2 if stage > 1 and block == 0 else 1
            first, second = f"layer{stage}.{block}.a", f"layer{stage}.{block}.b"
            conv(first, last, inputs, channels, size, stride)
            conv(second, first, channels, channels, size)
            identity = Scale(np.full(channels, 100, np.int64))
            if stride == 1:
                connections.append(Connection(last, second, (identity,)))
            else:
                side = (channels - inputs) // 2
                whole = 2 * size
                thin = (Slice(1, 0, whole, 2), Slice(2, 0, whole, 2), Pad(((side, side), (0, 0), (0, 0))))
                connections.append(Connection(last, second, (*thin, identity)))
            last, inputs = second, channels
    weight = rng.integers(-127, 128, (10, 64))
    pool = SumPool((8, 8), (8, 8), ((0, 0), (0, 0)))
    connections.append(Connection(last, "output", (pool, Reshape((64,)), Linear(weight))))
    readout = Readout("output", (10,), np.zeros(10, np.int64), np.full(10, 1e-4))
    return Netlist((source, *populations, readout), tuple(connections), timesteps)
