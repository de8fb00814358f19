"""Small random netlists of every architecture that the executors must agree on."""

from dataclasses import dataclass, replace

import numpy as np
from builder import Builder

from toolchain.netlist import Conv, ConvTranspose, Netlist, Pad, Permute, Radix, Resample, Scale, Slice, bound_current
from toolchain.netlist.radix import with_payloads_up_to


@dataclass(frozen=True)
class FullRange:
    """Weights over the whole width, and thresholds and biases in proportion to the currents that they make."""

    weight_bits: int = 8

    def source(self, rng, channels):
        return 1 / 64, rng.uniform(0, 1, channels), rng.uniform(0.5, 1, channels)

    def weights(self, rng, shape):
        low = 2 ** (self.weight_bits - 1)
        return rng.integers(-low, low, shape)

    def neurons(self, rng, phi, shape, incoming):
        channels, typical = shape[0], typical_current(incoming)
        threshold = np.maximum(1, rng.uniform(0.2, 1.0, channels) * typical / phi).astype(np.int64)
        bias = np.rint(rng.normal(0, 0.3 * typical, shape)).astype(np.int64)
        initial = rng.integers(-3, max(1, int(threshold.max())), shape)
        return threshold, bias, initial, rng.uniform(0.1, 1, channels)

    def logits(self, rng, channels, incoming):
        typical = typical_current(incoming)
        bias = np.rint(rng.normal(0, typical, channels)).astype(np.int64)
        return bias, rng.uniform(0.5, 1, channels) / typical


def typical_current(incoming) -> float:
    """Return the size of a typical sum of currents: an eighth of each bound, added as independent ones add."""
    power = sum((bound_current(connection, source).magnitude / 8) ** 2 for connection, source in incoming)
    return max(2.0, power**0.5)


def start(seed: int, phi: int, shape: tuple[int, ...], *, weight_bits: int = 8, **source) -> Builder:
    return Builder(FullRange(weight_bits), seed, phi, shape, origin={"origin": "random"}, **source)


def conv(seed: int, timesteps: int, phi: int) -> Netlist:
    """Two convolutions (stride, then dilation and asymmetric padding) and a linear readout."""
    b = start(seed, phi, (3, 7, 9))
    b.fire("a", b.conv(8, stride=2)).fire("b", b.conv(6, dilation=2, padding=((2, 1), (0, 2))))
    return b.read("output", b.linear(5)).netlist(timesteps)


def residual(seed: int, timesteps: int, phi: int) -> Netlist:
    """Residual sums, sum-pooling and global pooling: the shape of a ResNet."""
    b = start(seed, phi, (3, 8, 8))
    b.fire("a", b.conv(8)).fire("b", b.conv(8))
    b.fire("c", b.conv(8), skips={"a": (b.scale(-128, 127),)})
    b.fire("d", b.pool(2), b.conv(8))
    return b.read("output", b.pool(4), b.linear(4)).netlist(timesteps)


def shortcut(seed: int, timesteps: int, phi: int) -> Netlist:
    """Option-A shortcut: a strided slice, zero channels on both sides, and per-channel weights."""
    b = start(seed, phi, (3, 8, 8))
    b.fire("a", b.conv(4)).fire("b", b.conv(8, stride=2))
    skip = (Slice(1, 0, 8, 2), Slice(2, 0, 8, 2), Pad(((2, 2), (0, 0), (0, 0))), Scale(b.weights(8)))
    b.fire("c", b.conv(8), skips={"a": skip})
    return b.read("output", b.linear(4)).netlist(timesteps)


def depthwise(seed: int, timesteps: int, phi: int) -> Netlist:
    """Depthwise and pointwise convolutions, and groups."""
    b = start(seed, phi, (4, 6, 6), signed=False)
    b.fire("a", b.conv(8, groups=2)).fire("b", b.conv(8, groups=8)).fire("c", b.conv(12, 1))
    return b.read("output", b.linear(4)).netlist(timesteps)


def maxpool(seed: int, timesteps: int, phi: int) -> Netlist:
    """Spiking max-pooling: disjoint windows, and overlapping ones with padding."""
    b = start(seed, phi, (3, 8, 8))
    b.fire("a", b.conv(8)).maxpool("m").fire("b", b.conv(8)).maxpool("n", kernel=3, padding=1)
    return b.read("output", b.linear(4)).netlist(timesteps)


def frames(seed: int, timesteps: int, phi: int) -> Netlist:
    """Event frames: another unsigned payload of 4 bits at every timestep."""
    b = start(seed, phi, (2, 6, 6), bits=4, signed=False, coding="frames")
    return b.fire("a", b.conv(8, stride=2)).read("output", b.linear(3)).netlist(timesteps)


def per_neuron(seed: int, timesteps: int, phi: int) -> Netlist:
    """Biases and initial membrane potentials per neuron; another phi per population; a dead channel."""
    b = start(seed, phi, (3, 6, 6))
    b.fire("a", b.conv(5), per_neuron=True, phi=1).fire("b", b.conv(6), dead=True, phi=15)
    b.fire("c", b.linear(10), per_neuron=True)
    return b.read("output", b.linear(3)).netlist(timesteps)


def linear(seed: int, timesteps: int, phi: int) -> Netlist:
    """Dense populations only."""
    b = start(seed, phi, (12,), bits=5)
    b.fire("a", b.linear(20)).fire("b", b.linear(9), skips={"input": (b.linear(9),)})
    return b.read("output", b.linear(3)).netlist(timesteps)


def saturating(seed: int, timesteps: int, phi: int) -> Netlist:
    """A membrane so narrow that it saturates."""
    b = start(seed, phi, (3, 5, 5), bits=3, weight_bits=4)
    b.fire("a", b.conv(6)).fire("b", b.conv(6))
    # Currents, and with them biases, grow with the bursts.
    return b.read("output", b.linear(3)).netlist(timesteps, membrane_bits=9 + max(0, phi.bit_length() - 3))


def wide(seed: int, timesteps: int, phi: int) -> Netlist:
    """16-bit weights: sums beyond float32."""
    b = start(seed, phi, (8, 5, 5), weight_bits=16, signed=False)
    b.fire("a", b.conv(8)).fire("b", b.conv(8), phi=255).fire("c", b.conv(6))
    return b.read("output", b.linear(3)).netlist(timesteps, membrane_bits=32)


def upsampling(seed: int, timesteps: int, phi: int) -> Netlist:
    """A segmentation decoder: transposed convolution, bilinear upsampling, concatenation, a map as readout."""
    b = start(seed, phi, (2, 4, 4))
    b.fire("a", b.conv(6)).fire("b", b.conv(6, stride=2))
    b.fire("c", ConvTranspose(b.weights(6, 5, 2, 2), (2, 2), ((0, 0), (0, 0))))
    doubled = np.zeros((8, 4), np.int64)
    for i in range(8):
        for j, share in ((i // 2, 3), ((i - 1) // 2 + (i % 2), 1)):
            doubled[i, min(max(j, 0), 3)] += share
    up = Resample((doubled, doubled))
    b.fire("d", up, b.conv(6), skips={"a": (up, b.conv(6, 1))})
    return b.read("output", b.conv(3, 1)).netlist(timesteps)


def positions(seed: int, timesteps: int, phi: int) -> Netlist:
    """Fixed maps along axes: reflection, a flip, windows that overlap, weights of cubic interpolation."""
    b = start(seed, phi, (3, 5, 6))
    reflected, flipped = np.eye(5, dtype=np.int64)[[2, 1, 0, 1, 2, 3, 4, 3]], np.eye(6, dtype=np.int64)[::-1]
    b.fire("a", Resample((reflected, flipped)), b.conv(6))
    cubic = np.array([[12, 4, -1, 0, 0, 0, 0, 0], [-2, 9, 9, 0, 0, 0, 0, 0], [0, 0, 0, 0, -1, 5, 12, 0]], np.int64)
    windows = np.eye(6, dtype=np.int64)[[0, 1, 2, 2, 3, 4, 5, 5]]
    b.fire("b", Resample((cubic, windows)), b.conv(4))
    return b.read("output", b.linear(3)).netlist(timesteps)


def cube(seed: int, timesteps: int, phi: int) -> Netlist:
    """Three spatial axes: a convolution, replication at the borders, repetition."""
    b = start(seed, phi, (2, 3, 4, 3))
    b.fire("a", b.conv(4))
    replicated, repeated = (
        np.eye(3, dtype=np.int64)[[0, 0, 1, 2, 2]],
        np.eye(4, dtype=np.int64)[[0, 1, 2, 3, 0, 1, 2, 3]],
    )
    b.fire("b", Resample((replicated, repeated, np.eye(3, dtype=np.int64)[[2, 0]])), b.conv(3))
    return b.read("output", b.linear(3)).netlist(timesteps)


def sequence(seed: int, timesteps: int, phi: int) -> Netlist:
    """One spatial axis, and axes that are permuted."""
    b = start(seed, phi, (3, 12))
    b.fire("a", b.conv(6, stride=2)).fire("b", b.conv(4, 5))
    return b.read("output", Permute((1, 0)), b.linear(3)).netlist(timesteps)


def pieces(seed: int, timesteps: int, phi: int) -> Netlist:
    """An activation in pieces: populations that one current drives, upright and mirrored, and maxima of two of them."""
    b = start(seed, phi, (3, 8, 8))
    kernel = np.maximum(b.weights(6, 3, 3, 3), -127)
    upright, mirrored = (Conv(w, (1, 1), ((1, 1), (1, 1)), (1, 1)) for w in (kernel, -kernel))
    b.fire("a-1", upright).maxpool("m-1", kernel=3, stride=1, padding=1)
    b.fire("a-2", mirrored, source="input", phi=1)
    b.fire("a-3", upright, source="input", phi=2).maxpool("m-3", kernel=3, stride=1, padding=1)
    b.fire("b", b.conv(6), skips={"m-1": (b.conv(6),), "a-2": (b.scale(-128, 127),)})
    return b.read("output", b.linear(4)).netlist(timesteps)


def leaky(seed: int, timesteps: int, phi: int) -> Netlist:
    """Leaky neurons after a convolution of graded payloads, both resets, bursts among them, and a leaky readout."""
    b = start(seed, phi, (3, 6, 6))
    b.leak("a", b.conv(6, stride=2)).fire("b", b.conv(5)).leak("c", b.linear(9), reset="subtract")
    return b.potential("output", b.linear(3)).netlist(timesteps)


def recurrent(seed: int, timesteps: int, phi: int) -> Netlist:
    """Loops: a population on itself, two on each other, delays in front, synapse by synapse, and a bias alone."""
    b = start(seed, phi, (6,), bits=1, signed=False, coding="frames")
    b.leak("bias", shape=(2,))
    b.leak("a", b.linear(8), source="input", loops=[("a", 1, (b.linear(8),)), ("bias", 0, (b.linear(8),))])
    b.leak("b", b.linear(5), reset="subtract")
    b.delay("b", "a", 2, b.linear(8))
    b.potential("output", b.linear(3))
    b.delay("input", "output", lambda shape: b.rng.integers(0, 4, shape), b.linear(3))
    return b.netlist(timesteps)


ARCHITECTURES = {
    f.__name__: f
    for f in (
        *(conv, residual, shortcut, depthwise, maxpool, frames),
        *(per_neuron, linear, saturating, wide, upsampling, sequence, pieces, positions, cube, leaky, recurrent),
    )
}

#: Those that a window of digits takes: the input holds a picture, and nothing leaks or waits.
PICTURES = sorted(ARCHITECTURES.keys() - {"frames", "leaky", "recurrent"})


def in_digits(netlist: Netlist, base: int, digits: int) -> Netlist:
    """Return a netlist of the same weights whose bursts are numbers of so many digits."""
    radix = Radix(base, digits)
    populations = tuple(with_payloads_up_to(p, radix.greatest) for p in netlist.populations)
    return replace(netlist, populations=populations, timesteps=1, alpha=()).spelled(radix)


def radix_netlist(architecture: str, seed: int = 0, *, base: int = 2, digits: int = 4) -> Netlist:
    """Return a netlist of an architecture in radix code, whose thresholds make use of the numbers' range."""
    return in_digits(ARCHITECTURES[architecture](seed, 1, base**digits - 1), base, digits)
