"""From real numbers to the integers that a chip holds (semantics, section 3)."""

from toolchain.quantize.quantize import (
    Precision,
    QuantizedUnit,
    check_precision,
    quantize,
    quantize_source,
    quantize_unit,
)

__all__ = [
    "Precision",
    "QuantizedUnit",
    "check_precision",
    "quantize",
    "quantize_source",
    "quantize_unit",
]
