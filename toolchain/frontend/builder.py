"""Closing expressions into units: how a float network comes into being, readers aside.

`clip` closes into an `Activation`, `maximum` into a `MaxUnit`, `output` into an `Output`; each adds the unit and its
connections and returns the unit's value. Every chain is simplified then, and parallel ones are joined.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf

import numpy as np

from toolchain.frontend.batch_axis import AnyValue, Displaced
from toolchain.frontend.channels import channel_values
from toolchain.frontend.expression import (
    Expression,
    LinearTerm,
    Pooled,
    Refusal,
    Value,
    has_weight,
    settled,
    value_of,
)
from toolchain.frontend.rewrites import Chain, Zero, join_parallel, simplify
from toolchain.netlist import (
    Connection,
    Conv,
    Operator,
    Origin,
    Pad,
    Permute,
    Resample,
    Reshape,
    Scale,
    Shape,
    Slice,
    SumPool,
    Tail,
    Weighted,
    chain_shapes,
    dense_macs,
    padded_macs,
)
from toolchain.network import Activation, FloatNetwork, MaxUnit, Output, Source, Unit

INPUT = "input"

#: Batch size that a network is traced with where it is free: a number that models do not write down
#: themselves, so that a first axis of this size is the batch.
BATCH = 23


class NetworkBuilder:
    """Units and connections of a network under construction, at every moment those of a `FloatNetwork` to be.

    Units stand in topological order, since a unit is added when all that it reads has been. Names are unique and fit
    for files. The chains keep what `FloatNetwork` asks for.

    Parameters
    ----------
    input_shape : tuple of int
    batch : int
        Extent of the batch axis in the graph that is read.

    Attributes
    ----------
    path : str
        Path of the module that is being read; readers keep it up to date.
    macs, padded_macs : int
        Multiply-accumulates of the layers counted so far, for one sample; without and with products of padding zeros.
    """

    def __init__(self, input_shape: Shape, batch: int = BATCH) -> None:
        self.batch = batch
        self.path = ""
        self.macs = self.padded_macs = 0
        self._units: dict[str, Unit] = {INPUT: Source(INPUT, input_shape)}
        self._connections: list[Connection] = []
        self._depths: dict[str, int] = {INPUT: 0}
        self._parts: dict[Expression, Expression] = {}

    @property
    def source(self) -> Expression:
        """The input's value."""
        return self._value(INPUT)

    def network(self, name: str, weights_sha256: str, tail: Tail | None = None) -> FloatNetwork:
        """Return the finished network, without the units that no output depends on; there must be an output."""
        needed = {u.name for u in self._units.values() if isinstance(u, Output)} | {INPUT}
        for connection in reversed(self._connections):
            if connection.target in needed:
                needed.add(connection.source)
        return FloatNetwork(
            tuple(u for u in self._units.values() if u.name in needed),
            tuple(c for c in self._connections if c.target in needed),
            Origin(name, weights_sha256, self.macs, self.padded_macs),
            tail,
        )

    def count(self, value: Value) -> None:
        """Count the layer that a value has just gone through: as it was written, before anything is composed."""
        if not isinstance(value, Expression) or not value.terms:
            return
        term = value.terms[0]
        index = max(i for i, o in enumerate(term.operators) if isinstance(o, Weighted))
        shapes = self._shapes(term)
        operator, shape = term.operators[index], shapes[index]
        self.padded_macs += padded_macs(operator, shape)
        # Zeros that a layer of their own has put around are padding too.
        if isinstance(operator, Conv) and index and isinstance(pad := term.operators[index - 1], Pad):
            around = zip(operator.padding, pad.padding[1:], strict=True)
            operator = replace(operator, padding=tuple((a + b, c + d) for (a, c), (b, d) in around))
            shape = (shape[0], *shapes[index - 1][1:])
        self.macs += dense_macs(operator, shape)

    # Clipping ------------------------------------------------------------------------------------

    def clip(self, value: Value, low: float, high: float) -> Expression:
        """Return ``clip(value, low, high)``: a unit, shifted by `low`.

        Parameters
        ----------
        value : Expression or Pooled
            A max pool that waits for its clipping takes it first: ``clip(max(y)) = max(clip(y))``.
        low : float
            0 for ReLU, ReLU6; any finite number.
        high : float
            ``inf`` for ReLU.

        Returns
        -------
        Expression
            Between `low` and `high`. The value itself, and no new unit, where it lies there already.

        Raises
        ------
        Refusal
            When `low` is not below `high`.
        """
        if not low < high:
            raise Refusal(f"clips to {low} .. {high}, which leaves a constant", "drop the layers before it")
        if isinstance(value, Pooled):
            inner = self.clip(value.value, low, high).shift(-low)
            for window in value.windows:
                inner = self._maximum(inner, window, value.path)
            for operator in value.tail:
                inner = inner.through(operator)
            return inner.shift(low)
        if low == 0 and self._within(value, high):
            return value
        unit = self._activate(value.shift(-low) if low else value, high - low)
        return unit.shift(low) if low else unit

    def _within(self, value: Expression, high: float) -> bool:
        """Return whether the value is one unit, moved but not mixed, that lies in 0 .. `high` already."""
        if len(value.terms) != 1 or value.bias.any():
            return False
        term = value.terms[0]
        if any(not isinstance(o, Reshape | Permute | Slice | Pad | SumPool | Scale) for o in term.operators):
            return False
        if any(isinstance(o, Scale) and o.weight.min() < 0 for o in term.operators):
            return False
        if high == inf:
            return self._non_negative(term.source)
        moved = all(isinstance(o, Reshape | Permute | Slice | Pad) for o in term.operators)
        return moved and self._non_negative(term.source) and self._upper(term.source) <= high

    def _non_negative(self, unit: str) -> bool:
        return isinstance(self._units[unit], Activation | MaxUnit)

    def _upper(self, name: str) -> float:
        unit = self._units[name]
        if isinstance(unit, Activation):
            return unit.upper
        return max((self._upper(c.source) for c in self._connections if c.target == name), default=inf)

    def _activate(self, value: Expression, upper: float, part: str = "") -> Expression:
        """Close an expression into an `Activation`; ``clip(value, 0, upper)``, for any value, is what comes back.

        Reshapes and permutations that end every term are left for the unit's readers, so that axis 0
        of the unit stays the layer's channel axis, the one that thresholds run along. `part` ends its name.
        """
        terms, bias, moves = self._strip_moves(self._simplified(value), value.bias)
        shape = bias.shape
        name = self._name(*(f"{n}{part}" for n in (value.weighted[-1], value.affine[-1], self.path, "relu") if n))
        self._add(Activation(name, shape, self._compact(bias), upper), terms)
        result = self._value(name)
        for move in moves:
            result = result.through(move)
        return result

    def _strip_moves(
        self, terms: list[LinearTerm], bias: np.ndarray
    ) -> tuple[list[LinearTerm], np.ndarray, list[Operator]]:
        """Return terms and bias before the reshapes and permutations that all terms end in, and those moves.

        Every term that is left ends in the shape of the bias; the moves, applied to their sum, give the sum of `terms`.
        """
        moves: list[Operator] = []
        while terms and all(t.operators for t in terms):
            last = terms[0].operators[-1]
            before = {self._shapes(t)[-2] for t in terms}
            if not isinstance(last, Reshape | Permute) or len(before) != 1:
                break
            if any(not _same_move(last, t.operators[-1]) for t in terms):
                break
            if any(not has_weight(t.operators) for t in terms):
                break  # nothing was computed before the move: the moved layout is the layer's own
            (shape,) = before
            terms = [LinearTerm(t.source, t.operators[:-1]) for t in terms]
            bias = bias.reshape(shape) if isinstance(last, Reshape) else bias.transpose(np.argsort(last.axes))
            moves.insert(0, last)
        return terms, bias, moves

    # Maxima --------------------------------------------------------------------------------------

    def maximum(self, value: Value, window: SumPool) -> Value:
        """Return the maximum over windows.

        Parameters
        ----------
        value : Expression or Pooled
        window : SumPool
            The windows' geometry; padding never wins.

        Returns
        -------
        Expression or Pooled
            A unit's value for values that are never negative; for others `Pooled`, until they are clipped.

        Raises
        ------
        Refusal
            When the value is a constant or reads the input as it is, which do not spike, or is maxima that were moved.
        """
        if isinstance(value, Pooled):
            if value.tail:
                raise value.refusal()
            return Pooled(value.value, (*value.windows, window), value.path)
        if not value.terms or any(t.source == INPUT and not has_weight(t.operators) for t in value.terms):
            raise Refusal(
                "takes the maximum of the network's input, which does not spike",
                "start with a convolution and ReLU, or use average pooling",
            )
        if self.is_non_negative(value):
            return self._maximum(value, window, self.path)
        return Pooled(value, (window,), self.path)

    def is_non_negative(self, value: Expression) -> bool:
        """Return whether the value is a sum of non-negative units with non-negative weights."""
        return bool(value.bias.min() >= 0) and all(
            self._non_negative(t.source) and all(map(_keeps_sign, t.operators)) for t in value.terms
        )

    def _maximum(self, value: Expression, window: SumPool, path: str) -> Expression:
        """Close values, none of them negative, into a `MaxUnit`, which reads one unit, moved within its channels.

        Any other value is closed into an activation first, which leaves it as it is.
        """
        terms = self._simplified(value)
        if (
            len(terms) != 1
            or value.bias.any()
            or not all(map(_keeps_channels, terms[0].operators, self._shapes(terms[0])))
        ):
            return self._maximum(self._activate(value, inf), window, path)
        name = self._name(path, f"{terms[0].source}.max", "max")
        self._add(MaxUnit(name, value.shape, window.kernel, window.stride, window.padding), terms)
        return self._value(name)

    # Results -------------------------------------------------------------------------------------

    def output(self, value: AnyValue) -> str:
        """Read a value out: close it into an `Output`, whose name is returned.

        Raises
        ------
        Refusal
            When it waits for its clipping, or does not depend on the input.
        """
        if isinstance(value, Displaced) and value.batch == 1:
            value = value.value  # where its one sample stands is of no account
        if isinstance(value, Displaced):
            raise Refusal("is returned with its batch axis moved, or joined with another", "keep the batch axis first")
        value = settled(value)
        terms = self._simplified(value)
        if not terms:
            raise Refusal("returns a constant that does not depend on the input", "return what the network computes")
        name = self._name(value.weighted[-1], value.affine[-1], "output")
        self._add(Output(name, value.shape, self._compact(value.bias)), terms)
        return name

    def _add(self, unit: Activation | MaxUnit | Output, terms: list[LinearTerm]) -> None:
        """Add a unit that reads simplified terms; one without weights gets a scale by 1, unless for a maximum."""
        self._units[unit.name] = unit
        self._depths[unit.name] = 1 + max((self._depths[t.source] for t in terms), default=0)
        for term in terms:
            operators = term.operators
            if not isinstance(unit, MaxUnit) and not has_weight(operators):
                operators = (*operators, Scale(np.ones(unit.shape[0])))
            self._connections.append(Connection(term.source, unit.name, operators))

    def _value(self, name: str) -> Expression:
        return value_of(name, self._units[name].shape, self._depths[name])

    def _simplified(self, value: Expression) -> list[LinearTerm]:
        """Return the value's terms with simplified chains, parallel ones joined, zero ones left out.

        A chain whose weights do not compose is cut: what stands before the last of them becomes units.
        """
        chains: dict[str, list[Chain]] = {}
        cut: dict[tuple[Expression, Chain], None] = {}
        for term in value.terms:
            chain = simplify(term.operators, self._units[term.source].shape)
            if isinstance(chain, Zero):
                continue
            if term.within is not None and sum(map(_is_factor, chain)) > 1:
                cut[term.within, term.operators[term.before :]] = None
                continue
            chains.setdefault(term.source, []).append(chain)
        for whole, behind in cut:
            parts = self._in_parts(whole)
            for operator in behind:
                parts = parts.through(operator)
            for term in self._simplified(parts):
                chains.setdefault(term.source, []).append(term.operators)
        return [
            LinearTerm(source, chain)
            for source, parallel in chains.items()
            for chain in join_parallel(parallel, self._units[source].shape)
        ]

    def _in_parts(self, value: Expression) -> Expression:
        """Close a value without its bias into units: ``y = relu(y) - relu(-y)``, where it may be negative.

        One set of synapses holds one weight, and what lies between two must be somewhere. Whoever reads the value
        reads the same units.
        """
        if value not in self._parts:
            linear = replace(value, bias=np.broadcast_to(np.float64(0), value.shape))
            parts = self._activate(linear, inf, "_plus")
            if not self.is_non_negative(linear):
                minus = Scale(np.full(value.shape[0], -1.0))
                parts = parts.plus(self._activate(linear.through(minus), inf, "_minus").through(minus))
            self._parts[value] = parts
        return self._parts[value]

    def _shapes(self, term: LinearTerm) -> tuple[Shape, ...]:
        return chain_shapes(term.operators, self._units[term.source].shape)

    @staticmethod
    def _compact(bias: np.ndarray) -> np.ndarray:
        """Return a bias of its own memory, one value per channel where it is constant over space."""
        channels = channel_values(bias)
        return np.array(bias if channels is None else channels, dtype=np.float64)

    def _name(self, *candidates: str) -> str:
        """Return the first candidate that is not taken, else the first one numbered."""
        names = [n for n in (re.sub(r"[^A-Za-z0-9_.\-]", "_", c)[:120] for c in candidates) if n]
        for name in names:
            if name not in self._units:
                return name
        number = 2
        while f"{names[0]}_{number}" in self._units:
            number += 1
        return f"{names[0]}_{number}"


def _is_factor(operator: Operator) -> bool:
    """Return whether weights need levels of their own: a mask of 0 and 1 takes none of those of its neighbour."""
    if isinstance(operator, Scale):
        magnitude = np.abs(operator.weight[operator.weight != 0])
        return bool(magnitude.size and magnitude.min() < magnitude.max())
    return isinstance(operator, Weighted)


def _keeps_sign(operator: Operator) -> bool:
    """Return whether an operator makes nothing negative of what is not."""
    if isinstance(operator, Resample):
        return all(m.min() >= 0 for m in operator.matrices)
    return not isinstance(operator, Weighted) or bool(operator.weight.min() >= 0)


def _same_move(a: Operator, b: Operator) -> bool:
    match a, b:
        case Reshape(), Reshape():
            return True  # both end in the same shape
        case Permute(one), Permute(other):
            return one == other
    return False


def _keeps_channels(operator: Operator, shape: Shape) -> bool:
    """Return whether the operator only moves values, each within its channel."""
    match operator:
        case Slice() | Pad():
            return True
        case Reshape(new):
            return new[0] == shape[0]
        case Permute(axes):
            return axes[0] == 0
    return False
