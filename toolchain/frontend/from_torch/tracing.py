"""From an nn.Module to a functional graph of ATen operations, through torch.export.

Why torch.export and not torch.fx: fx records Python calls, so a functional ReLU, a lambda shortcut, an
in-place sum and a tensor method are four spellings to know, and Python control flow on shapes breaks it.
torch.export runs the module on fake tensors and yields ATen operations whatever the spelling; after
functionalisation (`run_decompositions({})`) in-place operations are gone, layers are still whole
(``conv2d``, not its pieces), and every node keeps the path of the module it came from.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from toolchain.frontend.advice import LIST, advice
from toolchain.frontend.construction import BATCH
from toolchain.frontend.from_torch.fake_quantization import plain_fake_quantization
from toolchain.frontend.from_torch.graph import ATEN, interpret
from toolchain.frontend.from_torch.nodes import operation_name
from toolchain.frontend.from_torch.tail import is_host
from toolchain.frontend.from_torch.weights import check_weights, tensors
from toolchain.frontend.inputs import Given, parts_of, shape_of, shapes_for
from toolchain.netlist import InputError, Shape, UnsupportedError
from toolchain.network import FloatNetwork


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
    name = operation_name(node)
    return name in ATEN or is_host(name) or name.startswith(("sym_", "_assert")) or advice(name) != LIST


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines and isinstance(error, Exception) else repr(error)
