"""A float network under construction: units, the connections into them, and their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import inf

import numpy as np

from toolchain.frontend.channels import channel_values
from toolchain.frontend.expression import Expression, LinearTerm, Value, has_weight, value_of
from toolchain.frontend.rewrites import Chain, Zero, join_parallel, simplify
from toolchain.frontend.univariate import Definition, Definitions
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
    Tail,
    Weighted,
    chain_shapes,
    dense_macs,
    padded_macs,
)
from toolchain.network import Activation, Curve, FloatNetwork, Function, Gated, MaxUnit, Output, Source, Unit, X

INPUT = "input"

#: Units that close an expression.
Closed = Activation | Curve | Gated | MaxUnit | Output

#: Batch size that a network is traced with where it is free: a number that models do not write down
#: themselves, so that a first axis of this size is the batch.
BATCH = 23


class Construction:
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
    definitions : Definitions
        The units so far that are functions of an expression.
    """

    def __init__(self, input_shape: Shape, batch: int = BATCH) -> None:
        self.batch = batch
        self.path = ""
        self.macs = self.padded_macs = 0
        self._units: dict[str, Unit] = {INPUT: Source(INPUT, input_shape)}
        self._connections: list[Connection] = []
        self._depths: dict[str, int] = {INPUT: 0}
        self._candidates: dict[str, tuple[str, ...]] = {}
        self.definitions = Definitions()
        self._parts: dict[Expression, Expression] = {}

    @property
    def source(self) -> Expression:
        """The input's value."""
        return self._value(INPUT)

    def network(self, name: str, weights_sha256: str, tail: Tail | None = None) -> FloatNetwork:
        """Return the finished network, without the units that no output depends on; there must be an output."""
        kept = [u.name for u in self._units.values() if isinstance(u, Source | Output)]
        needed = set(kept)
        for connection in reversed(self._connections):
            if connection.target in needed:
                needed.add(connection.source)
        # A function of several steps leaves the units of its steps behind: those that stay take their names. Outputs
        # keep theirs, by which the tail reads them.
        names = {name: name for name in kept}
        for unit in self._units:
            if unit in needed and unit not in names:
                names[unit] = _free_name(self._candidates[unit], names.values())
        return FloatNetwork(
            tuple(_renamed(u, names) for u in self._units.values() if u.name in needed),
            tuple(
                Connection(names[c.source], names[c.target], c.operators)
                for c in self._connections
                if c.target in needed
            ),
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

    def activate(self, value: Expression, upper: float, part: str = "") -> Expression:
        """Close an expression into an `Activation`; ``clip(value, 0, upper)``, for any value, is what comes back.

        `part` ends its name.
        """
        function = Function("clip", (X, 0.0, upper)) if upper < inf else Function("relu", (X,))
        return self._close(
            value, function, lambda name, shape, bias: Activation(name, shape, bias, upper), "relu", part
        )

    def _close(
        self,
        value: Expression,
        function: Function,
        unit: Callable[[str, Shape, np.ndarray], Closed],
        kind: str,
        part: str = "",
    ) -> Expression:
        """Close an expression into a unit, a function of it element by element; `kind` names it where no layer does.

        Reshapes and permutations that end every term are left for the unit's readers, so that axis 0
        of the unit stays the layer's channel axis, the one that thresholds run along.
        """
        terms, bias, moves = self._strip_moves(self._simplified(value), value.bias)
        candidates = (f"{n}{part}" for n in (value.weighted[-1], value.affine[-1], self.path, kind) if n)
        name = self._add(lambda free: unit(free, bias.shape, self._compact(bias)), terms, *candidates)
        result = self._value(name)
        for move in moves:
            result = result.through(move)
        self.definitions[name] = Definition(value, function, result.terms[0].operators)
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

    def _add(self, unit: Callable[[str], Closed], terms: list[LinearTerm], *candidates: str) -> str:
        """Add a unit that reads simplified terms, and return its name: the first of the candidates that is free.

        A term without weights gets a scale by 1, unless for a maximum.
        """
        name = _free_name(candidates, self._units)
        added = self._units[name] = unit(name)
        self._candidates[name] = candidates
        self._depths[name] = 1 + max((self._depths[t.source] for t in terms), default=0)
        for term in terms:
            operators = term.operators
            if not isinstance(added, MaxUnit) and not has_weight(operators):
                operators = (*operators, Scale(np.ones(added.shape[0])))
            self._connections.append(Connection(term.source, name, operators))
        return name

    def _value(self, name: str) -> Expression:
        return value_of(name, self._units[name].shape, self._depths[name])

    def _simplified(self, value: Expression) -> list[LinearTerm]:
        """Return the value's terms with simplified chains, parallel ones joined, zero ones left out.

        A chain whose weights do not compose is cut: what stands before the last of them becomes units.
        """
        chains: dict[str, list[Chain]] = {}
        simplified = [(t, simplify(t.operators, self._units[t.source].shape)) for t in value.terms]
        # What is cut is a sum: all its terms go, also those that would need no cut, as often as it is read.
        cut = dict.fromkeys(_cut(t) for t, chain in simplified if _needs_cut(t, chain))
        read = Counter(_cut(t) for t in value.terms if t.within is not None)
        for term, chain in simplified:
            if not isinstance(chain, Zero) and (term.within is None or _cut(term) not in cut):
                chains.setdefault(term.source, []).append(chain)
        for whole, behind in cut:
            parts = self._in_parts(whole)
            for operator in behind:
                parts = parts.through(operator)
            times = read[whole, behind] // len(whole.terms)
            for term in self._simplified(parts):
                chains.setdefault(term.source, []).extend(times * [term.operators])
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
            parts = self.activate(linear, inf, "_plus")
            if not self.is_non_negative(linear):
                minus = Scale(np.full(value.shape[0], -1.0))
                parts = parts.plus(self.activate(linear.through(minus), inf, "_minus").through(minus))
            self._parts[value] = parts
        return self._parts[value]

    def is_non_negative(self, value: Expression) -> bool:
        """Return whether the value is a sum of non-negative units with non-negative weights."""
        return bool(value.bias.min() >= 0) and all(
            self._non_negative(t.source) and all(map(_keeps_sign, t.operators)) for t in value.terms
        )

    def _non_negative(self, unit: str) -> bool:
        if isinstance(self._units[unit], MaxUnit):
            return all(self._non_negative(c.source) for c in self._connections if c.target == unit)
        return isinstance(self._units[unit], Activation)

    def _shapes(self, term: LinearTerm) -> tuple[Shape, ...]:
        return chain_shapes(term.operators, self._units[term.source].shape)

    @staticmethod
    def _compact(bias: np.ndarray) -> np.ndarray:
        """Return a bias of its own memory, one value per channel where it is constant over space."""
        channels = channel_values(bias)
        return np.array(bias if channels is None else channels, dtype=np.float64)


def _free_name(candidates: Sequence[str], taken: Collection[str]) -> str:
    """Return the first candidate that is not taken, fit for files, else the first one numbered."""
    names = [n for n in (re.sub(r"[^A-Za-z0-9_.\-]", "_", c)[:120] for c in candidates) if n]
    for name in names:
        if name not in taken:
            return name
    number = 2
    while f"{names[0]}_{number}" in taken:
        number += 1
    return f"{names[0]}_{number}"


def _renamed(unit: Unit, names: Mapping[str, str]) -> Unit:
    if isinstance(unit, Gated):
        return replace(unit, name=names[unit.name], gate=names[unit.gate])
    return replace(unit, name=names[unit.name])


def _cut(term: LinearTerm) -> tuple[Expression, Chain]:
    """Return the sum that a term belongs to before its last weight, and what lies behind it."""
    assert term.within is not None
    return term.within, term.operators[term.before :]


def _needs_cut(term: LinearTerm, chain: Chain | Zero) -> bool:
    """Return whether weights are left behind each other, of a chain that can be cut between them."""
    if isinstance(chain, Zero) or not any(map(_is_factor, term.operators[: term.before])):
        return False
    return sum(map(_is_factor, chain)) > 1


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
