"""Activations other than ReLU, and gates: what no neuron computes becomes sums of what neurons compute, on data."""

from toolchain.pieces.fit import Distribution, Piece, Pieces, fit
from toolchain.pieces.lower import Lowered, lower
from toolchain.pieces.measure import beyond, measure_curves
from toolchain.pieces.replace import replaced

__all__ = [
    "Distribution",
    "Lowered",
    "Piece",
    "Pieces",
    "beyond",
    "fit",
    "lower",
    "measure_curves",
    "replaced",
]
