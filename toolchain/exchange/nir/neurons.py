"""What the spiking nodes of NIR mean as AdaFire populations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from toolchain.exchange.nir.file import as_float, profile_of
from toolchain.netlist import FormatError, Shape, UnsupportedError
from toolchain.netlist.populations import MAX_PHI


@dataclass(frozen=True, eq=False)
class Neuron:
    """A spiking node, its resistance folded into the other parameters.

    Parameters
    ----------
    threshold, initial : ndarray of the population's shape, float64
    phi : int
    notes : tuple of str
        What had to be assumed.
    """

    threshold: np.ndarray
    initial: np.ndarray
    phi: int
    notes: tuple[str, ...]


def reason_against(node: Any) -> str | None:
    """Return why no netlist can express a node, by its type; None where one may."""
    match node:
        case nir.Threshold():
            return "Threshold: a netlist fires in populations of neurons only"
    return None


def neuron(where: str, node: Any, shape: Shape, unit: float = 1.0) -> Neuron:
    """Translate an IF node.

    ``v += r / unit * I`` with threshold and initial potential is, divided by a positive ``r / unit``, ``u += I``.

    Raises
    ------
    FormatError
        When a parameter is damaged or has another shape than what arrives.
    UnsupportedError
        When the neuron resets to another value than 0, or r is not positive.
    """
    r = every_neuron(f"{where}/r", node.r, shape) / unit
    threshold = every_neuron(f"{where}/v_threshold", node.v_threshold, shape)
    reset = every_neuron(f"{where}/v_reset", node.v_reset, shape)
    if not np.all(r > 0):
        raise UnsupportedError(where, f"r {float(r.min()):g} found, expected positive values")
    if not np.all(threshold > 0):
        raise FormatError(where, f"v_threshold {float(threshold.min()):g} found, expected positive values")
    if np.any(reset != 0):
        raise UnsupportedError(where, "it resets to another value than 0, which reset by subtraction cannot express")
    metadata = profile_of(node)
    if metadata is None:
        note = "reset to 0 and '>' are taken for reset by subtraction and '>=', one spike at most"
        return Neuron(threshold / r, np.zeros(shape), 1, (note,))
    phi = metadata.get("phi")
    phi = phi.item() if isinstance(phi, np.generic) else phi
    if type(phi) is not int or not 1 <= phi <= MAX_PHI:
        raise FormatError(f"{where}/adafire/phi", f"{phi!r:.40} found, expected 1 to {MAX_PHI}")
    if metadata.get("reset") != "subtract" or metadata.get("compare") != ">=":
        raise UnsupportedError(where, "reset other than 'subtract' or compare other than '>=' found")
    initial = every_neuron(f"{where}/adafire/v_init", metadata.get("v_init"), shape)
    return Neuron(threshold / r, initial / r, phi, ())


def every_neuron(where: str, values: Any, shape: Shape) -> np.ndarray:
    """Return a parameter for every neuron: given in full, per channel, or once."""
    if values is None:
        raise FormatError(where, "is missing")
    array = as_float(where, values)
    channelwise = (shape[0], *(1 for _ in shape[1:]))
    if array.size == 1:
        array = array.reshape(())
    elif array.shape == (shape[0],) and len(shape) > 1:
        array = array.reshape(channelwise)
    elif array.shape not in (shape, channelwise):
        raise FormatError(where, f"shape {array.shape} found, but {shape} arrives")
    return np.broadcast_to(array, shape).copy()
