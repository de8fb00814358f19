"""An ONNX node as its reader sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from toolchain.frontend.expression import Refusal, Value
from toolchain.frontend.operations import is_value

#: Types that hold real numbers, to a rounding that a network bears.
FLOATING = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


class OnnxNode:
    """A node's inputs and attributes.

    Parameters
    ----------
    proto : onnx.NodeProto
    inputs : list of Value, ndarray or None
    version : int
        Operator set.
    batch : int
        Extent of the batch axis in the graph's shapes.
    """

    def __init__(self, proto: onnx.NodeProto, inputs: list[Any], version: int, batch: int) -> None:
        self.inputs = inputs
        self.version = version
        self.batch = batch
        self.outputs = len(proto.output)
        self._attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute; strings are decoded, lists become tuples."""
        value = self._attributes.get(name, default)
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return tuple(value) if isinstance(value, list) else value

    @property
    def value(self) -> Value:
        """The first input, which must depend on the network's input."""
        x: Value = self.inputs[0]
        if not is_value(x):
            raise Refusal("takes its data from a constant and its parameters from the input", "use fixed weights")
        return x

    def operand(self, index: int) -> Any:
        """Return an optional input: a value, a constant or None."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> np.ndarray | None:
        """Return an optional constant input."""
        x = self.operand(index)
        if is_value(x):
            raise Refusal("has parameters that depend on the input", "use fixed weights")
        constant: np.ndarray | None = x
        return constant

    def required(self, index: int) -> np.ndarray:
        """Return a constant input."""
        x = self.constant(index)
        if x is None:
            raise Refusal(f"lacks its input {index}", "export it again")
        return x

    def ints(self, name: str, index: int) -> tuple[int, ...] | None:
        """Return integers that older operator sets keep in an attribute and newer ones in an input."""
        x = self.constant(index)
        if x is not None:
            return tuple(int(n) for n in x.ravel())
        value = self.attribute(name)
        return (value,) if isinstance(value, int) else value
