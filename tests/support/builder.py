"""One builder of netlists for tests: an architecture says the geometry, a law draws the numbers from a seed."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    CubaLif,
    Input,
    LeakyReadout,
    Linear,
    MaxPool,
    Netlist,
    Operator,
    Population,
    Provenance,
    Readout,
    Reshape,
    Scale,
    SumPool,
    chain_shapes,
)
from toolchain.netlist.shapes import Pairs, Shape, size

#: An operator, or one whose numbers are drawn when the shape that reaches it is known.
Drawn = Operator | Callable[[Shape], tuple[Operator, ...]]
#: The connections into a population, each with its source.
Incoming = list[tuple[Connection, Population]]


class Law(Protocol):
    """How the numbers of a network are drawn. Every method takes a generator first and draws in a fixed order."""

    weight_bits: int

    def source(self, rng: np.random.Generator, channels: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Return scale, mean and standard deviation of an input."""

    def weights(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """Return integer weights."""

    def neurons(self, rng: np.random.Generator, phi: int, shape: Shape, incoming: Incoming) -> tuple[np.ndarray, ...]:
        """Return threshold, bias, initial and scale; `shape` is that of the bias, per channel or per neuron."""

    def logits(self, rng: np.random.Generator, channels: int, incoming: Incoming) -> tuple[np.ndarray, np.ndarray]:
        """Return bias and scale of a readout."""


class Builder:
    """Grows a netlist population by population; the last one added feeds the next."""

    def __init__(
        self, law: Law, seed: int, phi: int, shape: Shape, *, bits=8, signed=True, coding="direct", origin=None
    ) -> None:
        self.law, self.phi, self.provenance = law, phi, Provenance(other=origin or {})
        self.rng = np.random.default_rng(seed)
        self.populations: dict[str, Population] = {}
        self.connections: list[Connection] = []
        self.last = ""
        self.add(Input("input", shape, bits, signed, *law.source(self.rng, shape[0]), coding))

    def ints(self, low: int, high: int, *shape: int) -> np.ndarray:
        return self.rng.integers(low, high + 1, shape)

    def weights(self, *shape: int) -> np.ndarray:
        return self.law.weights(self.rng, shape)

    def conv(self, channels: int, kernel=3, *, stride=1, padding: Pairs | None = None, dilation=1, groups=1) -> Drawn:
        """Convolve; without `padding`, a stride of 1 keeps the size."""

        def draw(shape: Shape) -> tuple[Operator, ...]:
            axes = len(shape) - 1
            kernels = (kernel,) * axes if isinstance(kernel, int) else kernel
            pairs = padding or tuple((k // 2 * dilation,) * 2 for k in kernels)
            weight = self.weights(channels, shape[0] // groups, *kernels)
            return (Conv(weight, (stride,) * axes, pairs, (dilation,) * axes, groups),)

        return draw

    def linear(self, features: int) -> Drawn:
        """Multiply with a matrix, after flattening where there is something to flatten."""

        def draw(shape: Shape) -> tuple[Operator, ...]:
            flat = () if len(shape) == 1 else (Reshape((size(shape),)),)
            return (*flat, Linear(self.weights(features, size(shape))))

        return draw

    def scale(self, low: int, high: int) -> Drawn:
        """Multiply each channel by an integer of `low` to `high`."""
        return lambda shape: (Scale(self.ints(low, high, shape[0])),)

    def pool(self, width: int) -> Drawn:
        """Sum over disjoint windows."""

        def draw(shape: Shape) -> tuple[Operator, ...]:
            axes = len(shape) - 1
            return (SumPool((width,) * axes, (width,) * axes, ((0, 0),) * axes),)

        return draw

    def connect(self, source: str, target: str, *operators: Drawn) -> Shape:
        """Add a connection; return the shape it reaches."""
        shape = self.populations[source].shape
        chain: list[Operator] = []
        for operator in operators:
            made = operator(shape) if callable(operator) else (operator,)
            shape = chain_shapes(made, shape)[-1]
            chain += made
        self.connections.append(Connection(source, target, tuple(chain)))
        return shape

    def add(self, population: Population) -> "Builder":
        self.populations[population.name] = population
        self.last = population.name
        return self

    def fire(
        self,
        name: str,
        *operators: Drawn,
        source: str | None = None,
        skips: Mapping[str, tuple[Drawn, ...]] | None = None,
        shape: Shape | None = None,
        phi: int | None = None,
        per_neuron: bool = False,
        dead: bool = False,
    ) -> "Builder":
        """Add an `AdaFire` population fed by `source` (the last one) and by `skips`, sources to operators.

        Weights are drawn before the neurons; with `shape`, the neurons come first. A `dead` population's first channel
        receives nothing and would not fire if it did.
        """

        def neurons(shape: Shape) -> AdaFire:
            if dead:
                self.connections[-1].operators[-1].weight[0] = 0
            biases = shape if per_neuron else shape[:1]
            threshold, bias, initial, scale = self.law.neurons(self.rng, self.phi, biases, self._incoming(name))
            if dead:
                threshold[0], bias[..., :1] = 10**5, -(10**4)
            return AdaFire(name, shape, phi or self.phi, threshold, bias, initial, scale)

        incoming = [(source or self.last, operators), *(skips or {}).items()]
        return self._grow(name, incoming, shape, neurons)

    def read(self, name: str, *operators: Drawn, source: str | None = None, shape: Shape | None = None) -> "Builder":
        """Add a readout; as `fire`."""

        def logits(shape: Shape) -> Readout:
            return Readout(name, shape, *self.law.logits(self.rng, shape[0], self._incoming(name)))

        return self._grow(name, [(source or self.last, operators)], shape, logits)

    def maxpool(self, name: str, kernel=2, stride=2, padding=0) -> "Builder":
        before = self.populations[self.last]
        axes = len(before.shape) - 1
        windows = (kernel,) * axes, (stride,) * axes, ((padding, padding),) * axes
        self.connect(self.last, name)
        return self.add(MaxPool(name, before.shape, *windows, before.payload_range[1]))

    def leak(self, name: str, *operators: Drawn, reset="zero", **options) -> "Builder":
        """Add a `CubaLif` population, with numbers per neuron; as `fire`. `loops` are as in `potential`."""

        def neurons(shape: Shape) -> CubaLif:
            decays, threshold, bias = self._leaky(shape, self._incoming(name))
            # What nothing reaches fires at every timestep.
            return CubaLif(name, shape, threshold, *decays, bias if operators else 65 * threshold, reset)

        return self._leak(name, operators, neurons, **options)

    def potential(self, name: str, *operators: Drawn, **options) -> "Builder":
        """Add a `LeakyReadout`; as `read`. `loops` are delayed connections: (source, delay, operators)."""

        def logits(shape: Shape) -> LeakyReadout:
            decays, threshold, bias = self._leaky(shape[:1], self._incoming(name))
            return LeakyReadout(name, shape, *decays, bias, 1 / (256 * threshold))

        return self._leak(name, operators, logits, **options)

    def delay(self, source: str, target: str, delay: int | Callable[[Shape], np.ndarray], *operators: Drawn) -> None:
        """Add a connection with a delay; one that draws it is handed the shape of the weights."""
        self.connect(source, target, *operators)
        made = self.connections.pop()
        drawn = delay(made.operators[-1].weight.shape) if callable(delay) else delay
        self.connections.append(Connection(source, target, made.operators, drawn))

    def _leaky(self, shape: Shape, incoming: Incoming):
        typical = max(1, int(self.law.neurons(self.rng, 1, shape[:1], incoming)[0].mean()))
        decays = [self.rng.choice([0, 4096, *self.ints(1, 4095, 4)], shape) for _ in range(2)]
        return decays, self.ints(max(1, typical // 2), 2 * typical, *shape), self.ints(-20, 64 * typical // 4, *shape)

    def _leak(self, name, operators, population, *, source=None, loops=(), shape=None) -> "Builder":
        incoming = [(source or self.last, operators)] if operators else []
        self._grow(name, incoming, shape, population)
        for start, delay, chain in loops:
            self.delay(start, name, delay, *chain)
        return self

    def netlist(self, timesteps: int, **settings) -> Netlist:
        graph = tuple(self.populations.values()), tuple(self.connections)
        return Netlist(*graph, timesteps, self.law.weight_bits, provenance=self.provenance, **settings)

    def _incoming(self, name: str) -> Incoming:
        return [(c, self.populations[c.source]) for c in self.connections if c.target == name]

    def _grow(self, name: str, incoming, shape: Shape | None, population: Callable[[Shape], Population]) -> "Builder":
        if shape is not None:
            self.add(population(shape))
        reached = [self.connect(source, name, *operators) for source, operators in incoming]
        return self if shape is not None else self.add(population(reached[-1]))
