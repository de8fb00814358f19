"""From real numbers to the integers that a chip holds (semantics, section 3)."""

from toolchain.quantize.amplitude import largest_weight, output_channels
from toolchain.quantize.precision import Precision, check_precision
from toolchain.quantize.quantize import quantize
from toolchain.quantize.remarks import Remark, summed_up
from toolchain.quantize.resamplings import whole_resamplings
from toolchain.quantize.units import QuantizedUnit, quantize_source, quantize_unit

__all__ = [
    "Precision",
    "QuantizedUnit",
    "Remark",
    "check_precision",
    "largest_weight",
    "output_channels",
    "quantize",
    "quantize_source",
    "quantize_unit",
    "summed_up",
    "whole_resamplings",
]
