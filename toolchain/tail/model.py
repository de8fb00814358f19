"""The model of a tail: which operators it may hold, how it is made, and how a file's is checked."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from toolchain.netlist import FormatError, Tail

#: ONNX operators that are left to the host at a network's end: decisions and decoding, without weights of their own.
#: None of them runs another graph, reads a file or draws a random number.
HOST_OPERATORS = frozenset(
    {"Softmax", "LogSoftmax", "Hardmax", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign"}
    | {"Add", "Sub", "Mul", "Div", "Neg", "Abs", "Reciprocal", "Sum", "Mean", "Max", "Min", "Mod", "Sign"}
    | {"Exp", "Log", "Sqrt", "Pow", "Floor", "Ceil", "Round", "Clip", "Relu", "Sin", "Cos", "Atan"}
    | {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "Xor", "Where", "IsNaN"}
    | {"ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "NonZero", "OneHot", "CumSum", "Unique"}
    | {"ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp"}
    | {"ReduceSumSquare", "LpNormalization", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
    | {"Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Resize", "Upsample", "Pad"}
    | {"Concat", "Split", "Slice", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile"}
    | {"DepthToSpace", "SpaceToDepth", "Identity", "Dropout", "Cast", "Shape", "Size", "Range", "Constant"}
    | {"ConstantOfShape", "Conv"}
)
#: `Conv` takes the mean of a distribution over bins: it has one output channel.
_FIX = "convert the network again"


def make_tail(
    nodes: Sequence[onnx.NodeProto],
    readouts: Sequence[tuple[str, onnx.ValueInfoProto]],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[TensorProto],
    opsets: Sequence[onnx.OperatorSetIdProto],
    batch: int,
) -> Tail:
    """Return the tail that a part of a graph is.

    Parameters
    ----------
    nodes : sequence of NodeProto
        In topological order.
    readouts : sequence of (name, ValueInfoProto)
        The netlist's name of each input, and the tensor that it is in the graph, with its whole shape.
    outputs : sequence of ValueInfoProto
    constants : sequence of TensorProto
    opsets : sequence of OperatorSetIdProto
    batch : int
    """
    graph = onnx.helper.make_graph(list(nodes), "tail", [i for _, i in readouts], list(outputs), list(constants))
    _complete(graph, opsets, batch)
    standard = next(o.version for o in opsets if o.domain in ("", "ai.onnx"))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", standard)])
    model.ir_version = min(model.ir_version, 10)
    return Tail(
        tuple(name for name, _ in readouts),
        tuple(o.name for o in outputs),
        tuple(dict.fromkeys(n.op_type for n in nodes if n.op_type not in ("Identity", "Constant"))),
        batch,
        base64.b64encode(model.SerializeToString(deterministic=True)).decode("ascii"),
    )


def _complete(graph: onnx.GraphProto, opsets: Sequence[onnx.OperatorSetIdProto], batch: int) -> None:
    """Say of every output what type it has, and whether its first axis is the batch, where that is open."""
    if all(o.type.tensor_type.HasField("shape") for o in graph.output):
        return
    feeds = {
        i.name: np.zeros(_shape(i), onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type))
        for i in graph.input
    }
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(graph, opsets={o.domain.removeprefix("ai.onnx"): o.version for o in opsets}).run(
            None, feeds
        )
    for output, result in zip(graph.output, map(np.asarray, results), strict=True):
        axes = [batch if a == 0 and n == batch else None for a, n in enumerate(result.shape)]
        kind = onnx.helper.np_dtype_to_tensor_dtype(result.dtype)
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, kind, axes))


def read_model(tail: Tail) -> onnx.ModelProto:
    """Return the model of a tail, checked.

    Raises
    ------
    FormatError
        When it is no valid ONNX graph, holds operators that no tail has, or does not fit the names.
    """
    try:
        model = onnx.load_model_from_string(tail.content)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        lines = str(error).strip().splitlines()
        raise FormatError("tail", f"is no valid ONNX graph: {lines[0] if lines else error}", _FIX) from None
    foreign = sorted({n.op_type for n in model.graph.node if n.domain or n.op_type not in HOST_OPERATORS})
    if foreign or model.functions:
        raise FormatError("tail", f"holds {', '.join(foreign) or 'functions'}, which no tail does", _FIX)
    counts = (len(model.graph.input), len(model.graph.output))
    if counts != (len(tail.readouts), len(tail.outputs)):
        expected = f"{len(tail.readouts)} and {len(tail.outputs)}"
        raise FormatError("tail", f"has {counts[0]} inputs and {counts[1]} outputs, expected {expected}", _FIX)
    return model


def input_shapes(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    """Return the whole shape of every input."""
    return [_shape(i) for i in model.graph.input]


def _shape(tensor: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in tensor.type.tensor_type.shape.dim)


def input_types(model: onnx.ModelProto) -> list[np.dtype[np.generic]]:
    """Return the number type of every input."""
    return [onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in model.graph.input]
