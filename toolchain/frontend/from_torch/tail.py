"""The tail of a traced program: which operations the host takes, and the ONNX model that they make."""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from toolchain.frontend.batch_axis import whole_shape
from toolchain.frontend.ending import GraphStep, Kind
from toolchain.frontend.expression import Refusal
from toolchain.frontend.from_torch.curves import CLIPS
from toolchain.frontend.from_torch.layers import LAYERS
from toolchain.frontend.from_torch.moves import MOVES
from toolchain.frontend.from_torch.pooling import POOLING
from toolchain.frontend.from_torch.resampling import RESAMPLING
from toolchain.netlist import Tail
from toolchain.tail import HOST_OPERATORS, make_tail

#: What the host does at a network's end even where neurons come near it: it is exact there.
_CURVES = frozenset({"sigmoid", "hardsigmoid", "tanh", "softplus", "softsign", "special_expit"})
#: What the host does besides: decisions and decoding, without weights of their own.
_DECISIONS = frozenset(
    {"softmax", "_softmax", "log_softmax", "_log_softmax", "logsumexp", "argmax", "argmin", "topk", "sort", "max"}
    | {"exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "pow", "square", "abs", "sign", "reciprocal", "floor", "ceil"}
    | {"round", "gt", "ge", "lt", "le", "eq", "ne", "where", "amin", "min"}
    | {f"{kind}_{name}" for kind in ("logical", "bitwise") for name in ("and", "or", "xor", "not")}
    | {"linalg_vector_norm", "norm", "clamp_min", "expand", "expand_as", "gather", "index", "index_select", "stack"}
    | {"norm", "sin", "cos", "atan", "atan2", "floor_divide", "remainder", "cumsum", "one_hot", "prod", "repeat"}
)
#: What reads results of the host and goes on there.
HOST = frozenset(
    (_CURVES | _DECISIONS | LAYERS.keys() | CLIPS.keys() | MOVES.keys() | POOLING.keys() | RESAMPLING.keys())
    - {name for name, operation in LAYERS.items() if operation.role == "weighted" or "batch_norm" in name}
)

_LAYOUT = frozenset(
    {"view", "reshape", "_unsafe_view", "_reshape_copy", "view_copy", "flatten", "unflatten", "squeeze", "unsqueeze"}
    | {"permute", "transpose", "swapaxes"}
)
_TAKES = frozenset(
    {"slice", "select", "split", "split_with_sizes", "chunk", "unbind", "clone", "contiguous", "alias", "detach"}
    | {"_to_copy", "to", "dropout", "feature_dropout", "getitem"}
)
_SCALES = frozenset({"add", "sub", "rsub", "mul", "div", "neg"})


def is_host(operation: str) -> bool:
    """Return whether the host can compute an operation."""
    return operation in HOST or operation == "getitem"


def is_left(operation: str) -> bool:
    """Return whether an operation that reads units is left to the host, where no weights come after it."""
    known = any(operation in table for table in (LAYERS, CLIPS, MOVES, POOLING, RESAMPLING))
    return operation in _CURVES or (operation in _DECISIONS and not known)


def step_of(node: Node, operation: str) -> GraphStep:
    """Return what a node does, as far as a tail is concerned."""
    return GraphStep(_kind(node, operation), tuple(node.all_input_nodes), (node,))


def _kind(node: Node, name: str) -> Kind:
    if name in _LAYOUT:
        return Kind.MOVES
    if name in _TAKES or node.target is operator.getitem:
        return Kind.TAKES
    if name in _SCALES:
        return Kind.SCALES
    if name in ("cat", "concat", "concatenate"):
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        return Kind.JOINS if axis == 1 else Kind.STACKS
    if name == "sym_size":
        return Kind.ASKS
    return Kind.OTHER if is_host(name) else Kind.WEIGHS


def tail_of(
    nodes: Sequence[Node], readouts: Mapping[Node, str], results: Sequence[Node], values: Mapping[Node, Any], batch: int
) -> Tail:
    """Return the tail that some nodes of a program are.

    Parameters
    ----------
    nodes : sequence of Node
        In topological order.
    readouts : mapping of Node to str
        What the netlist reads out, and the names of its readouts.
    results : sequence of Node
        What the program returns.
    values : mapping of Node to Any
        What every node of the program is.
    batch : int

    Raises
    ------
    Refusal
        When PyTorch cannot write them as ONNX.
    """
    try:
        import onnxscript  # noqa: F401  (torch.onnx.export says less clearly that it is missing)
    except ImportError:
        raise Refusal("needs the package onnxscript, which is not installed", "pip install onnxscript") from None
    module, examples = _module(nodes, readouts, results, values, batch)
    quiet = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(module, tuple(examples), dynamo=True, verbose=False, optimize=True)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise Refusal(
            f"cannot be written as ONNX for the host: {lines[0] if lines else error!r}",
            "end the network before it (`outputs`)",
        ) from error
    finally:
        logging.disable(quiet)
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    graph = model.graph
    if foreign := sorted({n.op_type for n in graph.node} - HOST_OPERATORS):
        raise Refusal(
            f"takes {', '.join(foreign)}, which no tail holds, to be computed on the host",
            "end the network before it (`outputs`)",
        )
    _rename(graph, [node.name for node in dict.fromkeys(results)])
    named = list(zip(readouts.values(), graph.input, strict=True))
    return make_tail(graph.node, named, graph.output, graph.initializer, model.opset_import, batch)


def _module(
    nodes: Sequence[Node], readouts: Mapping[Node, str], results: Sequence[Node], values: Mapping[Node, Any], batch: int
) -> tuple[GraphModule, list[Tensor]]:
    """Return a module of these nodes alone, in float32, and inputs of the shapes that it takes."""
    graph, root, place = Graph(), nn.Module(), {}
    examples = []
    for node in readouts:
        place[node] = graph.placeholder(node.name)
        examples.append(torch.zeros(whole_shape(values[node], batch)))
    for node in nodes:
        for read in node.all_input_nodes:
            if read not in place:
                root.register_buffer(read.name, _as_traced(values[read], read))
                place[read] = graph.get_attr(read.name)
        place[node] = graph.node_copy(node, place.__getitem__)
        place[node].name = node.name
    graph.output(tuple(place[node] for node in dict.fromkeys(results)))
    return GraphModule(root, graph), examples


def _as_traced(value: Any, node: Node) -> Tensor:
    """Return a constant in float32, or as whole numbers: real ones are computed in float64."""
    if not isinstance(value, Tensor):
        raise Refusal(f"reads {node.name}, which is no tensor", "end the network before it (`outputs`)")
    return value.float() if value.is_floating_point() else value


def _rename(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Call the outputs what the program calls them; other tensors make way."""
    new = {o.name: name for o, name in zip(graph.output, names, strict=True)}
    taken = {t for node in graph.node for t in (*node.input, *node.output)} | {i.name for i in graph.input}
    for name in new.values():
        if name in taken and name not in new:
            new[name] = f"{name}_before"
    for node in graph.node:
        node.input[:] = [new.get(t, t) for t in node.input]
        node.output[:] = [new.get(t, t) for t in node.output]
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = new.get(named.name, named.name)
