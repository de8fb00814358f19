"""From a ``.pt2`` file of torch.export to a float network, without running anything of the file's.

`torch.export.load` unpickles what the file says it should, and so runs whatever a file brings. But a
``.pt2`` is an uncompressed zip whose graph is JSON and whose weights are plain bytes: this reader takes
those two and nothing else. Operations are looked up by name among those that are read from a module, the program
is rebuilt as a module of them, and that module goes the way of every other one.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.frontend.advice import advice
from toolchain.frontend.from_torch.graph import ATEN, interpret
from toolchain.frontend.from_torch.tail import HOST
from toolchain.frontend.from_torch.tracing import export, state_hash
from toolchain.frontend.from_torch.weights import check_weights
from toolchain.frontend.inputs import Given, one_batch, parts_of, settle_input, shapes_for
from toolchain.netlist import AdafireError, FormatError, InputError, UnsupportedError
from toolchain.network import FloatNetwork

_TARGET = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")

#: Operations on constants and shapes that a program may hold besides those of `ATEN`.
_HELPERS = frozenset(
    {"sym_size", "detach_", "exp", "sqrt", "rsqrt", "reciprocal", "pow", "norm", "linalg_vector_norm", "expand"}
    | {"expand_as", "_weight_norm", "_weight_norm_interface", "scalar_tensor", "numpy_T", "t"}
    | {"zeros", "ones", "full", "arange"}
)

#: Type numbers of the archive's schema.
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
#: What reading a damaged file may raise.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile)
_SAVE = "save it with torch.export.save(torch.export.export(model.eval(), (x,)), path), PyTorch 2.8 or newer"


def read_pt2(path: str | Path, input_shape: Given | None = None, outputs: Sequence[str] = ()) -> FloatNetwork:
    """Read a file of torch.export.save.

    Parameters
    ----------
    path : str or Path
    input_shape : Given, optional
        Of a sample, without the batch axis; needed only where the file leaves axes open, or for several inputs.
    outputs : sequence of str
        As `read_module` takes them.

    Raises
    ------
    FormatError
        When the file is damaged or of another format.
    UnsupportedError
        For pickled contents, and for operations that cannot be expressed.
    InputError
        When the file cannot be read or the input shape does not fit.
    """
    where = str(path)
    with _damage(where):
        program, tensors = _read(where, Path(path))
        graph = program["graph_module"]["graph"]
        specs = program["graph_module"]["signature"]["input_specs"]
        root, arguments = _tree(where, specs, tensors)
        taken = [graph["tensor_values"][name] for name in arguments]
        wanted = shapes_for(where, arguments, input_shape)
        settled = [
            settle_input(where, [n.get("as_int") for n in tensor["sizes"]], shape, name)
            for tensor, shape, name in zip(taken, wanted, arguments, strict=True)
        ]
        batch = one_batch(where, [found for _, found in settled])
        examples = {
            name: torch.zeros(batch, *shape, dtype=_DTYPES[tensor["dtype"]])
            for name, tensor, (shape, _) in zip(arguments, taken, settled, strict=True)
        }
        network = _Program(where, root, arguments, specs, graph)
    network.eval()
    check_weights(network)
    exported = export(network, tuple(examples.values()), where)
    given = parts_of(input_shape) or settled[0][0]
    return interpret(exported, arguments, given, f"pt2:{Path(path).stem}", state_hash(network), batch, outputs)


@contextmanager
def _damage(where: str) -> Iterator[None]:
    try:
        yield
    except AdafireError:
        raise
    except _DAMAGE as error:
        lines = str(error).splitlines()
        raise FormatError(where, f"is no intact .pt2 file: {lines[0] if lines else error!r}", _SAVE) from error


def _read(where: str, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the program (JSON) and the tensors by their names in it."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise InputError(where, f"cannot read the program: {error.strerror}") from None
    with archive:
        if any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist()):
            raise FormatError(where, "is compressed, which torch.export never does", _SAVE)
        names = archive.namelist()
        graphs = [n for n in names if re.fullmatch(r"[^/]+/models/[^/]+\.json", n)]
        if len(graphs) != 1:
            raise FormatError(where, f"holds {len(graphs)} programs, expected one", _SAVE)
        top = graphs[0].split("/")[0]
        if archive.read(f"{top}/byteorder") != b"little":
            raise UnsupportedError(where, "is in big-endian byte order", _SAVE)
        tensors: dict[str, Tensor] = {}
        for kind in ("weights", "constants"):
            for name in names:
                if re.fullmatch(rf"{re.escape(top)}/data/{kind}/[^/]+_config\.json", name):
                    for key, entry in json.loads(archive.read(name))["config"].items():
                        tensors[key] = _tensor(where, archive, f"{top}/data/{kind}", key, entry)
        program = json.loads(archive.read(graphs[0]))
    if program["schema_version"]["major"] != 8:
        raise FormatError(where, f"has schema version {program['schema_version']}, expected 8", _SAVE)
    return program, tensors


def _tensor(where: str, archive: zipfile.ZipFile, folder: str, key: str, entry: Mapping[str, Any]) -> Tensor:
    if entry["use_pickle"]:
        raise UnsupportedError(
            where, f"holds {key!r} pickled, which runs code when it is read", "clone the tensor before the export"
        )
    meta = entry["tensor_meta"]
    if meta["dtype"] not in _DTYPES:
        raise UnsupportedError(where, f"holds {key!r} in a type without real numbers", "use float32 weights")
    data = bytearray(archive.read(f"{folder}/{entry['path_name']}"))
    sizes, strides = ([n["as_int"] for n in meta[what]] for what in ("sizes", "strides"))
    dtype = _DTYPES[meta["dtype"]]
    if prod(sizes) * dtype.itemsize > len(data):
        raise FormatError(where, f"holds {len(data)} bytes for {key!r} of shape {tuple(sizes)}", _SAVE)
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).clone()


class _Scope(nn.Module):
    """A place in the module tree: its path is that of the original module."""

    def forward(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation here."""
        return target(*args, **kwargs)


def _tree(where: str, specs: list[dict[str, Any]], tensors: Mapping[str, Tensor]) -> tuple[_Scope, list[str]]:
    """Return scopes with the tensors registered where the program had them, and the inputs' names."""
    root = _Scope()
    inputs = []
    for spec in specs:
        ((kind, value),) = spec.items()
        if kind == "user_input":
            inputs.append(value["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            name = value[f"{kind}_name"]
            scope, leaf = _scope(root, name.rpartition(".")[0]), name.rpartition(".")[2]
            scope.register_buffer(leaf, tensors[name])
        else:
            raise UnsupportedError(where, f"takes an input of kind {kind}", "export a network whose inputs are tensors")
    return root, inputs


def _scope(root: _Scope, path: str) -> _Scope:
    scope = root
    for part in path.split(".") if path else ():
        if part not in scope._modules:
            scope.add_module(part, _Scope())
        child = scope._modules[part]
        if not isinstance(child, _Scope):
            raise ValueError(f"{path} is no module path")
        scope = child
    return scope


class _Program(nn.Module):
    """The file's program as a module: a list of ATen calls, each at its module's path."""

    def __init__(
        self, where: str, root: _Scope, arguments: list[str], specs: list[dict[str, Any]], graph: Mapping[str, Any]
    ) -> None:
        super().__init__()
        for name, child in root.named_children():
            self.add_module(name, child)
        for name, buffer in root.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.arguments = arguments
        self.names = {
            v["arg"]["name"]: v[f"{kind}_name"] for s in specs for kind, v in s.items() if kind != "user_input"
        }
        self.calls = [self._call(where, root, node) for node in graph["nodes"]]
        self.results = [output["as_tensor"]["name"] for output in graph["outputs"]]

    def _call(self, where: str, root: _Scope, node: Mapping[str, Any]) -> tuple[_Scope | None, Any, Any, Any, Any]:
        match = _TARGET.fullmatch(node["target"])
        stack = [entry.split(",") for entry in node["metadata"].get("nn_module_stack", "").split(";")]
        path = stack[-1][1] if len(stack[-1]) > 1 and re.fullmatch(r"\w+(\.\w+)*", stack[-1][1]) else ""
        if path.startswith("_empty_nn_module_stack"):
            path = ""
        base = match[1] if match else node["target"]
        known = _HELPERS | ATEN.keys() | HOST
        if match is None or (base not in known and base.rstrip("_") not in known):
            raise UnsupportedError(path or "forward", f"{base} is not supported", advice(base.rstrip("_")))
        target = getattr(getattr(torch.ops.aten, match[1]), match[2])
        given = {a["name"]: a["arg"] for a in node["inputs"]}
        schema = target._schema.arguments
        # What has its default is left out of the file, in the middle too.
        last = max((i for i, a in enumerate(schema) if a.name in given and not a.kwarg_only), default=-1)
        args = [given.get(a.name, _Default(a.default_value)) for a in schema[: last + 1]]
        kwargs = {a.name: given[a.name] for a in schema if a.kwarg_only and a.name in given}
        return _scope(root, path) if path else None, target, args, kwargs, node["outputs"]

    def forward(self, *inputs: Tensor) -> list[Any]:
        """Run the calls in order."""
        state = {**dict(self.named_buffers()), **dict(self.named_parameters())}
        values: dict[str, Any] = {name: state[key] for name, key in self.names.items()}
        values.update(zip(self.arguments, inputs, strict=True))
        for scope, target, args, kwargs, outputs in self.calls:
            arguments = [_value(a, values) for a in args]
            options = {k: _value(a, values) for k, a in kwargs.items()}
            result = scope(target, arguments, options) if scope else target(*arguments, **options)
            names = _result_names(outputs)
            results = result if isinstance(result, tuple | list) else (result,)
            values.update(zip(names, results, strict=False))
        return [values[name] for name in self.results]


@dataclass(frozen=True)
class _Default:
    """An argument that the file leaves out."""

    value: Any


def _value(argument: Mapping[str, Any] | _Default, values: Mapping[str, Any]) -> Any:
    """Return what an argument of the JSON graph stands for."""
    if isinstance(argument, _Default):
        return argument.value
    ((kind, value),) = argument.items()
    match kind:
        case "as_tensor":
            return values[value["name"]]
        case "as_tensors":
            return [values[v["name"]] for v in value]
        case "as_none":
            return None
        case "as_sym_int":
            return _size(value, values)
        case "as_sym_ints":
            return [_size(v, values) for v in value]
        case "as_int" | "as_ints" | "as_float" | "as_floats" | "as_bool" | "as_bools" | "as_string":
            return value
        case "as_scalar_type":
            return _DTYPES[value]
        case "as_memory_format" | "as_layout" | "as_device":
            return None
        case "as_optional_tensor":
            return None if "as_none" in value else values[value["as_tensor"]["name"]]
    raise ValueError(f"argument of kind {kind}")


def _size(value: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    return value["as_int"] if "as_int" in value else values[value["as_name"]]


def _result_names(outputs: list[Mapping[str, Any]]) -> list[str]:
    names: list[str] = []
    for output in outputs:
        ((kind, value),) = output.items()
        match kind:
            case "as_tensor":
                names.append(value["name"])
            case "as_tensors":
                names += [v["name"] for v in value]
            case "as_sym_int":
                names.append(value["as_name"])
            case "as_none":
                names.append("")
            case _:
                raise ValueError(f"result of kind {kind}")
    return names
