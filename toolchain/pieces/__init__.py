"""Activations other than ReLU, and gates: what no neuron computes becomes sums of what neurons compute, on data."""

from toolchain.pieces.fit import Distribution, Piece, Pieces, fit
from toolchain.pieces.measure import beyond, measure_curves
from toolchain.pieces.replace import replaced
from toolchain.pieces.substitute import Substituted, substitute

__all__ = [
    "Distribution",
    "Piece",
    "Pieces",
    "Substituted",
    "beyond",
    "fit",
    "measure_curves",
    "replaced",
    "substitute",
]
