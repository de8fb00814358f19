"""From an ONNX file to a float network: the same expressions, read from another graph.

The file is checked (`onnx.checker`, shape inference included) before anything is computed, weights are read
from its own folder only, and nothing of the file is executed: nodes are interpreted here, those that
depend on constants alone by ONNX's reference evaluator, from a short list of operations.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from toolchain.frontend.advice import onnx_advice
from toolchain.frontend.batch_axis import AnyValue, is_flat_value, whole_shape
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.ending import inner_steps, needed_steps, tail_steps
from toolchain.frontend.expression import Refusal
from toolchain.frontend.from_onnx import quantized
from toolchain.frontend.from_onnx.curves import CLIPS, CURVES
from toolchain.frontend.from_onnx.external import take_in
from toolchain.frontend.from_onnx.layers import LAYERS
from toolchain.frontend.from_onnx.moves import MOVES
from toolchain.frontend.from_onnx.node import FLOATING, OnnxNode
from toolchain.frontend.from_onnx.resampling import RESAMPLING
from toolchain.frontend.from_onnx.tail import cut, is_left, steps_of, tail_of
from toolchain.frontend.inputs import Given, one_batch, parts_of, settle_input, shape_of, shapes_for, sources
from toolchain.frontend.operations import is_value, refusals
from toolchain.netlist import AdafireError, FormatError, InputError, Tail, UnsupportedError
from toolchain.network import FloatNetwork
from toolchain.tail import HOST_OPERATORS

#: Operator sets that are read.
OPSETS = range(7, 26)
#: Operators are known as this version of ONNX and later ones define them; older graphs are lifted to it.
_OLDEST = 9

#: What is read, by ONNX name.
ONNX = {**LAYERS, **CLIPS, **CURVES, **RESAMPLING, **MOVES}

#: What a value is that the host computes.
HOST = object()

#: No constant that a node makes may hold more values (256 MiB as float64).
_MAX_CONSTANT = 2**25 - 1

#: Kinds of arrays that hold real numbers: "V" are those of 16 bits and fewer that numpy does not know.
_REAL = "fV"

#: What leaves whole numbers what they are. A graph that takes some has to cast them before it computes.
_MOVING = MOVES.keys() | {"Shape", "MaxPool", "DequantizeLinear", "Gather", "Pad", "Tile", "Expand", "SpaceToDepth"}

#: What is computed when all operands are constant.
FOLDED = frozenset(
    {"Add", "Sub", "Mul", "Div", "Mod", "Neg", "Reciprocal", "Pow", "Exp", "Sqrt", "Ceil", "Floor", "Max", "Min"}
    | {"QuantizeLinear", "DequantizeLinear", "Softplus", "Erf"}
    | {"And", "Or", "Not", "Equal", "Greater", "Less", "Where", "ReduceL2", "ReduceProd", "ReduceSum"}
    | {"Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Gather", "Identity", "Range"}
    | {"Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze", "Flatten", "Split", "Tile", "Size"}
    | {"GatherElements", "GatherND", "ScatterND", "Trilu", "EyeLike", "NonZero", "CumSum", "MatMul", "Sum", "Mean"}
    | {"ReduceMax", "ReduceMin", "ReduceMean", "LessOrEqual", "GreaterOrEqual", "Xor", "Abs", "Sign", "Round", "Log"}
    | {"Sin", "Cos", "Tanh", "Sigmoid", "Relu", "Clip"}
)


#: Those of them whose operands grow to a common shape.
_BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Mod", "Pow", "Max", "Min", "And", "Or", "Xor", "Equal", "Greater", "Less"}
    | {"LessOrEqual", "GreaterOrEqual", "Where", "Sum", "Mean"}
)


def read_onnx(path: str | Path, input_shape: Given | None = None, outputs: Sequence[str] = ()) -> FloatNetwork:
    """Read an ONNX file as units and linear connections.

    Parameters
    ----------
    path : str or Path
    input_shape : Given, optional
        Of a sample, without the batch axis; needed only where the file leaves axes open, or for several inputs.
    outputs : sequence of str
        Names of tensors, or of nodes, where the network ends; by default the graph's own outputs.

    Returns
    -------
    FloatNetwork
        Equal to the graph's function up to the rounding of floats; weights float64.

    Raises
    ------
    FormatError
        When the file is no valid ONNX graph.
    UnsupportedError
        For a node that cannot be expressed; names the node, the operator and a way out.
    InputError
        When the file cannot be read, the input shape does not fit, or there is no tensor of such a name.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"cannot read the graph: {error.strerror}") from None
    model = _parsed(str(path), data)
    beside = take_in(path, _tensors(model.graph))
    model = _checked(str(path), model)
    if outputs:
        cut(model, outputs)
    axes = _input_axes(model.graph)
    wanted = shapes_for(str(path), list(axes), input_shape)
    settled = [settle_input(str(path), axes[name], shape, name) for name, shape in zip(axes, wanted, strict=True)]
    given = parts_of(input_shape) or settled[0][0]
    batch = one_batch(str(path), [found for _, found in settled])
    name = f"onnx:{model.graph.name or path.stem}"
    return _Interpreter(str(path), model, given, batch).network(
        name, hashlib.sha256(b"".join([data, *beside])).hexdigest()
    )


def _parsed(where: str, data: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except DecodeError:
        raise FormatError(where, "is no ONNX file", "export it again with torch.onnx.export") from None


def _checked(where: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model, its operators as they are known here; raise where it is none, or holds others."""
    with _invalid(where):
        if not all(o.type.tensor_type.HasField("shape") for o in model.graph.output):
            known = {o.name: o for o in onnx.shape_inference.infer_shapes(model).graph.output}
            for output in model.graph.output:  # some exporters leave it to others
                output.CopyFrom(known[output.name])
        onnx.checker.check_model(model, full_check=True)
    if any(not isinstance(name, str) for name in _names(model.graph)):
        raise FormatError(where, "has names that are no text", "export it again")
    versions = {o.domain: o.version for o in model.opset_import}
    foreign = sorted(d for d in versions if d not in ("", "ai.onnx"))
    used = sorted({n.domain for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    if used or model.functions:
        names = ", ".join(used or foreign)
        raise UnsupportedError(where, f"uses operators of the domain {names}", "export it with standard operators")
    version = versions.get("", versions.get("ai.onnx", 0))
    if version not in OPSETS:
        raise UnsupportedError(
            where,
            f"is of operator set {version}, expected {OPSETS.start} to {OPSETS.stop - 1}",
            "export it with opset_version=17",
        )
    if version >= _OLDEST:
        return model
    with _invalid(where):
        return onnx.version_converter.convert_version(model, _OLDEST)


@contextmanager
def _invalid(where: str) -> Iterator[None]:
    """Turn what onnx says of a damaged graph into one error."""
    try:
        yield
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        raise FormatError(where, f"is no valid ONNX graph: {lines[0] if lines else error}", "export it again") from None


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    yield graph.name
    for named in (*graph.input, *graph.output, *graph.initializer):
        yield named.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (a.name for a in node.attribute)


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _input_axes(graph: onnx.GraphProto) -> dict[str, list[int | None]]:
    """Return the axes of every input by its name, None for open ones."""
    weights = {t.name for t in graph.initializer}
    inputs = {i.name: i.type.tensor_type.shape.dim for i in graph.input if i.name not in weights}
    # An axis without a name or an extent is open, and so is one of -1 (Paddle) or 0.
    return {name: [d.dim_value if d.dim_value > 0 else None for d in axes] for name, axes in inputs.items()}


class _Interpreter:
    """One pass over the nodes in their (topological) order."""

    def __init__(self, where: str, model: onnx.ModelProto, given: Given, batch: int) -> None:
        self.where = where
        self.model = model
        self.graph = model.graph
        self.version = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.batch = batch
        self.builder = NetworkBuilder(shape_of(given), batch)
        self.values: dict[str, Any] = {"": None}
        self.modules: dict[str, str] = {}
        for tensor in self.graph.initializer:
            self.values[tensor.name] = self._array(tensor)
        types = {i.name: i.type.tensor_type.elem_type for i in self.graph.input if i.name not in self.values}
        self.values |= sources(self.builder, types, given)
        self.whole = {name for name, kind in types.items() if kind not in FLOATING}

    def network(self, name: str, weights_sha256: str) -> FloatNetwork:
        """Interpret every node that the results depend on, and close what is read out into outputs."""
        steps = steps_of(self.graph)
        results = [output.name for output in self.graph.output]
        needed = sorted(needed_steps(steps, results))
        nodes, steps = [self.graph.node[i] for i in needed], [steps[i] for i in needed]
        inner = inner_steps(steps)
        host = frozenset(i for i, proto in enumerate(nodes) if not self._step(i, proto, i in inner))
        taken = tail_steps(steps, host, results, self._is_flat)
        self.builder.path = ""
        tail = self._read_out([nodes[i] for i in sorted(taken)])
        with self._refusals(self.where, "the network"):
            return self.builder.network(name, weights_sha256, tail)

    def _is_flat(self, name: Any) -> bool | None:
        value: Any = self.values.get(name)
        return is_flat_value(value, self.batch) if is_value(value) else None

    def _read_out(self, nodes: list[onnx.NodeProto]) -> Tail | None:
        """Close what the host reads, and what the network returns, into outputs; return the tail behind them."""
        made = {name for node in nodes for name in node.output}
        asked = dict.fromkeys(name for node in nodes for name in node.input if is_value(self.values[name]))
        # A graph may return one value twice.
        results = [output.name for output in self.graph.output if output.name not in asked]
        readouts: dict[str, str] = {}
        for name in (*asked, *results):
            if name in made:
                continue
            with self._refusals(f"output {name}", "its result"):
                if not is_value(self.values[name]):
                    raise Refusal("is a constant that does not depend on the input", "export what is computed")
                readouts[name] = self.builder.output(self.values[name])
        return tail_of(self.model, nodes, readouts, self.values, self.batch) if nodes else None

    def _array(self, tensor: TensorProto) -> np.ndarray:
        try:
            array = np.asarray(numpy_helper.to_array(tensor))
        except (TypeError, ValueError) as error:
            raise FormatError(
                self.where, f"the weights {tensor.name!r} are damaged: {error}", "export it again"
            ) from None
        if array.dtype.kind in _REAL:
            with np.errstate(invalid="ignore"):  # a signalling NaN is found below
                array = array.astype(np.float64)
            if not np.isfinite(array).all():
                raise InputError(self.where, f"the weights {tensor.name!r} hold NaN or infinite values", "train again")
        return array

    def _step(self, position: int, proto: onnx.NodeProto, inner: bool) -> bool:
        """Compute a node's results; return False where it is left to the host, at the network's end."""
        self.builder.path = _path(proto)
        with self._refusals(self.builder.path or proto.op_type, proto.op_type):
            if by_product := next((name for name in proto.input if name not in self.values), None):
                raise Refusal(f"reads {by_product!r}, a mask or statistics of training", "export it in eval mode")
            inputs = [self.values[name] for name in proto.input]
            if any(value is HOST for value in inputs):
                return self._leave(proto)
            if self.whole.intersection(proto.input):
                if proto.op_type not in _MOVING:
                    raise Refusal("computes with whole numbers", "export a network whose input is float32")
                self.whole.update(proto.output if proto.op_type not in ("Cast", "Shape", "DequantizeLinear") else ())
            elif proto.op_type == "QuantizeLinear":
                self.whole.update(proto.output)
            depends = any(is_value(v) for v in inputs)
            if proto.op_type == "If":
                self._branch(position, proto, inputs[0])
                return True
            if depends and not inner and proto.op_type != "Shape" and is_left(proto.op_type):
                return self._leave(proto)
            results = self._results(position, proto, inputs, depends)
            self.values.update(zip(proto.output, results, strict=False))
        return True

    def _branch(self, position: int, proto: onnx.NodeProto, condition: Any) -> None:
        """Read the branch that a constant chooses, as if it stood in the graph's place."""
        if is_value(condition):
            raise Refusal("chooses by the values of an activation", "let the module treat every sample alike")
        chosen = "then_branch" if np.all(condition) else "else_branch"
        (branch,) = (a.g for a in proto.attribute if a.name == chosen)
        for tensor in branch.initializer:
            self.values[tensor.name] = self._array(tensor)
        for node in branch.node:
            self._step(position, node, inner=True)
        self.values.update((name, self.values[o.name]) for name, o in zip(proto.output, branch.output, strict=True))

    def _leave(self, proto: onnx.NodeProto) -> bool:
        if proto.op_type not in HOST_OPERATORS:
            raise Refusal("is not supported", onnx_advice(proto.op_type))
        self.values.update((name, HOST) for name in proto.output)
        return False

    def _results(self, position: int, proto: onnx.NodeProto, inputs: list[Any], depends: bool) -> tuple[Any, ...]:
        if not depends:
            return self._fold(proto, inputs)
        if proto.op_type == "Shape":
            return (self._shape(proto, inputs[0]),)
        operation = ONNX.get(proto.op_type)
        if operation is None:
            raise Refusal("is not supported", onnx_advice(proto.op_type))
        node = OnnxNode(proto, inputs, self.version, self.batch)
        operation.check(inputs)
        result = operation.read(self.builder, node)
        named = _module(proto.input) or self.builder.path or proto.op_type
        results = operation.label(self.builder, result, position, named)
        return results if isinstance(results, tuple) else (results,)

    def _shape(self, proto: onnx.NodeProto, value: AnyValue) -> np.ndarray:
        bounds = {a.name: a.i for a in proto.attribute}
        full = np.array(whole_shape(value, self.batch), dtype=np.int64)
        return full[bounds.get("start", 0) : bounds.get("end", len(full))]

    def _fold(self, proto: onnx.NodeProto, inputs: list[Any]) -> tuple[Any, ...]:
        """Compute a node whose operands are constants."""
        if proto.op_type not in FOLDED:
            raise Refusal("computes with constants alone and is not supported", "export with constant folding")
        if _values_made(proto.op_type, inputs) > _MAX_CONSTANT:
            raise Refusal("makes a constant of too many values", "export with constant folding")
        if proto.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return (quantized.fold(proto, inputs),)
        graph = helper.make_graph(
            [proto],
            "constant",
            [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in dict.fromkeys(proto.input) if n],
            [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in proto.output],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.version)])
        feeds = {n: v for n, v in zip(proto.input, inputs, strict=True) if n}
        results = [np.asarray(r) for r in ReferenceEvaluator(model).run(None, feeds)]
        return tuple(r.astype(np.float64) if r.dtype.kind in _REAL else r for r in results)

    @contextmanager
    def _refusals(self, node: str, operation: str) -> Iterator[None]:
        try:
            with refusals(node, operation):
                yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, AdafireError):
                raise
            # The checker let it through, but an attribute or operand is not what the operator takes.
            raise FormatError(
                self.where, f"node {node} ({operation}) is malformed: {error}", "export it again"
            ) from error


def _path(proto: onnx.NodeProto) -> str:
    """Return the module's path from a node name as PyTorch writes it: /layer1/layer1.0/conv1/Conv."""
    parts = [p for p in proto.name.split("/") if p]
    if not proto.name.startswith("/"):
        return parts[-1] if parts else ""
    modules = parts[:-1]
    outer = [a for a, b in zip(modules, [*modules[1:], ""], strict=False) if not b.startswith(f"{a}.")]
    return ".".join(outer)


def _module(inputs: Any) -> str:
    """Return the module that owns a node's weight, from the name of its initializer: conv1.weight."""
    return next((n.removesuffix(".weight") for n in inputs if n.endswith(".weight")), "")


def _values_made(operator: str, inputs: Sequence[Any]) -> float:
    """Return how many values a folded operator may make of constants: more than it is given, for some.

    What the operands do not allow at all is left to the operator itself.
    """
    given = [np.asarray(x) for x in inputs if x is not None]
    match operator, given:
        case "ConstantOfShape", [shape, *_]:
            return math.prod(int(n) for n in shape.ravel())
        case "Expand" | "Tile", [values, shape, *_]:
            return values.size * math.prod(int(n) for n in shape.ravel())
        case "Range", [start, limit, delta] if delta.size == 1 and delta.item() != 0:
            return float((limit.item() - start.item()) / delta.item())
        case "MatMul", [a, b] if a.ndim and b.ndim:
            return a.size * b.size / max(1, a.shape[-1]) ** 2
        case _ if operator in _BROADCASTING and given:
            try:
                return math.prod(np.broadcast_shapes(*(x.shape for x in given)))
            except ValueError:
                return 0
    return 0
