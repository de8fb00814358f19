"""Small random netlists of every architecture that the executors must agree on."""

import numpy as np

from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    ConvTranspose,
    Input,
    Linear,
    MaxPool,
    Netlist,
    Operator,
    Pad,
    Permute,
    Provenance,
    Readout,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    bound_current,
    chain_shapes,
)
from toolchain.netlist.shapes import Shape, size


class _Builder:
    """Grows a random netlist population by population; the last one added feeds the next."""

    def __init__(
        self, seed: int, shape: Shape, *, phi: int, weight_bits: int = 8, bits: int = 8, signed=True, coding="direct"
    ):
        self.rng = np.random.default_rng(seed)
        self.phi = phi
        self.weight_bits = weight_bits
        mean, std = self.rng.uniform(0, 1, shape[0]), self.rng.uniform(0.5, 1, shape[0])
        source = Input("input", shape, bits, signed, 1 / 64, mean, std, coding)
        self.populations = {"input": source}
        self.connections: list[Connection] = []
        self.last = "input"

    def weight(self, *shape: int) -> np.ndarray:
        low = 2 ** (self.weight_bits - 1)
        return self.rng.integers(-low, low, shape)

    def conv(self, channels: int, kernel=3, *, source=None, stride=1, padding=1, dilation=1, groups=1) -> Conv:
        inputs = self.populations[source or self.last].shape
        axes = len(inputs) - 1
        pairs = padding if isinstance(padding, tuple) else ((padding, padding),) * axes
        weight = self.weight(channels, inputs[0] // groups, *(kernel,) * axes)
        return Conv(weight, (stride,) * axes, pairs, (dilation,) * axes, groups)

    def linear(self, features: int, *, source=None, before: tuple[Operator, ...] = ()) -> tuple[Operator, ...]:
        shape = chain_shapes(before, self.populations[source or self.last].shape)[-1]
        flat = () if len(shape) == 1 else (Reshape((size(shape),)),)
        return (*before, *flat, Linear(self.weight(features, size(shape))))

    def _connect(self, name: str, incoming: dict[str, tuple[Operator, ...]]) -> tuple[Shape, float]:
        """Add connections; return the shape they reach and the size of a typical current."""
        power = 0.0
        shape: Shape = ()
        for source, operators in incoming.items():
            connection = Connection(source, name, operators)
            self.connections.append(connection)
            shape = chain_shapes(operators, self.populations[source].shape)[-1]
            power += (bound_current(connection, self.populations[source]).magnitude / 8) ** 2
        return shape, max(2.0, power**0.5)

    def fire(self, name: str, *operators: Operator, skips=None, phi=None, per_neuron=False, dead=False) -> "_Builder":
        """Add an `AdaFire` population fed by the last one, and by `skips` (source to operators)."""
        shape, typical = self._connect(name, {self.last: operators, **(skips or {})})
        full = shape if per_neuron else (shape[0],)
        threshold = np.maximum(1, self.rng.uniform(0.2, 1.0, shape[0]) * typical / self.phi).astype(np.int64)
        bias = np.rint(self.rng.normal(0, 0.3 * typical, full)).astype(np.int64)
        initial = self.rng.integers(-3, max(1, int(threshold.max())), full)
        if dead:
            threshold[0], bias[..., :1] = 10**5, -(10**4)
        self.populations[name] = AdaFire(
            name, shape, phi or self.phi, threshold, bias, initial, self.rng.uniform(0.1, 1, shape[0])
        )
        self.last = name
        return self

    def maxpool(self, name: str, kernel=2, stride=2, padding=0) -> "_Builder":
        before = self.populations[self.last]
        axes = len(before.shape) - 1
        self.connections.append(Connection(self.last, name, ()))
        self.populations[name] = MaxPool(
            name,
            before.shape,
            (kernel,) * axes,
            (stride,) * axes,
            ((padding, padding),) * axes,
            before.payload_range[1],
        )
        self.last = name
        return self

    def readout(self, *operators: Operator, timesteps: int, membrane_bits=24, alpha=()) -> Netlist:
        shape, typical = self._connect("output", {self.last: operators})
        bias = np.rint(self.rng.normal(0, typical, shape[0])).astype(np.int64)
        output = Readout("output", shape, bias, self.rng.uniform(0.5, 1, shape[0]) / typical)
        return Netlist(
            (*self.populations.values(), output),
            tuple(self.connections),
            timesteps,
            self.weight_bits,
            membrane_bits,
            alpha,
            Provenance(other={"origin": "random"}),
        )


def _conv(seed, timesteps, phi):
    """Two convolutions (stride, then dilation and asymmetric padding) and a linear readout."""
    b = _Builder(seed, (3, 7, 9), phi=phi)
    b.fire("a", b.conv(8, stride=2))
    b.fire("b", b.conv(6, dilation=2, padding=((2, 1), (0, 2))))
    return b.readout(*b.linear(5), timesteps=timesteps)


def _residual(seed, timesteps, phi):
    """Residual sums, sum-pooling and global pooling: the shape of a ResNet."""
    b = _Builder(seed, (3, 8, 8), phi=phi)
    b.fire("a", b.conv(8)).fire("b", b.conv(8))
    b.fire("c", b.conv(8), skips={"a": (Scale(b.weight(8)),)})
    b.fire("d", SumPool((2, 2), (2, 2), ((0, 0), (0, 0))), b.conv(8))
    return b.readout(*b.linear(4, before=(SumPool((4, 4), (4, 4), ((0, 0), (0, 0))),)), timesteps=timesteps)


def _shortcut(seed, timesteps, phi):
    """Option-A shortcut: a strided slice, zero channels on both sides, and per-channel weights."""
    b = _Builder(seed, (3, 8, 8), phi=phi)
    b.fire("a", b.conv(4)).fire("b", b.conv(8, stride=2))
    skip = (Slice(1, 0, 8, 2), Slice(2, 0, 8, 2), Pad(((2, 2), (0, 0), (0, 0))), Scale(b.weight(8)))
    b.fire("c", b.conv(8), skips={"a": skip})
    return b.readout(*b.linear(4), timesteps=timesteps)


def _depthwise(seed, timesteps, phi):
    """Depthwise and pointwise convolutions, and groups."""
    b = _Builder(seed, (4, 6, 6), phi=phi, signed=False)
    b.fire("a", b.conv(8, groups=2)).fire("b", b.conv(8, groups=8)).fire("c", b.conv(12, kernel=1, padding=0))
    return b.readout(*b.linear(4), timesteps=timesteps)


def _maxpool(seed, timesteps, phi):
    """Spiking max-pooling: disjoint windows, and overlapping ones with padding."""
    b = _Builder(seed, (3, 8, 8), phi=phi)
    b.fire("a", b.conv(8)).maxpool("m").fire("b", b.conv(8)).maxpool("n", kernel=3, padding=1)
    return b.readout(*b.linear(4), timesteps=timesteps)


def _frames(seed, timesteps, phi):
    """Event frames: another unsigned payload of 4 bits at every timestep."""
    b = _Builder(seed, (2, 6, 6), phi=phi, bits=4, signed=False, coding="frames")
    b.fire("a", b.conv(8, stride=2))
    return b.readout(*b.linear(3), timesteps=timesteps)


def _per_neuron(seed, timesteps, phi):
    """Biases and initial membrane potentials per neuron; another phi per population; a dead channel."""
    b = _Builder(seed, (3, 6, 6), phi=phi)
    b.fire("a", b.conv(5), per_neuron=True, phi=1)
    dead = b.conv(6)
    dead.weight[0] = 0
    b.fire("b", dead, dead=True, phi=15)
    b.fire("c", *b.linear(10), per_neuron=True)
    return b.readout(*b.linear(3), timesteps=timesteps)


def _linear(seed, timesteps, phi):
    """Dense populations only."""
    b = _Builder(seed, (12,), phi=phi, bits=5)
    b.fire("a", *b.linear(20)).fire("b", *b.linear(9), skips={"input": b.linear(9, source="input")})
    return b.readout(*b.linear(3), timesteps=timesteps)


def _saturating(seed, timesteps, phi):
    """A membrane so narrow that it saturates."""
    b = _Builder(seed, (3, 5, 5), phi=phi, bits=3, weight_bits=4)
    b.fire("a", b.conv(6)).fire("b", b.conv(6))
    return b.readout(*b.linear(3), timesteps=timesteps, membrane_bits=9)


def _wide(seed, timesteps, phi):
    """16-bit weights: sums beyond float32."""
    b = _Builder(seed, (8, 5, 5), phi=phi, weight_bits=16, signed=False)
    b.fire("a", b.conv(8)).fire("b", b.conv(8), phi=255).fire("c", b.conv(6))
    return b.readout(*b.linear(3), timesteps=timesteps, membrane_bits=32)


def _upsampling(seed, timesteps, phi):
    """A segmentation decoder: transposed convolution, bilinear upsampling, concatenation, a map as readout."""
    b = _Builder(seed, (2, 4, 4), phi=phi)
    b.fire("a", b.conv(6)).fire("b", b.conv(6, stride=2))
    b.fire("c", ConvTranspose(b.weight(6, 5, 2, 2), (2, 2), ((0, 0), (0, 0))))
    doubled = np.zeros((8, 4), np.int64)
    for i in range(8):
        for j, share in ((i // 2, 3), ((i - 1) // 2 + (i % 2), 1)):
            doubled[i, min(max(j, 0), 3)] += share
    up = Resample((doubled, doubled))
    b.fire("d", up, b.conv(6, padding=1), skips={"a": (up, b.conv(6, source="a", kernel=1, padding=0))})
    return b.readout(b.conv(3, kernel=1, padding=0), timesteps=timesteps)


def _sequence(seed, timesteps, phi):
    """One spatial axis, and axes that are permuted."""
    b = _Builder(seed, (3, 12), phi=phi)
    b.fire("a", b.conv(6, stride=2)).fire("b", b.conv(4, kernel=5, padding=2))
    return b.readout(*b.linear(3, before=(Permute((1, 0)),)), timesteps=timesteps)


ARCHITECTURES = {
    f.__name__.removeprefix("_"): f
    for f in (
        _conv,
        _residual,
        _shortcut,
        _depthwise,
        _maxpool,
        _frames,
        _per_neuron,
        _linear,
        _saturating,
        _wide,
        _upsampling,
        _sequence,
    )
}
