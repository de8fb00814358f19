"""Loading modules by name and weights from files that need no trust."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from toolchain.netlist import InputError

_SPELLING = "write package.module:callable or path/to/file.py:callable"


def load_module(spec: str) -> nn.Module:
    """Call what `spec` names and return the nn.Module it makes.

    Parameters
    ----------
    spec : str
        ``package.module:callable`` or ``path/to/file.py:callable``. The callable (a function or the
        class itself) takes no arguments. Its code is run.

    Raises
    ------
    InputError
        When there is no such module or callable, or it makes something else.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise InputError(spec, "names no callable", _SPELLING)
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except InputError:
        raise
    except Exception as error:
        raise InputError(spec, f"cannot import {place}: {type(error).__name__}: {error}", _SPELLING) from error
    factory: Any = module
    for part in name.split("."):
        factory = getattr(factory, part, None)
    if not callable(factory):
        public = ", ".join(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise InputError(spec, f"{place} has no callable {name!r}", f"it has {public}" if public else None)
    try:
        made = factory()
    except Exception as error:
        raise InputError(spec, f"calling {name}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise InputError(spec, f"{name}() returned {type(made).__name__}, expected an nn.Module")
    return made


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(str(path), "no such file", _SPELLING)
    # A name of its own per file: two networks in files of the same name do not replace each other.
    name = f"_adafire_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise InputError(str(path), "is no Python file", _SPELLING)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_weights(module: nn.Module, path: str | Path) -> str:
    """Load a weights file into `module`, strictly; values are cast to the module's types.

    Parameters
    ----------
    module : nn.Module
    path : str or Path
        ``.safetensors``, or a file of torch.save that holds tensors only (``weights_only=True``).
        A state_dict under the key "state_dict" or "model" and the prefix "module." of DataParallel
        are recognised.

    Returns
    -------
    str
        SHA-256 (hex) of the file.

    Raises
    ------
    InputError
        When the file cannot be read, or its names, shapes or values do not fit. The module is then
        unchanged.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"cannot read the weights: {error.strerror}") from None
    state = _unwrap(path, _read(path, data))
    problems = _problems(module.state_dict(), state)
    if problems:
        raise InputError(str(path), f"weights do not fit {type(module).__name__}: " + "; ".join(problems))
    module.load_state_dict(state, strict=False)
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, data: bytes) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_safetensors(data)
        except SafetensorError as error:
            raise InputError(str(path), f"is no valid safetensors file: {error}") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise InputError(
            str(path),
            f"is no weights file that is safe to load: {first}",
            "save the state_dict alone: safetensors.torch.save_file or torch.save(module.state_dict(), ...)",
        ) from None


def _unwrap(path: Path, state: Any) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            str(path), f"holds {type(state).__name__}, expected names and tensors", "save the module's state_dict"
        )
    prefix = "module."
    if state and all(str(k).startswith(prefix) for k in state):
        return {str(k)[len(prefix) :]: v for k, v in state.items()}
    return {str(k): v for k, v in state.items()}


def _problems(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    # Files written by old versions of PyTorch have no batch counters; eval mode does not use them.
    counters = {k for k in expected if k.endswith("num_batches_tracked")}
    problems = []
    for what, names in (
        ("missing", sorted(expected.keys() - found.keys() - counters)),
        ("unexpected", sorted(found.keys() - expected.keys())),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            problems.append(f"{what} {', '.join(names[:5])}{more}")
    for name in sorted(expected.keys() & found.keys()):
        tensor = found[name]
        if tensor.shape != expected[name].shape:
            problems.append(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}")
        elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} holds NaN or infinite values")
    return problems[:8] + ([f"{len(problems) - 8} more problems"] if len(problems) > 8 else [])
