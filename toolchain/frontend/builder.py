"""Closing expressions into units: how a float network comes into being, readers aside.

`clip` closes into an `Activation`, `curve` into a `Curve`, `gated` into a `Gated`, `maximum` into a `MaxUnit`, `output`
into an `Output`; each adds the unit and its connections and returns the unit's value.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np

from toolchain.frontend.batch_axis import AnyValue, Displaced
from toolchain.frontend.channels import channel_values
from toolchain.frontend.construction import BATCH, INPUT, Construction
from toolchain.frontend.expression import Expression, LinearTerm, Pooled, Refusal, Value, settled, value_of
from toolchain.netlist import Operator, Pad, Permute, Reshape, Scale, Shape, Slice, SumPool, per_channel
from toolchain.network import Activation, Curve, Function, Gated, MaxUnit, Output, X


class NetworkBuilder(Construction):
    """A network under construction, and the ways to close an expression into a unit.

    Parameters
    ----------
    input_shape : tuple of int
    batch : int
        Extent of the batch axis in the graph that is read.
    """

    def __init__(self, input_shape: Shape, batch: int = BATCH) -> None:
        super().__init__(input_shape, batch)
        # Pools of pools share what they pool. Values are kept beside what became of them, since the ids are theirs.
        self._poolable_values: dict[int, tuple[Expression, Expression]] = {}
        self._maxima: dict[tuple[object, ...], tuple[Expression, Expression]] = {}

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
                inner = self.pool(inner, window, value.path)
            for operator in value.tail:
                inner = inner.through(operator)
            return inner.shift(low)
        if low == 0 and self._within(value, high):
            return value
        if any(isinstance(self._units[t.source], Curve) for t in value.terms) and self.definitions.bends(value):
            return self.curve(value, Function("clip", (X, float(low), float(high))))
        clipped = self.definitions.of_unit(value)
        if clipped is not None and isinstance(unit := self._units[value.terms[0].source], Activation):
            low, high = max(low, 0.0), min(high, unit.upper)
            return self.activate(clipped.argument.shift(-low), high - low).shift(low)
        return self.activate(value.shift(-low) if low else value, high - low).shift(low)

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

    def _upper(self, name: str) -> float:
        unit = self._units[name]
        if isinstance(unit, Activation):
            return unit.upper
        return max((self._upper(c.source) for c in self._connections if c.target == name), default=inf)

    # Other functions of one value, and gates -------------------------------------------------------

    def curve(self, value: Value, function: Function) -> Expression:
        """Return ``function(value)``, element by element: a `Curve` of the first value that it is a function of.

        Raises
        ------
        Refusal
            When the value is a constant.
        """
        value = settled(value)
        if not value.terms:
            raise Refusal("bends a constant that does not depend on the input", "drop the layers before it")
        variable, (inner,) = self.definitions.common([value]) or (value, [X])
        return self.bend(variable, function.of(inner))

    def bend(self, value: Expression, function: Function) -> Expression:
        """Close an expression into a `Curve`, whatever it is a function of itself."""
        return self._close(value, function, lambda name, shape, bias: Curve(name, shape, bias, function), "curve")

    def gated(self, value: Expression, gate: Expression) -> Expression:
        """Return ``value * gate``, of one shape: a `Gated`."""
        path, bias = self.path, self._compact(value.bias)
        self.path = f"{path}.gate" if path else "gate"
        (opened,) = self.bend(gate, X).terms
        self.path = path
        terms = [*self._simplified(value), opened]
        name = self._add(lambda free: Gated(free, value.shape, bias, opened.source), terms, path, "product")
        return self._value(name)

    # Maxima --------------------------------------------------------------------------------------

    def maximum(self, value: Value, window: SumPool) -> Value:
        """Return the maximum over windows.

        Parameters
        ----------
        value : Expression or Pooled
        window : SumPool
            The windows' geometry; padding counts as no value.

        Returns
        -------
        Expression or Pooled
            A unit's value for values that are never negative; for others `Pooled`, which takes a clipping first.

        Raises
        ------
        Refusal
            When the value is a constant, or a window may lie in the padding.
        """
        if any(n >= k for k, pair in zip(window.kernel, window.padding, strict=True) for n in pair):
            raise Refusal("has windows of padding alone", "pad by less than the window")
        if isinstance(value, Pooled) and not value.tail:
            return replace(value, windows=(*value.windows, window))
        value = settled(value)
        if not value.terms:
            raise Refusal("takes the maximum of a constant", "drop the layers before it")
        if self._scaled(value) is None and self.is_non_negative(value) and all(t.source != INPUT for t in value.terms):
            return self.pool(value, window, self.path)
        return Pooled(value, (window,), self.path, self._settle)

    def _settle(self, pooled: Pooled) -> Expression:
        """Take maxima of values that may be negative.

        A maximum goes through a function that rises, and so through each of its pieces, which are never negative: the
        function that the value is, or the identity. It goes through a normalisation of a unit that is not negative.
        """
        path, self.path = self.path, pooled.path
        normalized = self._scaled(pooled.value)
        if normalized is not None:
            result, scale, shift = normalized
        else:
            result = self._rising(pooled.value)
        for window in pooled.windows:
            result = self.pool(result, window, pooled.path)
        if normalized is not None:
            result = result.through(Scale(scale)).shift(per_channel(shift, result.shape))
        self.path = path
        for operator in pooled.tail:
            result = result.through(operator)
        return result

    def _rising(self, value: Expression) -> Expression:
        """Close a value into a `Curve` whose pieces rise, the same one for all maxima of it."""
        key = id(value)
        if key not in self._poolable_values:
            variable, (function,) = self.definitions.common([value]) or (value, [X])
            bent = (variable, function) if function.rises else (value, X)
            self._poolable_values[key] = (value, self.bend(*bent))
        return self._poolable_values[key][1]

    def _scaled(self, value: Expression) -> tuple[Expression, np.ndarray, np.ndarray] | None:
        """Return x, a and b where the value is ``a x + b`` of a unit x that is not negative, a >= 0 and b per channel.

        None where it is not, or is x itself. ``max(a x + b) = a max(x) + b``, which costs no unit: a batch
        normalisation between a ReLU and its pooling, as Keras' users write it.
        """
        if len(value.terms) != 1 or not self._non_negative((term := value.terms[0]).source):
            return None
        scales = [o for o in term.operators if isinstance(o, Scale)]
        moves = tuple(o for o in term.operators if not isinstance(o, Scale))
        shift = channel_values(value.bias)
        if not scales or shift is None or any(not isinstance(o, Reshape | Permute | Slice) for o in moves):
            return None
        if any(o.weight.min() < 0 for o in scales):
            return None
        ones = value_of(term.source, self._units[term.source].shape, value.depth).shift(1.0)
        for operator in term.operators:
            ones = ones.through(operator)
        scale = channel_values(ones.bias)
        if scale is None:
            return None
        return replace(value, terms=(LinearTerm(term.source, moves),), bias=np.zeros(value.shape)), scale, shift

    def pool(self, value: Expression, window: SumPool, path: str) -> Expression:
        """Close values into a `MaxUnit`, which reads one unit, moved within its channels: a `Curve`, or never negative.

        Any other value is closed into a unit first, which leaves it as it is.
        """
        key = (id(value), window.kernel, window.stride, window.padding)
        if key not in self._maxima:
            terms = self._simplified(value)
            if len(terms) != 1 or value.bias.any() or not self._poolable(terms[0]):
                closed = self.activate(value, inf) if self.is_non_negative(value) else self.bend(value, X)
                return self.pool(closed, window, path)
            name = self._add(
                lambda free: MaxUnit(free, value.shape, window.kernel, window.stride, window.padding),
                terms,
                *(path, f"{terms[0].source}.max", "max"),
            )
            self._maxima[key] = (value, self._value(name))
        return self._maxima[key][1]

    def _poolable(self, term: LinearTerm) -> bool:
        """Return whether a maximum may read a term: values moved within their channels, none below a pad's zeros."""
        if not all(map(_keeps_channels, term.operators, self._shapes(term))):
            return False
        return self._non_negative(term.source) or not any(isinstance(o, Pad) for o in term.operators)

    # Results -------------------------------------------------------------------------------------

    def output(self, value: AnyValue) -> str:
        """Read a value out: close it into an `Output`, whose name is returned.

        Raises
        ------
        Refusal
            When it does not depend on the input.
        """
        if isinstance(value, Displaced) and value.batch == 1:
            value = value.value  # where its one sample stands is of no account
        if isinstance(value, Displaced):
            raise Refusal("is returned with its batch axis moved, or joined with another", "keep the batch axis first")
        settled_value = settled(value)
        terms = self._simplified(settled_value)
        if not terms:
            raise Refusal("returns a constant that does not depend on the input", "return what the network computes")
        shape, bias = settled_value.shape, self._compact(settled_value.bias)
        candidates = (settled_value.weighted[-1], settled_value.affine[-1], "output")
        return self._add(lambda free: Output(free, shape, bias), terms, *candidates)


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
