"""Weights from files that need no trust, strictly: names, shapes and values must be those of the module."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from toolchain.netlist import InputError

#: Where training scripts keep the state_dict in a checkpoint, one inside the other at times.
_KEYS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")
#: What torch.compile, DataParallel and wrapping modules (Lightning's) put before every name.
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.")
_SAVE = "save the state_dict alone: safetensors.torch.save_file or torch.save(module.state_dict(), ...)"


def load_weights(module: nn.Module, path: str | Path) -> str:
    """Load a weights file into `module`, strictly; values are cast to the module's types.

    Parameters
    ----------
    module : nn.Module
    path : str or Path
        ``.safetensors``, or a file of torch.save that holds tensors only (``weights_only=True``).
        A state_dict inside a checkpoint (under "state_dict", "model_state_dict", "model", "net" or "state_dict_ema")
        and names with the prefixes "_orig_mod.", "module.", "model." and "net." are recognised, where
        exactly one reading of them has the module's names and shapes.

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
    check_layout(module)
    expected = tensors(module.state_dict())
    state = _fitting(str(path), type(module).__name__, expected, _read(path, data))
    for name, tensor in state.items():
        values = _layout(tensor) or _unusable(tensor, expected[name])
        if values is not None:
            problem = f"weights do not fit {type(module).__name__}: {name} holds {values}"
            raise InputError(str(path), problem, "save dense, finite values of the module's own types")
    module.load_state_dict(state, strict=False)
    return hashlib.sha256(data).hexdigest()


def check_layout(module: nn.Module) -> None:
    """Raise `InputError` when a tensor of the state_dict is no plain array of values."""
    for name, tensor in tensors(module.state_dict()).items():
        if values := _layout(tensor):
            fix = "let the callable run the module once on a batch" if is_lazy(tensor) else "make it dense, on the CPU"
            raise InputError(name, f"the weights hold {values}", fix)


def check_weights(module: nn.Module) -> None:
    """Raise `InputError` when a tensor of the state_dict is no plain array, or not finite."""
    check_layout(module)
    for name, tensor in tensors(module.state_dict()).items():
        if not _finite(tensor):
            raise InputError(name, "the weights hold NaN or infinite values", "load or train the module again")


def tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a state_dict: a module may keep other things there."""
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _layout(tensor: Tensor) -> str | None:
    """Return what a tensor holds instead of a plain array of values."""
    if is_lazy(tensor):
        return "no values yet (a Lazy layer that never ran)"
    if tensor.is_meta:
        return "no values (they are on the device 'meta')"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "a sparse or nested tensor"
    return "quantised values" if tensor.is_quantized else None


def _unusable(tensor: Tensor, expected: Tensor) -> str | None:
    """Return what a tensor holds that is not usable, or would be lost, in the module's own type."""
    if not _finite(tensor):
        return "NaN or infinite values"
    if tensor.is_complex() and not expected.is_complex():
        return "complex values"
    whole = not (expected.is_floating_point() or expected.is_complex())
    return "fractions, expected whole numbers" if whole and bool((tensor != tensor.to(expected.dtype)).any()) else None


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _read(path: Path, data: bytes) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_safetensors(data)
        except SafetensorError as error:
            raise InputError(str(path), f"is no valid safetensors file: {error}") from None
    if data.startswith(b"PK") and _is_torchscript(data):
        fix = "write its weights: torch.save(torch.jit.load(FILE).state_dict(), ...)"
        raise InputError(str(path), "is TorchScript, which holds code", fix)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds {found[1]}, which is no tensor and would run code" if found else "it is damaged"
        raise InputError(str(path), f"is no weights file that is safe to load: {what}", _SAVE) from None
    except Exception as error:  # noqa: BLE001  # torch raises nearly anything on a damaged file
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise InputError(str(path), f"is no intact weights file: {first}", f"copy it again, or {_SAVE}") from None


def _is_torchscript(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return False


def _states(found: Any, where: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every state_dict of a checkpoint with its place in there."""
    if not isinstance(found, Mapping):
        return
    if all(isinstance(v, Tensor) for v in found.values()):
        yield where, tensors(found)
    for key in _KEYS:
        yield from _states(found.get(key), f"{where}.{key}" if where else key)


def _spellings(state: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield a state_dict as it is, then without the prefixes that all its names share, one after the other."""
    yield state
    if any(_PREFIXES[0] in name for name in state):  # torch.compile of a part puts it inside the name
        state = {name.replace(_PREFIXES[0], ""): tensor for name, tensor in state.items()}
        yield state
    for prefix in _PREFIXES[1:]:
        if state and all(name.startswith(prefix) for name in state):
            yield from _spellings({name.removeprefix(prefix): tensor for name, tensor in state.items()})


def _fitting(where: str, module: str, expected: Mapping[str, Tensor], found: Any) -> dict[str, Tensor]:
    """Return the one state_dict of a file that fits a module."""
    states = [(place, spelling) for place, state in _states(found) for spelling in _spellings(state)]
    if not states:
        kind = (
            f"{type(found).__name__} of {_listed(map(str, found))}"
            if isinstance(found, Mapping)
            else type(found).__name__
        )
        raise InputError(where, f"holds {kind}, expected names and tensors", "save the module's state_dict")
    fits = [(place, state) for place, state in states if not _misfits(expected, state)]
    if len(fits) > 1:
        places = _listed(place or "the file" for place, _ in fits)
        raise InputError(
            where, f"holds several weights that fit {module}: {places}", "save the one that is meant, alone"
        )
    if fits:
        return fits[0][1]
    place, nearest = min(states, key=lambda s: len(expected.keys() ^ s[1].keys()))
    misfits = _misfits(expected, nearest)
    shown = misfits[:8] + ([f"{len(misfits) - 8} more problems"] if len(misfits) > 8 else [])
    raise InputError(where, f"weights{f' {place!r}' if place else ''} do not fit {module}: " + "; ".join(shown))


def _misfits(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    # Files written by old versions of PyTorch have no batch counters; eval mode does not use them.
    counters = {k for k in expected if k.endswith("num_batches_tracked")}
    misfits = [
        f"{what} {_listed(names)}"
        for what, names in (
            ("missing", sorted(expected.keys() - found.keys() - counters)),
            ("unexpected", sorted(found.keys() - expected.keys())),
        )
        if names
    ]
    for name in sorted(expected.keys() & found.keys()):
        if found[name].shape != expected[name].shape:
            misfits.append(f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}")
    return misfits


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:5]) + (f" and {len(every) - 5} more" if len(every) > 5 else "")
