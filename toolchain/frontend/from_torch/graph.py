"""From an nn.Module to a float network, through torch.export.

Why torch.export and not torch.fx: fx records Python calls, so a functional ReLU, a lambda shortcut, an
in-place sum and a tensor method are four spellings to know, and Python control flow on shapes breaks it.
torch.export runs the module on fake tensors and yields ATen operations whatever the spelling; after
functionalisation (`run_decompositions({})`) in-place operations are gone, layers are still whole
(``conv2d``, not its pieces), and every node keeps the path of the module it came from.

The exported graph is then interpreted: tensors that depend on the input are expressions (see
`toolchain.frontend.expression`), all others are constants and computed as PyTorch would, in float64.
"""

from __future__ import annotations

import hashlib
import logging
import operator
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from toolchain.frontend.advice import UNSUPPORTED_LAYERS, advice
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.construction import BATCH
from toolchain.frontend.expression import MAX_VALUES, Expression, Pooled, Refusal
from toolchain.frontend.from_torch.curves import CURVES
from toolchain.frontend.from_torch.fake_quantization import plain_fake_quantization
from toolchain.frontend.from_torch.layers import LAYERS
from toolchain.frontend.from_torch.moves import MOVES
from toolchain.frontend.from_torch.pooling import POOLING
from toolchain.frontend.from_torch.weights import check_weights, tensors
from toolchain.frontend.operations import Operation, refusals
from toolchain.netlist import InputError, UnsupportedError
from toolchain.network import FloatNetwork

#: What is read, by ATen name.
ATEN = {**LAYERS, **CURVES, **POOLING, **MOVES}


def read_module(module: nn.Module, input_shape: tuple[int, ...]) -> FloatNetwork:
    """Read a trained module, in eval mode, as units and linear connections.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor (N, *input_shape); returns one tensor or a tuple, list or dict of them. It is
        left as it is.
    input_shape : tuple of int
        (C, H, W), (C, L) or (features,).

    Returns
    -------
    FloatNetwork
        Equal to the module's function up to the rounding of floats; weights float64.

    Raises
    ------
    UnsupportedError
        For a layer that cannot be expressed; names the module's path, the operation and a way out.
    InputError
        When the module cannot be run on such an input, or a weight is not finite.
    """
    check_weights(module)
    dtypes = [p.dtype for p in module.parameters() if p.is_floating_point()]
    example = torch.zeros(BATCH, *input_shape, dtype=dtypes[0] if dtypes else torch.float32)
    where = type(module).__name__
    with (
        _eval_mode(module),
        plain_fake_quantization(module),
        torch.no_grad(),
        redirect_stdout(sys.stderr),
    ):  # results alone belong to stdout
        try:
            module(example)
        except (Exception, SystemExit) as error:
            raise InputError(
                where,
                f"forward fails on a batch of inputs of shape {input_shape}: {_first_line(error)}",
                "import it at the top of the file, where its neighbours are found"
                if isinstance(error, ImportError)
                else "check the input shape, or pass a module that takes one tensor",
            ) from error
        program = export(module, example, where)
    return interpret(program, input_shape, type(module).__qualname__, state_hash(module))


def state_hash(module: nn.Module) -> str:
    """Return SHA-256 (hex) over the state_dict: sorted names, dtypes, shapes and little-endian bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors(module.state_dict()).items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{array.dtype}:{tuple(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    training = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, was in training.items():
            m.training = was


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch.export's warnings and graph dumps off stderr: what matters is in the error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def export(module: nn.Module, example: Tensor, where: str) -> torch.export.ExportedProgram:
    """Trace a module in eval mode on fake tensors into a functional graph of ATen operations."""
    with torch.no_grad(), _quiet():
        try:
            program: torch.export.ExportedProgram = torch.export.export(module, (example,)).run_decompositions({})
        except Exception as error:
            raise UnsupportedError(
                where,
                f"torch.export cannot trace forward: {_first_line(error)}",
                "remove control flow that depends on values, and code that leaves PyTorch",
            ) from error
    return program


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines and isinstance(error, Exception) else repr(error)


def interpret(
    program: torch.export.ExportedProgram,
    input_shape: tuple[int, ...],
    name: str,
    weights_sha256: str,
    batch: int = BATCH,
) -> FloatNetwork:
    """Build the float network of an exported, functionalised program, traced with a batch of `batch`."""
    builder = NetworkBuilder(input_shape, batch)
    values = _placeholders(program, builder)
    for position, node in enumerate(program.graph.nodes):
        if node.op != "call_function":
            continue
        builder.path = _module_path(node)
        with refusals(builder.path or "forward", _spelling(node)):
            values[node] = _evaluate(node, position, values, builder)
    (result,) = (n for n in program.graph.nodes if n.op == "output")
    builder.path = ""
    with refusals("forward", "its result"):
        for value in _results(result, values):
            if not isinstance(value, Expression | Pooled):
                raise Refusal("is a constant that does not depend on the input", "return what the network computes")
            builder.output(value)
        return builder.network(name, weights_sha256)


def _placeholders(program: torch.export.ExportedProgram, builder: NetworkBuilder) -> dict[Node, Any]:
    signature = program.graph_signature
    states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = signature.inputs_to_lifted_tensor_constants
    values: dict[Node, Any] = {}
    inputs = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in signature.user_inputs]
    if len(inputs) != 1:
        raise UnsupportedError("forward", f"takes {len(inputs)} tensors", "pass a module with one input tensor")
    if signature.buffers_to_mutate:
        changed = ", ".join(sorted(signature.buffers_to_mutate.values()))
        raise UnsupportedError("forward", f"changes its buffers in eval mode ({changed})", "use fixed statistics")
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        if node is inputs[0]:
            values[node] = builder.source
        elif node.name in states:
            name = states[node.name]
            tensor = program.state_dict[name] if name in program.state_dict else program.constants[name]
            values[node] = _double(tensor)
        else:
            values[node] = _double(program.constants[constants[node.name]])
    return values


def _double(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor


def _evaluate(node: Node, position: int, values: dict[Node, Any], builder: NetworkBuilder) -> Any:
    for made in _leaves(node.meta.get("val")):
        if isinstance(made, Tensor) and made.numel() > MAX_VALUES * builder.batch:
            raise Refusal(f"makes {tuple(made.shape)}, too many values", "make the network or its input smaller")
    args: Any = torch.fx.node.map_arg(node.args, values.__getitem__)
    kwargs: Any = torch.fx.node.map_arg(node.kwargs, values.__getitem__)
    if not any(isinstance(a, Expression | Pooled) for a in _leaves((args, kwargs))):
        return _constant(node, args, kwargs)
    if node.target is operator.getitem:
        return args[0][args[1]]
    for layer in _layers(node):
        if layer in UNSUPPORTED_LAYERS:
            raise Refusal(f"is part of {layer}, which is not supported", UNSUPPORTED_LAYERS[layer])
    operation: Operation | None = ATEN.get(_operation_name(node))
    if operation is None:
        raise Refusal("is not supported", advice(_operation_name(node)))
    result = operation.read(builder, *args, **kwargs)
    return operation.label(builder, result, position, builder.path or node.name)


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, tuple | list):
        for item in tree:
            yield from _leaves(item)
    elif isinstance(tree, dict):
        yield from _leaves(list(tree.values()))
    else:
        yield tree


def _constant(node: Node, args: Any, kwargs: Any) -> Any:
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    if kwargs.get("dtype") in (torch.float32, torch.float16, torch.bfloat16):
        kwargs = {**kwargs, "dtype": torch.float64}
    if _operation_name(node).startswith("fake_quantize"):  # which knows no float64
        args = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    with torch.no_grad():
        result = target(*args, **kwargs)
    return _double(result) if isinstance(result, Tensor) else result


def _results(node: Node, values: dict[Node, Any]) -> list[Any]:
    return [values.get(a) if isinstance(a, Node) else a for a in _leaves(node.args) if a is not None]


def _operation_name(node: Node) -> str:
    """Return the ATen operation's name without its overload: ``conv2d``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    return getattr(target, "__name__", str(target))


def _spelling(node: Node) -> str:
    """Return what the user wrote: the class of a torch.nn layer, else the ATen operation."""
    layers = _layers(node)
    return layers[-1] if layers and layers[-1] not in ("", "Sequential", "ModuleList") else _operation_name(node)


def _layers(node: Node) -> list[str]:
    """Return the classes of the modules around a node, the outermost first; "" for those not of torch.nn."""
    stack = node.meta.get("nn_module_stack") or {}
    kinds = [str(kind) for _, kind in stack.values()]
    return [kind.rpartition(".")[2] if kind.startswith("torch.nn.") else "" for kind in kinds]


def _module_path(node: Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""
