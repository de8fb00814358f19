"""Hold public functions to the shapes and dtypes that their docstrings state, while the tests run.

A docstring says ``payloads : ndarray (T, N, *shape), int8 or uint8``; every call of that function that succeeds in the
tests is checked against it. One letter is one extent within a call, of arguments and result alike (jaxtyping does the
matching). What a docstring leaves open, or says in words, is not checked.
"""

import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import jaxtyping
import numpy as np
import torch

PACKAGES = ("toolchain", "sim", "hw_targets")
#: Lava's processes and models are loaded in its worker; commands take no arrays; Triton need not be there.
LEFT_OUT = ("hw_targets.lava_runtime", "toolchain.cli", "sim.gpu_kernels")

_ARRAYS = (np.ndarray, torch.Tensor)
_CONTAINERS = {"ndarray": np.ndarray, "Tensor": torch.Tensor}
_DTYPES = {
    "int8": jaxtyping.Int8,
    "uint8": jaxtyping.UInt8,
    "int32": jaxtyping.Int32,
    "int64": jaxtyping.Int64,
    "float32": jaxtyping.Float32,
    "float64": jaxtyping.Float64,
    "bool": jaxtyping.Bool,
    "integer": jaxtyping.Integer,
    "int": jaxtyping.Integer,
    "floating point": jaxtyping.Float,
    "float": jaxtyping.Float,
}
_ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*) : (?P<text>.+)$")
_GROUP = re.compile(r"\((?:[^()]|\([^()]*\))*\)|`shape`")


class ShapeError(AssertionError):
    """A call that its function's docstring does not describe."""


@dataclass(frozen=True)
class Documented:
    """What a docstring says of one array: it must be one of `options`."""

    text: str
    options: tuple[Any, ...]


def extent(text: str) -> str | None:
    """Return one extent in jaxtyping's words; None for one that words cannot say."""
    text = text.strip()
    if text == "...":
        return "..."
    if text.isdecimal() or re.fullmatch(r"[A-Za-z]\w*", text):
        return text
    if match := re.fullmatch(r"([A-Za-z]\w*)\.\.\.", text):
        return f"*{match[1]}"
    if match := re.fullmatch(r"\*?([a-z]+ )*shape", text):
        return "*" + match[0].lstrip("*").replace(" ", "_")
    # A sum, a choice, or words: some number.
    return "_" if text else None


def parse(text: str) -> Documented | None:
    """Read the type of a parameter or a result; None where it is no array, or no shape that can be checked."""
    container, _, rest = text.partition(" ")
    kind = _CONTAINERS.get(container.rstrip(","))
    if kind is None or "seconds" in rest:
        return None
    shapes = [_shape(group) for group in _GROUP.findall(rest)] or ["..."]
    if any(shape is None or len(re.findall(r"\*|\.\.\.", shape)) > 1 for shape in shapes):
        return None
    outside = _GROUP.sub(" ", rest)
    dtypes = [d for name, d in _DTYPES.items() if re.search(rf"(?<![\w-]){name}(?![\w-])", outside)]
    options = [dtype[kind, shape] for dtype in dtypes or [jaxtyping.Shaped] for shape in shapes]
    return Documented(text, tuple(options))


def _shape(group: str) -> str | None:
    if group == "`shape`":
        return "*shape"
    extents = [extent(part) for part in group[1:-1].split(",") if part.strip()]
    return None if None in extents else " ".join(map(str, extents))


def sections(docstring: str | None) -> Iterator[tuple[str, str, str]]:
    """Yield (section, name, type) of what a numpy docstring describes."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    section = ""
    for position, line in enumerate(lines):
        if position + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[position + 1]):
            section = line.strip()
        elif match := _ENTRY.match(line):
            for name in match["names"].split(", "):
                yield section, name, match["text"]
        elif section == "Returns" and line.split(" ")[0].rstrip(",") in _CONTAINERS:
            yield section, "", line


def documented(docstring: str | None) -> tuple[dict[str, Documented], Documented | None]:
    """Return what a docstring says of parameters and of the result."""
    parameters: dict[str, Documented] = {}
    result = None
    for section, name, text in sections(docstring):
        found = parse(text)
        if found is not None and section == "Parameters":
            parameters[name] = found
        elif found is not None and section == "Returns" and not name:
            result = found
    return parameters, result


def checked(function: Callable[..., Any], docstring: str | None = None) -> Callable[..., Any]:
    """Return the function with every call checked; itself where its docstring states no shapes, or it is checked."""
    parameters, result = documented(docstring or function.__doc__)
    if (not parameters and result is None) or hasattr(function, "checked_shapes"):
        return function
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        # First the call: what it refuses itself, it says in its own words.
        value = function(*arguments, **keywords)
        given = signature.bind(*arguments, **keywords).arguments
        stated = [(name, given.get(name), expected) for name, expected in parameters.items()]
        stated += [] if result is None else [("the result", value, result)]
        arrays = [(what, array, expected) for what, array, expected in stated if isinstance(array, _ARRAYS)]
        if not _fit(arrays):
            # The first one that contradicts those before it.
            short = next(n for n in range(1, len(arrays) + 1) if not _fit(arrays[:n]))
            raise ShapeError(_told(function, *arrays[short - 1]))
        return value

    vars(call)["checked_shapes"] = True
    return call


def _fit(arrays: Sequence[tuple[str, Any, Documented]]) -> bool:
    """Whether some choice of options holds for all arrays at once: each letter is one extent."""
    for options in itertools.product(*(expected.options for _, _, expected in arrays)):
        with jaxtyping.jaxtyped("context"):
            if all(isinstance(array, option) for (_, array, _), option in zip(arrays, options, strict=True)):
                return True
    return False


def _told(function: Callable[..., Any], what: str, value: Any, expected: Documented) -> str:
    found = f"{type(value).__name__} {tuple(value.shape)}, {value.dtype}"
    return f"{function.__module__}.{function.__qualname__}: {what} is {found}; its docstring says {expected.text}"


def modules() -> list[ModuleType]:
    """Import every module of the product but what is left out."""
    found = []
    for package in PACKAGES:
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not info.name.startswith(LEFT_OUT):
                found.append(importlib.import_module(info.name))
    return found


def install() -> None:
    """Exchange public functions, methods and constructors for checked ones, wherever modules refer to them."""
    exchanged: dict[int, Callable[..., Any]] = {}
    originals = []
    for module in modules():
        for name, value in list(vars(module).items()):
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if isinstance(value, FunctionType):
                exchanged[id(value)] = checked(value)
                originals.append(value)  # its id is taken as long as it lives
            elif inspect.isclass(value):
                _check_class(value)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").partition(".")[0] in PACKAGES:
            for name, value in list(vars(module).items()):
                if id(value) in exchanged:
                    setattr(module, name, exchanged[id(value)])


def _check_class(kind: type) -> None:
    for name, value in list(vars(kind).items()):
        if isinstance(value, FunctionType) and not name.startswith("_"):
            setattr(kind, name, checked(value))
    constructor = vars(kind).get("__init__")
    if isinstance(constructor, FunctionType):
        kind.__init__ = checked(constructor, kind.__doc__)
