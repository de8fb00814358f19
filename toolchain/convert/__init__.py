"""Conversion: from a network and data to a netlist, the passes in order (the only meaning of *convert*).

The recipe is there at once, the passes, which need torch, at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolchain.convert.recipe import Recipe

if TYPE_CHECKING:
    from toolchain.convert.pipeline import choose_samples, convert_network
    from toolchain.convert.stages import measure_stages

_HOME = {
    "choose_samples": "toolchain.convert.pipeline",
    "convert_network": "toolchain.convert.pipeline",
    "measure_stages": "toolchain.convert.stages",
}

__all__ = ["Recipe", "choose_samples", "convert_network", "measure_stages"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
