"""Constants that a graph quantises or keeps quantised: ONNX's evaluator knows only the newest of these operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from toolchain.frontend.expression import Refusal

#: Range of the integers, by their type; uint8 without a zero point.
LIMITS = {"b": (-128, 127), "B": (0, 255), "h": (-32768, 32767), "H": (0, 65535)}


def fold(proto: onnx.NodeProto, inputs: list[Any]) -> np.ndarray:
    """Compute QuantizeLinear or DequantizeLinear of constants; ``(x - zero) * scale`` is what integers stand for."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    if attributes.get("block_size", 0):
        raise Refusal("quantises in blocks", "quantise per tensor or per channel")
    x, scale, *rest = (np.asarray(i) for i in inputs if i is not None)
    zero = rest[0] if rest else np.zeros(scale.shape, np.uint8)
    along = [1] * x.ndim
    if scale.size > 1:
        along[attributes.get("axis", 1)] = scale.size
        scale, zero = scale.reshape(along), zero.reshape(along)
    if proto.op_type == "DequantizeLinear":
        return np.asarray((x.astype(np.float64) - zero) * scale)
    if zero.dtype.char not in LIMITS:
        raise Refusal(f"quantises to {zero.dtype}", "quantise to 8 or 16 bits")
    return np.clip(np.rint(x / scale) + zero, *LIMITS[zero.dtype.char]).astype(zero.dtype)
