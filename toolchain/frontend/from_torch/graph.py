"""From an exported graph to a float network.

The graph is interpreted: tensors that depend on the input are expressions (see `toolchain.frontend.expression`),
all others are constants and computed as PyTorch would, in float64.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from toolchain.frontend.advice import UNSUPPORTED_LAYERS, advice
from toolchain.frontend.batch_axis import is_flat_value
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.construction import BATCH
from toolchain.frontend.ending import inner_steps, needed_steps, tail_steps
from toolchain.frontend.expression import MAX_VALUES, Refusal, Value
from toolchain.frontend.from_torch.curves import CLIPS, CURVES
from toolchain.frontend.from_torch.layers import LAYERS
from toolchain.frontend.from_torch.moves import MOVES
from toolchain.frontend.from_torch.nodes import layers, leaves_module, module_path, operation_name, spelling
from toolchain.frontend.from_torch.pooling import POOLING
from toolchain.frontend.from_torch.resampling import RESAMPLING
from toolchain.frontend.from_torch.tail import is_host, is_left, step_of, tail_of
from toolchain.frontend.inputs import Given, shape_of, sources
from toolchain.frontend.operations import Operation, is_value, leaves, refusals
from toolchain.netlist import InputError, Tail, UnsupportedError
from toolchain.network import FloatNetwork

#: What is read, by ATen name.
ATEN = {**LAYERS, **CLIPS, **CURVES, **POOLING, **RESAMPLING, **MOVES}

#: What a value is that the host computes.
HOST = object()


def interpret(
    program: torch.export.ExportedProgram,
    arguments: Sequence[str],
    given: Given,
    name: str,
    weights_sha256: str,
    batch: int = BATCH,
    outputs: Sequence[str] = (),
) -> FloatNetwork:
    """Build the float network of an exported, functionalised program, traced with a batch of `batch`."""
    builder = NetworkBuilder(shape_of(given), batch)
    values = _placeholders(program, sources(builder, arguments, given), arguments)
    ends = _ends(program, outputs)
    calls = [n for n in program.graph.nodes if n.op == "call_function"]
    steps = [step_of(n, operation_name(n)) for n in calls]
    needed = sorted(needed_steps(steps, ends))
    calls, steps = [calls[i] for i in needed], [steps[i] for i in needed]
    inner = inner_steps(steps)
    host = set()
    for position, node in enumerate(calls):
        builder.path = module_path(node)
        with refusals(builder.path or "forward", spelling(node)):
            if _goes_to_host(node, values, position in inner):
                values[node] = HOST
                host.add(position)
            else:
                values[node] = _evaluate(node, position, values, builder)

    def is_flat(node: Any) -> bool | None:
        return is_flat_value(values[node], batch) if is_value(values[node]) else None

    taken = [calls[i] for i in sorted(tail_steps(steps, frozenset(host), ends, is_flat))]
    builder.path = ""
    with refusals("forward", "its result"):
        tail = _read_out(taken, ends, values, builder)
        return builder.network(name, weights_sha256, tail)


def _goes_to_host(node: Node, values: dict[Node, Any], inner: bool) -> bool:
    """Return whether the host computes a node: at the end, where no neuron could, or reading what the host computes.

    Raises
    ------
    Refusal
        When it reads what the host computes, and the host does not compute it.
    """
    name = operation_name(node)
    read = [values[n] for n in node.all_input_nodes]
    after = any(value is HOST for value in read)
    left = not inner and (is_left(name) or _says_where(node)) and any(map(is_value, leaves(read)))
    if not after and not (left and not any(layer in UNSUPPORTED_LAYERS for layer in layers(node))):
        return False
    if not is_host(name):
        raise Refusal("is not supported", advice(name))
    return True


def _says_where(node: Node) -> bool:
    """Return whether it is asked where a maximum lies, which no neuron says."""
    positions = (user for user in node.users if user.target is operator.getitem and user.args[1] == 1)
    return operation_name(node) == "max" and any(user.users for user in positions)


def _read_out(taken: list[Node], ends: list[Node], values: dict[Node, Any], builder: NetworkBuilder) -> Tail | None:
    """Close what the host reads, and what the network returns, into outputs; return the tail behind them."""
    asked = [n for node in taken for n in node.all_input_nodes if is_value(values[n]) and n not in taken]
    readouts: dict[Node, str] = {}
    for node in dict.fromkeys([*asked, *(n for n in ends if n not in taken)]) if taken else ends:
        value: Any = values.get(node)
        if not is_value(value):
            raise Refusal("is a constant that does not depend on the input", "return what the network computes")
        readouts[node] = builder.output(value)
    return tail_of(taken, readouts, ends, values, builder.batch) if taken else None


def _ends(program: torch.export.ExportedProgram, outputs: Sequence[str]) -> list[Node]:
    """Return the nodes that a network returns: its own, or those of the modules and nodes named.

    Raises
    ------
    InputError
        When there is no module or node of such a name.
    Refusal
        When a result is no tensor.
    """
    (result,) = (n for n in program.graph.nodes if n.op == "output")
    if not outputs:
        returned = [a for a in leaves(result.args) if a is not None]
        if not all(isinstance(a, Node) for a in returned):
            raise UnsupportedError(
                "forward",
                "its result is a constant that does not depend on the input",
                "return what the network computes",
            )
        return returned
    found: list[Node] = []
    for name in outputs:
        calls = [n for n in program.graph.nodes if n.op == "call_function"]
        ends = [n for n in calls if n.name == name or leaves_module(n, name)]
        if not ends:
            paths = list(dict.fromkeys(map(module_path, calls)))
            near = difflib.get_close_matches(name, paths) or paths[-5:]
            raise InputError("outputs", f"{name!r} found, no module of that path", f"there are {', '.join(near)}")
        found += ends
    return list(dict.fromkeys(found))


def _placeholders(
    program: torch.export.ExportedProgram, given: Mapping[str, Value], arguments: Sequence[str]
) -> dict[Node, Any]:
    signature = program.graph_signature
    states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = signature.inputs_to_lifted_tensor_constants
    values: dict[Node, Any] = {}
    inputs = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in signature.user_inputs]
    taken = {node: given[name] for node, name in zip(inputs, arguments, strict=True)}
    if signature.buffers_to_mutate:
        changed = ", ".join(sorted(signature.buffers_to_mutate.values()))
        raise UnsupportedError("forward", f"changes its buffers in eval mode ({changed})", "use fixed statistics")
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        if node in taken:
            values[node] = taken[node]
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
    for made in leaves(node.meta.get("val")):
        if isinstance(made, Tensor) and made.numel() > MAX_VALUES * builder.batch:
            raise Refusal(f"makes {tuple(made.shape)}, too many values", "make the network or its input smaller")
    if any(values[read] is None for read in node.all_input_nodes):
        raise Refusal(
            "reads where maxima lie, which no neuron says", "let the network go on with the maxima themselves"
        )
    args: Any = torch.fx.node.map_arg(node.args, values.__getitem__)
    kwargs: Any = torch.fx.node.map_arg(node.kwargs, values.__getitem__)
    if not any(is_value(a) for a in leaves((args, kwargs))):
        return _constant(node, args, kwargs)
    if node.target is operator.getitem:
        return args[0][args[1]]
    for layer in layers(node):
        if layer in UNSUPPORTED_LAYERS:
            raise Refusal(f"is part of {layer}, which is not supported", UNSUPPORTED_LAYERS[layer])
    operation: Operation | None = ATEN.get(operation_name(node))
    if operation is None:
        raise Refusal("is not supported", advice(operation_name(node)))
    operation.check((args, kwargs))
    result = operation.read(builder, *args, **kwargs)
    return operation.label(builder, result, position, builder.path or node.name)


def _constant(node: Node, args: Any, kwargs: Any) -> Any:
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    if kwargs.get("dtype") in (torch.float32, torch.float16, torch.bfloat16):
        kwargs = {**kwargs, "dtype": torch.float64}
    if operation_name(node).startswith("fake_quantize"):  # which knows no float64
        args = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    with torch.no_grad():
        result = target(*args, **kwargs)
    return _double(result) if isinstance(result, Tensor) else result
