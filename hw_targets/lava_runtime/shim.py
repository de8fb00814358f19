"""What Lava and lava-dl need before they can be imported, and a clear error where they are not installed.

Lava 0.10 was written for Python 3.10. From 3.11 on, dataclasses refuse unhashable default values,
and one class of Lava's is used as such.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

from toolchain.netlist import BackendError

#: How to install Lava where plain pip refuses its metadata.
INSTALL = "pip install --no-deps --ignore-requires-python lava-nc==0.10.0 lava-dl==0.6.0"

_MODULE = "lava.magma.compiler.var_model"


def lava_is_installed() -> bool:
    """Return whether lava-nc can be found; imports none of it."""
    try:
        return importlib.util.find_spec("lava.magma") is not None
    except ModuleNotFoundError:
        return False


def require_lava() -> None:
    """Raise unless Lava is installed.

    Raises
    ------
    BackendError
        With the command that installs it.
    """
    if not lava_is_installed():
        raise BackendError("lava", "Lava is not installed", INSTALL)


def _hashable_encoder(dataclass: Callable[..., Any]) -> Callable[..., Any]:
    """Return `dataclass` with a hash for Lava's `ByteEncoder`."""

    def decorate(cls: type | None = None, /, **options: Any) -> Any:
        if cls is None:
            return lambda c: decorate(c, **options)
        if cls.__module__ == _MODULE and cls.__name__ == "ByteEncoder":
            options["unsafe_hash"] = True
        return dataclass(cls, **options)

    return decorate


def load_lava() -> None:
    """Make ``import lava...`` work in this process.

    Lava sets the start method of `multiprocessing` to fork when it loads, so this is for the
    worker's process, not for the caller's.

    Raises
    ------
    BackendError
        When Lava is not installed.
    """
    require_lava()
    if _MODULE in sys.modules:
        return
    original = dataclasses.dataclass
    dataclasses.dataclass = _hashable_encoder(original)
    try:
        importlib.import_module(_MODULE)
    finally:
        dataclasses.dataclass = original


def load_lava_dl() -> None:
    """Make ``import lava.lib.dl.netx...`` work in this process.

    It imports all of slayer, whose object detection wants OpenCV and torchvision: an empty module
    stands in for that part while the rest loads.

    Raises
    ------
    BackendError
        When Lava or lava-dl is not installed.
    """
    load_lava()
    if importlib.util.find_spec("lava.lib") is None or importlib.util.find_spec("lava.lib.dl") is None:
        raise BackendError("lava", "lava-dl is not installed", INSTALL)
    unwanted = "lava.lib.dl.slayer.object_detection"
    stands_in = unwanted not in sys.modules
    if stands_in:
        sys.modules[unwanted] = types.ModuleType(unwanted)
    try:
        importlib.import_module("lava.lib.dl.netx.hdf5")
    finally:
        if stands_in:
            del sys.modules[unwanted]
