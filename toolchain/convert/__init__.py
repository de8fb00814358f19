"""Conversion: from a network and data to a netlist, the passes in order (the only meaning of *convert*)."""

from toolchain.convert.pipeline import choose_samples, convert_network
from toolchain.convert.recipe import Recipe
from toolchain.convert.stages import Stages, measure_stages

__all__ = ["Recipe", "Stages", "choose_samples", "convert_network", "measure_stages"]
