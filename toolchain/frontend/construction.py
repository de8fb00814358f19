"""A float network under construction: units, the connections into them, and their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from toolchain.frontend.channels import channel_values
from toolchain.frontend.expression import Expression, LinearTerm, Value, value_of
from toolchain.frontend.rewrites import Chain, Zero, join_parallel, simplify
from toolchain.frontend.univariate import Definition, Definitions
from toolchain.netlist import (
    Connection,
    Conv,
    Operator,
    Origin,
    Pad,
    Permute,
    Reshape,
    Scale,
    Shape,
    Weighted,
    chain_shapes,
    dense_macs,
    padded_macs,
)
from toolchain.network import Activation, Curve, FloatNetwork, Function, Gated, MaxUnit, Output, Source, Unit

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

    @property
    def source(self) -> Expression:
        """The input's value."""
        return self._value(INPUT)

    def network(self, name: str, weights_sha256: str) -> FloatNetwork:
        """Return the finished network, without the units that no output depends on; there must be an output."""
        needed = {u.name for u in self._units.values() if isinstance(u, Output)} | {INPUT}
        for connection in reversed(self._connections):
            if connection.target in needed:
                needed.add(connection.source)
        # A function of several steps leaves the units of its steps behind: those that stay take their names.
        names = {INPUT: INPUT}
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

    def _close(
        self, value: Expression, function: Function, unit: Callable[[str, Shape, np.ndarray], Closed], kind: str
    ) -> Expression:
        """Close an expression into a unit, a function of it element by element; `kind` names it where no layer does.

        Reshapes and permutations that end every term are left for the unit's readers, so that axis 0
        of the unit stays the layer's channel axis, the one that thresholds run along.
        """
        terms, bias, moves = self._strip_moves(self._simplified(value), value.bias)
        candidates = (value.weighted[-1], value.affine[-1], self.path, kind)
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
        """Return the value's terms with simplified chains, parallel ones joined, zero ones left out."""
        chains: dict[str, list[Chain]] = {}
        for term in value.terms:
            chain = simplify(term.operators, self._units[term.source].shape)
            if not isinstance(chain, Zero):
                chains.setdefault(term.source, []).append(chain)
        return [
            LinearTerm(source, chain)
            for source, parallel in chains.items()
            for chain in join_parallel(parallel, self._units[source].shape)
        ]

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


def has_weight(operators: tuple[Operator, ...]) -> bool:
    """Return whether a chain has weights."""
    return any(isinstance(o, Weighted) for o in operators)


def _same_move(a: Operator, b: Operator) -> bool:
    match a, b:
        case Reshape(), Reshape():
            return True  # both end in the same shape
        case Permute(one), Permute(other):
            return one == other
    return False
