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

import difflib
import hashlib
import inspect
import logging
import operator
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from toolchain.frontend.advice import LIST, UNSUPPORTED_LAYERS, advice
from toolchain.frontend.batch_axis import is_flat_value
from toolchain.frontend.builder import NetworkBuilder
from toolchain.frontend.construction import BATCH
from toolchain.frontend.ending import inner_steps, needed_steps, tail_steps
from toolchain.frontend.expression import MAX_VALUES, Refusal, Value
from toolchain.frontend.from_torch.curves import CLIPS, CURVES
from toolchain.frontend.from_torch.fake_quantization import plain_fake_quantization
from toolchain.frontend.from_torch.layers import LAYERS
from toolchain.frontend.from_torch.moves import MOVES
from toolchain.frontend.from_torch.pooling import POOLING
from toolchain.frontend.from_torch.resampling import RESAMPLING
from toolchain.frontend.from_torch.tail import is_host, is_left, step_of, tail_of
from toolchain.frontend.from_torch.weights import check_weights, tensors
from toolchain.frontend.inputs import Given, parts_of, shape_of, shapes_for, sources
from toolchain.frontend.operations import Operation, is_value, leaves, refusals
from toolchain.netlist import InputError, Shape, Tail, UnsupportedError
from toolchain.network import FloatNetwork

#: What is read, by ATen name.
ATEN = {**LAYERS, **CLIPS, **CURVES, **POOLING, **RESAMPLING, **MOVES}

#: What a value is that the host computes.
HOST = object()


def read_module(module: nn.Module, input_shape: Given, outputs: Sequence[str] = ()) -> FloatNetwork:
    """Read a trained module, in eval mode, as units and linear connections.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor (N, *input_shape), or one for each part, by its name; returns one tensor or a tuple, list or
        dict of them. It is left as it is.
    input_shape : Given
        (C, H, W), (C, L) or (features,), or parts for several inputs.
    outputs : sequence of str
        Paths of modules whose results end the network; by default it returns what forward does.

    Returns
    -------
    FloatNetwork
        Equal to the module's function up to the rounding of floats; weights float64.

    Raises
    ------
    UnsupportedError
        For a layer that cannot be expressed; names the module's path, the operation and a way out.
    InputError
        When the module cannot be run on such an input, a weight is not finite, or there is no module of such a path.
    """
    check_weights(module)
    if isinstance(module, torch.jit.ScriptModule):
        fix = "pass the Python module, with this one's state_dict() loaded into it, or write an .onnx file of it"
        raise UnsupportedError(type(module).__name__, "is TorchScript, which torch.export does not trace", fix)
    dtypes = [p.dtype for p in module.parameters() if p.is_floating_point()]
    where = type(module).__name__
    names, shapes = _arguments(module, input_shape, where)
    examples = [torch.zeros(BATCH, *shape, dtype=dtypes[0] if dtypes else torch.float32) for shape in shapes]
    quiet = redirect_stdout(sys.stderr)  # results alone belong to stdout
    with _eval_mode(module), plain_fake_quantization(module), torch.no_grad(), quiet:
        try:
            module(*examples)
        except (Exception, SystemExit) as error:
            raise InputError(
                where,
                f"forward fails on a batch of inputs of shape {', '.join(map(str, shapes))}: {_first_line(error)}",
                "import it at the top of the file, where its neighbours are found"
                if isinstance(error, ImportError)
                else "check the input shape; forward takes tensors, and all inputs are among the data",
            ) from error
        program = export(module, tuple(examples), where)
    return interpret(program, names, input_shape, type(module).__qualname__, state_hash(module), outputs=outputs)


def _arguments(module: nn.Module, given: Given, where: str) -> tuple[list[str], list[Shape]]:
    """Return the names of forward's inputs, those that it needs and those that are given, and their shapes."""
    parts = parts_of(given)
    named = [p for p in inspect.signature(module.forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if not parts:
        return [named[0].name if named else "x"], [shape_of(given)]
    held = {part.name for part in parts}
    last = max((i for i, p in enumerate(named) if p.name in held or p.default is p.empty), default=-1)
    names = [p.name for p in named[: last + 1]]
    return names, [shape for shape in shapes_for(where, names, given) if shape is not None]


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


def export(module: nn.Module, examples: tuple[Tensor, ...], where: str) -> torch.export.ExportedProgram:
    """Trace a module in eval mode on fake tensors into a functional graph of ATen operations."""
    # What forward prints, it has printed before; torch prints the graphs that it fails on.
    with torch.no_grad(), _quiet(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            program: torch.export.ExportedProgram = torch.export.export(module, examples).run_decompositions({})
            while table := _composites(program):  # what an operation comes apart into may come apart, too
                program = program.run_decompositions(table)
        except Exception as error:
            raise UnsupportedError(
                where,
                f"torch.export cannot trace forward: {_first_line(error)}",
                "remove control flow that depends on values, and code that leaves PyTorch",
            ) from error
    return program


def _composites(program: torch.export.ExportedProgram) -> dict[Any, Callable[..., Any]]:
    """Return how operations that are not read come apart into others, by PyTorch's own definitions."""
    inputs = program.graph_signature.user_inputs
    reached: set[Node] = set()
    unknown = set()
    for node in program.graph.nodes:
        if node.name in inputs or reached.intersection(node.all_input_nodes):
            reached.add(node)
            if node.op == "call_function" and not _is_known(node):
                unknown.add(node.target)
    known = torch.export.default_decompositions() if unknown else {}
    return {target: known[target] for target in unknown if target in known}


def _is_known(node: Node) -> bool:
    """Return whether an operation is read, left to the host, or refused with advice."""
    name = _operation_name(node)
    return name in ATEN or is_host(name) or name.startswith(("sym_", "_assert")) or advice(name) != LIST


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines and isinstance(error, Exception) else repr(error)


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
    steps = [step_of(n, _operation_name(n)) for n in calls]
    needed = sorted(needed_steps(steps, ends))
    calls, steps = [calls[i] for i in needed], [steps[i] for i in needed]
    inner = inner_steps(steps)
    host = set()
    for position, node in enumerate(calls):
        builder.path = _module_path(node)
        with refusals(builder.path or "forward", _spelling(node)):
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
    name = _operation_name(node)
    read = [values[n] for n in node.all_input_nodes]
    after = any(value is HOST for value in read)
    left = not inner and (is_left(name) or _says_where(node)) and any(map(is_value, leaves(read)))
    if not after and not (left and not any(layer in UNSUPPORTED_LAYERS for layer in _layers(node))):
        return False
    if not is_host(name):
        raise Refusal("is not supported", advice(name))
    return True


def _says_where(node: Node) -> bool:
    """Return whether it is asked where a maximum lies, which no neuron says."""
    positions = (user for user in node.users if user.target is operator.getitem and user.args[1] == 1)
    return _operation_name(node) == "max" and any(user.users for user in positions)


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
        ends = [n for n in calls if n.name == name or _leaves_module(n, name)]
        if not ends:
            paths = list(dict.fromkeys(map(_module_path, calls)))
            near = difflib.get_close_matches(name, paths) or paths[-5:]
            raise InputError("outputs", f"{name!r} found, no module of that path", f"there are {', '.join(near)}")
        found += ends
    return list(dict.fromkeys(found))


def _leaves_module(node: Node, path: str) -> bool:
    """Return whether a node's result leaves the module at a path."""

    def inside(n: Node) -> bool:
        stack = n.meta.get("nn_module_stack") or {}
        return any(str(place) == path for place, _ in stack.values())

    return inside(node) and not all(inside(user) for user in node.users)


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
    for layer in _layers(node):
        if layer in UNSUPPORTED_LAYERS:
            raise Refusal(f"is part of {layer}, which is not supported", UNSUPPORTED_LAYERS[layer])
    operation: Operation | None = ATEN.get(_operation_name(node))
    if operation is None:
        raise Refusal("is not supported", advice(_operation_name(node)))
    operation.check((args, kwargs))
    result = operation.read(builder, *args, **kwargs)
    return operation.label(builder, result, position, builder.path or node.name)


def _constant(node: Node, args: Any, kwargs: Any) -> Any:
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    if kwargs.get("dtype") in (torch.float32, torch.float16, torch.bfloat16):
        kwargs = {**kwargs, "dtype": torch.float64}
    if _operation_name(node).startswith("fake_quantize"):  # which knows no float64
        args = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    with torch.no_grad():
        result = target(*args, **kwargs)
    return _double(result) if isinstance(result, Tensor) else result


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
