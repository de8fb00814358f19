"""How loops are compiled: by numba, once for all processes where a folder for its cache is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function with numba, without the interpreter lock.

    The machine code is kept beside the source, or in the user's cache. Where neither can be written (a read-only
    installation run by somebody without a home), every process compiles anew: seconds lost, nothing else.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder that it can write
        return njit(nogil=True)(function)
