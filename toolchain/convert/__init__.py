"""Conversion: from a network and data to a netlist, the passes in order (the only meaning of *convert*)."""

from toolchain.convert.pipeline import choose_samples, convert_network
from toolchain.convert.recipe import Recipe
from toolchain.convert.stages import measure_stages

__all__ = ["Recipe", "choose_samples", "convert_network", "measure_stages"]
