"""The ANN as units and linear connections, in real numbers: what reading yields.

It shares `Connection` and the operators with the netlist; only `toolchain.quantize` turns its weights into integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np

from toolchain.netlist import Connection, NetlistError, Origin, Pairs, Shape, SumPool, Tail, Weighted, check_graph
from toolchain.netlist.checks import check_finite, check_name, check_shape
from toolchain.network.function import Function


def _check_bias(name: str, bias: np.ndarray, shape: Shape) -> None:
    check_finite(name, "bias", bias)
    if bias.shape not in ((shape[0],), shape):
        raise NetlistError(name, f"bias has shape {bias.shape}, expected ({shape[0]},) or {shape}")


@dataclass(frozen=True, eq=False)
class Source:
    """The network's input, in normalised real numbers."""

    emits: ClassVar[bool] = True

    name: str
    shape: Shape

    def __post_init__(self) -> None:
        check_name("Source", self.name)
        check_shape(self.name, self.shape)


@dataclass(frozen=True, eq=False)
class Activation:
    """Units with ``y = clip(I + bias, 0, upper)``: ReLU, or ReLU6 and the like.

    Parameters
    ----------
    name : str
    shape : tuple of int
    bias : ndarray (C,) or `shape`, float64
    upper : float
        ``inf`` for ReLU.
    """

    emits: ClassVar[bool] = True

    name: str
    shape: Shape
    bias: np.ndarray
    upper: float = float("inf")

    def __post_init__(self) -> None:
        check_name("Activation", self.name)
        check_shape(self.name, self.shape)
        _check_bias(self.name, self.bias, self.shape)
        if not self.upper > 0:
            raise NetlistError(self.name, f"upper limit {self.upper} found, expected a positive number")

    @property
    def current_shape(self) -> Shape:
        """Shape of the current that connections deliver."""
        return self.shape


@dataclass(frozen=True, eq=False)
class Curve:
    """Units with ``y = function(I + bias)``, for any function of one variable.

    No neuron computes it: `toolchain.pieces` puts sums of activations in its place, on data.

    Parameters
    ----------
    name : str
    shape : tuple of int
    bias : ndarray (C,) or `shape`, float64
    function : Function
    """

    emits: ClassVar[bool] = True

    name: str
    shape: Shape
    bias: np.ndarray
    function: Function

    def __post_init__(self) -> None:
        check_name("Curve", self.name)
        check_shape(self.name, self.shape)
        _check_bias(self.name, self.bias, self.shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of the current that connections deliver."""
        return self.shape


@dataclass(frozen=True, eq=False)
class Gated:
    """Units with ``y = (I + bias) * g``: values that another unit scales, sample by sample.

    No neuron computes it: `toolchain.pieces` puts the gate's mean on data in its place, where that is asked for.

    Parameters
    ----------
    name : str
    shape : tuple of int
    bias : ndarray (C,) or `shape`, float64
    gate : str
        The unit whose connection delivers g; all others deliver I.
    """

    emits: ClassVar[bool] = True

    name: str
    shape: Shape
    bias: np.ndarray
    gate: str

    def __post_init__(self) -> None:
        check_name("Gated", self.name)
        check_shape(self.name, self.shape)
        _check_bias(self.name, self.bias, self.shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of what connections deliver, the gate's too."""
        return self.shape


@dataclass(frozen=True, eq=False)
class MaxUnit:
    """Units that take the maximum over windows; padding counts as no value."""

    emits: ClassVar[bool] = True

    name: str
    input_shape: Shape
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs

    def __post_init__(self) -> None:
        check_name("MaxUnit", self.name)
        check_shape(self.name, self.input_shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of the values that reach the windows."""
        return self.input_shape

    @property
    def shape(self) -> Shape:
        """Shape of the maxima."""
        return SumPool(self.kernel, self.stride, self.padding).output_shape(self.input_shape)


@dataclass(frozen=True, eq=False)
class Output:
    """Linear units that are read out: ``y = I + bias``."""

    emits: ClassVar[bool] = False

    name: str
    shape: Shape
    bias: np.ndarray

    def __post_init__(self) -> None:
        check_name("Output", self.name)
        check_shape(self.name, self.shape)
        _check_bias(self.name, self.bias, self.shape)

    @property
    def current_shape(self) -> Shape:
        """Shape of the current that connections deliver."""
        return self.shape


Unit = Source | Activation | Curve | Gated | MaxUnit | Output


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A trained network as units and linear connections, in real numbers.

    Parameters
    ----------
    units : tuple of Unit
        In topological order; exactly one `Source`, first; at least one `Output`.
    connections : tuple of Connection
        From earlier units to later ones, never from an `Output`; several into one unit add up. A chain into a
        `MaxUnit` holds no weights, and does not come from the source; any other holds at least one weighted operator,
        of floats.
    origin : Origin, optional
        Where the network came from, and its multiply-accumulates: reading may compose layers, or read a value twice.
    tail : Tail, optional
        What comes after the outputs and no neuron computes.

    Raises
    ------
    NetlistError
        When one of these rules is broken, or a chain does not fit the shapes at its ends.
    """

    units: tuple[Unit, ...]
    connections: tuple[Connection, ...]
    origin: Origin | None = None
    tail: Tail | None = None

    def __post_init__(self) -> None:
        check_graph(self.units, self.connections)
        for connection in self.connections:
            self._check_weights(connection)

    def _check_weights(self, connection: Connection) -> None:
        weights = [o.weight for o in connection.operators if isinstance(o, Weighted)]
        if isinstance(self[connection.target], MaxUnit):
            if weights or connection.source == self.source.name:
                raise NetlistError(connection.name, "a maximum takes units' values, without weights")
        elif not weights:
            raise NetlistError(connection.name, "has no weights, expected at least a scale")
        for weight in weights:
            if not np.issubdtype(weight.dtype, np.floating):
                raise NetlistError(connection.name, f"weights are {weight.dtype}, expected real numbers")

    @cached_property
    def _by_name(self) -> dict[str, Unit]:
        return {u.name: u for u in self.units}

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Unit:
        try:
            return self._by_name[name]
        except KeyError:
            raise NetlistError("network", f"no unit {name!r}; there are {', '.join(self._by_name)}") from None

    def inputs(self, name: str) -> tuple[Connection, ...]:
        """Return the connections into a unit."""
        return tuple(c for c in self.connections if c.target == name)

    @property
    def source(self) -> Source:
        """The network's input."""
        source = self.units[0]
        if not isinstance(source, Source):
            raise NetlistError(source.name, "the first unit must be the source")
        return source

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The units that become AdaFire populations, in topological order."""
        return tuple(u for u in self.units if isinstance(u, Activation))

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The units that pieces must replace, in topological order."""
        return tuple(u for u in self.units if isinstance(u, Curve))

    @property
    def gated(self) -> tuple[Gated, ...]:
        """The units that a gate scales, in topological order."""
        return tuple(u for u in self.units if isinstance(u, Gated))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The units that are read out, in topological order."""
        return tuple(u for u in self.units if isinstance(u, Output))

    @property
    def widest(self) -> int:
        """Neurons of the largest unit, or currents into it."""
        return max(max(prod(u.shape), prod(u.shape if isinstance(u, Source) else u.current_shape)) for u in self.units)

    @property
    def classifier(self) -> Output | None:
        """The output that decides on classes: the only one, if it is a single list of logits; else None."""
        outputs = self.outputs
        return outputs[0] if len(outputs) == 1 and len(outputs[0].shape) == 1 else None
