"""The tail of an ONNX graph: which nodes the host takes, and the model that they make."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.frontend.batch_axis import whole_shape
from toolchain.frontend.ending import GraphStep, Kind
from toolchain.frontend.from_onnx.curves import CLIPS
from toolchain.frontend.from_onnx.layers import LAYERS
from toolchain.frontend.from_onnx.moves import MOVES
from toolchain.frontend.from_onnx.resampling import RESAMPLING
from toolchain.netlist import InputError, Tail
from toolchain.tail import HOST_OPERATORS, make_tail

#: Names that a message suggests.
_SUGGESTED = 5

#: What the host does at a network's end even where neurons come near it: it is exact there.
_CURVES = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign"})

_MOVES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
_TAKES = frozenset({"Slice", "Split", "Gather", "Identity", "Cast", "Dropout"})
_SCALES = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Sum"})


def cut(model: onnx.ModelProto, outputs: Sequence[str]) -> None:
    """End a graph at some of its tensors, named by themselves or by the nodes that make them.

    Raises
    ------
    InputError
        When there is no tensor or node of such a name.
    """
    known = _value_infos(model)
    makers = {node.name: node.output for node in model.graph.node if node.name}
    made = {name for node in model.graph.node for name in node.output if name}
    names: list[str] = []
    for wanted in outputs:
        if wanted not in made and wanted not in makers:
            near = difflib.get_close_matches(wanted, made | makers.keys(), _SUGGESTED)
            ends = near or [name for node in reversed(model.graph.node) for name in node.output][:_SUGGESTED]
            raise InputError("outputs", f"{wanted!r} found, no tensor of that name", f"there are {', '.join(ends)}")
        names += [wanted] if wanted in made else [name for name in makers[wanted] if name]
    infos = [known.get(name) or helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names)]
    del model.graph.output[:]
    model.graph.output.extend(infos)


def _value_infos(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return what is known of the types and shapes of tensors."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {v.name: v for v in (*inferred.value_info, *inferred.input, *inferred.output)}


def steps_of(graph: onnx.GraphProto) -> list[GraphStep]:
    """Return what every node of a graph does, as far as a tail is concerned."""
    steps: list[GraphStep] = []
    makers: dict[str, int] = {}
    for node in graph.node:
        steps.append(GraphStep(_kind(node), tuple(_read(node)), tuple(n for n in node.output if n)))
        makers.update((name, len(steps) - 1) for name in node.output if name)
    bins = {tensor.name for tensor in graph.initializer if tensor.dims[:1] == [1]}
    for i, (node, step) in enumerate(zip(graph.node, steps, strict=True)):
        if node.op_type == "Conv" and node.input[1] in bins and _is_distribution(node.input[0], graph.node, makers):
            steps[i] = replace(step, kind=Kind.SCALES)
    return steps


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names of values that a node reads, in its branches too."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
        yield from (output.name for output in attribute.g.output)


def is_left(operator: str) -> bool:
    """Return whether an operator that reads units is left to the host, where no weights come after it."""
    known = any(operator in table for table in (LAYERS, CLIPS, MOVES, RESAMPLING))
    return operator in _CURVES or (operator in HOST_OPERATORS and not known)


def _kind(node: onnx.NodeProto) -> Kind:
    name = node.op_type
    if name in _MOVES:
        return Kind.MOVES
    if name in _TAKES:
        return Kind.TAKES
    if name in _SCALES:
        return Kind.SCALES
    if name in ("Shape", "Size"):
        return Kind.ASKS
    if name == "Concat":
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        return Kind.JOINS if axis == 1 else Kind.STACKS
    return Kind.OTHER if name in HOST_OPERATORS and name != "Conv" else Kind.WEIGHS


def _is_distribution(name: str, nodes: Sequence[onnx.NodeProto], makers: Mapping[str, int]) -> bool:
    """Return whether a value is a softmax, moved: a convolution to one channel takes its mean over bins."""
    while name in makers and nodes[makers[name]].op_type in _MOVES | _TAKES:
        name = nodes[makers[name]].input[0]
    return name in makers and nodes[makers[name]].op_type == "Softmax"


def tail_of(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    readouts: Mapping[str, str],
    values: Mapping[str, Any],
    batch: int,
) -> Tail:
    """Return the tail that some nodes of a graph are.

    Parameters
    ----------
    model : ModelProto
    nodes : sequence of NodeProto
        In topological order.
    readouts : mapping of str to str
        Names of the values that the netlist reads out, to those of its readouts.
    values : mapping of str to Any
        What every value of the graph is.
    batch : int
    """
    types = {name: v.type.tensor_type.elem_type for name, v in _value_infos(model).items()}
    made = {name for node in nodes for name in node.output}
    read = dict.fromkeys(name for node in nodes for name in node.input if name)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = [
        stored[name] if name in stored else _tensor(name, values[name], types.get(name, TensorProto.FLOAT))
        for name in read
        if name not in made and name not in readouts
    ]
    inputs = []
    for name, unit in readouts.items():
        shape = whole_shape(values[name], batch)
        inputs.append((unit, helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape)))
    return make_tail(nodes, inputs, model.graph.output, constants, model.opset_import, batch)


def _tensor(name: str, array: np.ndarray, kind: int) -> TensorProto:
    """Return a constant as the graph has it: real numbers are computed in float64."""
    if array.dtype.kind == "f":
        return (
            helper.make_tensor(
                name, kind, array.shape, array.astype(helper.tensor_dtype_to_np_dtype(kind)).ravel().tolist()
            )
            if kind != TensorProto.FLOAT
            else numpy_helper.from_array(array.astype(np.float32), name)
        )
    return numpy_helper.from_array(np.ascontiguousarray(array), name)
