"""Networks of many architectures, small enough to run in every executor."""

import numpy as np
import pytest

from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    ConvTranspose,
    Input,
    Linear,
    MaxPool,
    Netlist,
    Pad,
    Permute,
    Provenance,
    Readout,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
)


class Builder:
    """Grows a netlist population by population; every draw comes from one seed."""

    def __init__(self, seed, phi, shape, *, signed=True, timesteps=4, coding="direct", bits=8, provenance=None):
        self.rng = np.random.default_rng(seed)
        self.phi, self.timesteps, self.provenance = phi, timesteps, provenance or Provenance(other={"seed": seed})
        mean = self.rng.normal(size=shape[0]) * 0.1
        self.populations = [Input("input", shape, bits, signed, 0.02, mean, np.full(shape[0], 0.25), coding)]
        self.connections = []

    def ints(self, low, high, *shape):
        return self.rng.integers(low, high + 1, size=shape)

    def connect(self, source, target, *operators):
        self.connections.append(Connection(source, target, operators))

    def fire(self, name, shape, *, phi=None, theta=(80, 400)):
        channels = shape[0]
        threshold = self.ints(*theta, channels)
        self.populations.append(
            AdaFire(
                name,
                shape,
                phi or self.phi,
                threshold,
                self.ints(-40, 60, channels),
                threshold // 2,
                self.rng.uniform(0.001, 0.01, channels),
            )
        )

    def read(self, name, shape):
        self.populations.append(Readout(name, shape, self.ints(-50, 50, shape[0]), np.full(shape[0], 0.0125)))

    def conv(self, c_out, c_in, *kernel, stride=1, padding=0, dilation=1, groups=1):
        axes = len(kernel)
        pairs = tuple(
            (p, p) if isinstance(p, int) else p for p in ([padding] * axes if isinstance(padding, int) else padding)
        )
        strides = (stride,) * axes if isinstance(stride, int) else stride
        return Conv(self.ints(-20, 20, c_out, c_in // groups, *kernel), strides, pairs, (dilation,) * axes, groups)

    def dense(self, n_out, n_in):
        return Linear(self.ints(-20, 20, n_out, n_in))

    def netlist(self, **kwargs):
        return Netlist(
            tuple(self.populations), tuple(self.connections), self.timesteps, provenance=self.provenance, **kwargs
        )


def mlp(seed, phi):
    b = Builder(seed, phi, (12,), signed=False, timesteps=5)
    b.fire("hidden.0", (16,))
    b.connect("input", "hidden.0", b.dense(16, 12))
    b.fire("hidden.1", (9,))
    b.connect("hidden.0", "hidden.1", b.dense(9, 16))
    b.read("logits", (4,))
    b.connect("hidden.1", "logits", b.dense(4, 9))
    return b.netlist()


def cnn(seed, phi):
    b = Builder(seed, phi, (2, 8, 8))
    b.fire("conv1", (4, 8, 8))
    b.connect("input", "conv1", b.conv(4, 2, 3, 3, padding=1))
    b.fire("conv2", (5, 4, 4))
    b.connect("conv1", "conv2", b.conv(5, 4, 3, 3, stride=2, padding=1))
    b.fire("conv3", (6, 2, 2))
    b.connect("conv2", "conv3", SumPool((2, 2), (2, 2), ((0, 0), (0, 0))), b.conv(6, 5, 1, 1))
    b.read("logits", (3,))
    b.connect("conv3", "logits", Reshape((24,)), b.dense(3, 24))
    return b.netlist()


def residual(seed, phi):
    """Option-A shortcut (strided slice, channel pad) and an identity shortcut."""
    b = Builder(seed, phi, (3, 8, 8), timesteps=6)
    b.fire("stem", (4, 8, 8))
    b.connect("input", "stem", b.conv(4, 3, 3, 3, padding=1))
    b.fire("block1.a", (8, 4, 4))
    b.connect("stem", "block1.a", b.conv(8, 4, 3, 3, stride=2, padding=1))
    b.fire("block1.b", (8, 4, 4))
    b.connect("block1.a", "block1.b", b.conv(8, 8, 3, 3, padding=1))
    shortcut = (Slice(1, 0, 8, 2), Slice(2, 0, 8, 2), Pad(((2, 2), (0, 0), (0, 0))), Scale(b.ints(1, 30, 8)))
    b.connect("stem", "block1.b", *shortcut)
    b.fire("block2.a", (8, 4, 4))
    b.connect("block1.b", "block2.a", b.conv(8, 8, 3, 3, padding=1))
    b.fire("block2.b", (8, 4, 4))
    b.connect("block2.a", "block2.b", b.conv(8, 8, 3, 3, padding=1))
    b.connect("block1.b", "block2.b", Scale(b.ints(1, 30, 8)))
    b.read("logits", (5,))
    b.connect("block2.b", "logits", SumPool((4, 4), (4, 4), ((0, 0), (0, 0))), Reshape((8,)), b.dense(5, 8))
    return b.netlist(alpha=tuple(np.linspace(0.9, 0.6, 6)))


def grouped(seed, phi):
    """Depthwise and grouped convolutions, kernels that are not square, uneven padding, dilation."""
    b = Builder(seed, phi, (4, 9, 7), signed=False)
    b.fire("depthwise", (8, 9, 7))
    b.connect("input", "depthwise", b.conv(8, 4, 3, 3, padding=1, groups=4))
    b.fire("wide", (6, 9, 7))
    b.connect("depthwise", "wide", b.conv(6, 8, 1, 3, padding=((0, 0), (1, 1)), groups=2))
    b.fire("uneven", (5, 5, 4))
    b.connect("wide", "uneven", b.conv(5, 6, 3, 3, stride=2, padding=((1, 1), (0, 2))))
    b.fire("dilated", (4, 5, 4))
    b.connect("uneven", "dilated", b.conv(4, 5, 3, 3, padding=2, dilation=2))
    b.read("logits", (3,))
    b.connect("dilated", "logits", Reshape((80,)), b.dense(3, 80))
    return b.netlist()


def signal(seed, phi):
    """One spatial axis."""
    b = Builder(seed, phi, (3, 20))
    b.fire("conv1", (5, 10))
    b.connect("input", "conv1", b.conv(5, 3, 5, stride=2, padding=2))
    b.fire("conv2", (6, 5))
    b.connect("conv1", "conv2", SumPool((2,), (2,), ((0, 0),)), b.conv(6, 5, 3, padding=1))
    b.connect("conv1", "conv2", Slice(1, 1, 10, 2), Pad(((0, 1), (0, 0))), Scale(b.ints(1, 20, 6)))
    b.read("logits", (4,))
    b.connect("conv2", "logits", Reshape((30,)), b.dense(4, 30))
    return b.netlist()


def concat(seed, phi):
    """Two branches read by one layer, two readouts, event frames."""
    b = Builder(seed, phi, (2, 6, 6), coding="frames", signed=False, bits=4, timesteps=5)
    b.fire("left", (3, 6, 6))
    b.connect("input", "left", b.conv(3, 2, 3, 3, padding=1))
    b.fire("right", (4, 6, 6), phi=max(1, phi // 2))
    b.connect("input", "right", b.conv(4, 2, 1, 1))
    b.fire("joined", (5, 6, 6))
    b.connect("left", "joined", b.conv(5, 3, 3, 3, padding=1))
    b.connect("right", "joined", b.conv(5, 4, 3, 3, padding=1))
    b.read("classes", (3,))
    b.connect("joined", "classes", Reshape((180,)), b.dense(3, 180))
    b.read("map", (2, 6, 6))
    b.connect("joined", "map", b.conv(2, 5, 1, 1))
    return b.netlist()


def every_operator(seed, phi):
    """What NIR has no node for: max-pooling, upsampling, transposed convolution, permutation, bias per neuron."""
    b = Builder(seed, phi, (2, 8, 8))
    b.fire("conv", (4, 8, 8))
    b.connect("input", "conv", b.conv(4, 2, 3, 3, padding=1))
    b.populations.append(MaxPool("pool", (4, 8, 8), (2, 2), (2, 2), ((0, 0), (0, 0)), phi))
    b.connect("conv", "pool")
    b.fire("up", (3, 8, 8))
    nearest = np.repeat(np.eye(4, dtype=np.int64), 2, axis=0)
    b.connect("pool", "up", Resample((nearest, nearest)), b.conv(3, 4, 3, 3, padding=1))
    b.connect("pool", "up", ConvTranspose(b.ints(-9, 9, 4, 3, 2, 2), (2, 2), ((0, 0), (0, 0))))
    threshold = b.ints(80, 300, 8)
    b.populations.append(
        AdaFire("turned", (8, 3, 8), phi, threshold, b.ints(-9, 9, 8, 3, 8), b.ints(0, 80, 8, 3, 8), np.full(8, 0.01))
    )
    b.connect("up", "turned", Permute((1, 0, 2)), Scale(b.ints(1, 99, 8)))
    b.read("logits", (3,))
    b.connect("turned", "logits", Reshape((192,)), b.dense(3, 192))
    return b.netlist()


#: Networks that NIR can express, and all.
NIR_ARCHITECTURES = {f.__name__: f for f in (mlp, cnn, residual, grouped, signal, concat)}
ARCHITECTURES = {**NIR_ARCHITECTURES, "every_operator": every_operator}


@pytest.fixture(params=sorted(ARCHITECTURES))
def netlist(request):
    """One netlist of each architecture."""
    return ARCHITECTURES[request.param](seed=7, phi=4)


@pytest.fixture(params=sorted(NIR_ARCHITECTURES))
def nir_netlist(request):
    """One netlist of each architecture that NIR can express."""
    return NIR_ARCHITECTURES[request.param](seed=7, phi=4)


@pytest.fixture
def make():
    """Make a netlist by the name of its architecture: ``make("residual", seed=3, phi=2)``."""
    return lambda name, seed=7, phi=4: ARCHITECTURES[name](seed, phi)


@pytest.fixture
def payloads_for():
    """Draw random payloads that fit a netlist's input."""

    def draw(netlist, samples=3, seed=0):
        source = netlist.input
        low, high = source.payload_range
        lead = (netlist.timesteps, samples) if source.coding == "frames" else (samples,)
        drawn = np.random.default_rng(seed).integers(low, high + 1, size=(*lead, *source.shape))
        return drawn.astype(source.payload_dtype)

    return draw
