"""Conversion: from a network and data to a netlist, the passes in order (the only meaning of *convert*).

The recipe is there at once, the passes, which need torch, at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolchain.convert.recipe import Recipe

if TYPE_CHECKING:
    from toolchain.convert.agreement import Agreement, measure_agreement
    from toolchain.convert.pipeline import convert_network
    from toolchain.convert.samples import choose_samples
    from toolchain.convert.stages import measure_stages

_HOME = {
    "Agreement": "toolchain.convert.agreement",
    "choose_samples": "toolchain.convert.samples",
    "convert_network": "toolchain.convert.pipeline",
    "measure_agreement": "toolchain.convert.agreement",
    "measure_stages": "toolchain.convert.stages",
}

__all__ = ["Agreement", "Recipe", "choose_samples", "convert_network", "measure_agreement", "measure_stages"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
