"""Weights and delays of a netx file as lava-dl's `Network` gives them to Lava.

A matrix is shifted up until it fills the 8 bits of a synapse, cut by Lava to the bits it was said to have, and what
it delivers is shifted down again. Nothing is lost on the way, but at the end of the range: there Lava's `Dense`
clips. The files of slayer reach it.
"""

from __future__ import annotations

import numpy as np

from toolchain.netlist import FormatError, UnsupportedError

#: Ends of a matrix of both signs; netx clips to them. One bit is the sign's.
MIXED = (-256, 254)
#: Longest delay of a synapse in steps, and what netx cuts longer ones to.
MAX_DELAY = 62


def effective_matrix(where: str, weight: np.ndarray) -> np.ndarray:
    """Return the weights that a dense layer of a file has on Lava.

    Parameters
    ----------
    where : str
        For messages.
    weight : ndarray, int64

    Returns
    -------
    ndarray, int64
        Of the same shape. Equal to `weight`, unless lava-dl or Lava clip.

    Raises
    ------
    UnsupportedError
        When Lava would round the sum of the currents, not the weights.
    """
    if not weight.any():
        return weight
    shifted, shift = _as_stored(where, weight)
    if np.any(shifted & ((1 << shift) - 1)):
        raise UnsupportedError(where, f"Lava's Dense cuts these weights below their unit of 2**{shift} and rounds sums")
    return np.asarray(shifted >> shift)


def _as_stored(where: str, weight: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the weights as Lava's `Dense` multiplies with them, and by how many bits it shifts sums down."""
    if int(weight.min()) < 0 < int(weight.max()):
        weight = np.clip(weight, *MIXED)
    low, high = int(weight.min()), int(weight.max())
    # The two ask for signs in different ways: negative weights beside zeros are of both signs to netx, not to Lava.
    netx_mixed, lava_mixed = low < 0 <= high, low < 0 < high
    ends = [(127, -128), (255, -256)][not netx_mixed]
    room = min(ends[0] / high if high > 0 else np.inf, ends[1] / low if low < 0 else np.inf)
    shift = int(np.floor(np.log2(room))) + netx_mixed
    # The bits at the bottom that no weight uses, and those that are cut.
    unused = next((n for n in range(8, 0, -1) if not np.any(weight & ((1 << n) - 1))), 0)
    cut = shift + unused - netx_mixed + lava_mixed
    if shift < 0 or cut < 0:
        raise UnsupportedError(where, f"weights {low} .. {high} found, more than a synapse of 8 bits holds")
    sign = -1 if high <= 0 else 1
    stored = np.clip(sign * (weight << shift), -256 if lava_mixed else 0, 255)
    return sign * ((stored >> cut) << cut), shift


def synapse_delays(where: str, delay: np.ndarray, matrix: tuple[int, ...]) -> int | np.ndarray:
    """Return the delay of each synapse of a matrix (rows, columns), or the only one there is.

    Parameters
    ----------
    where : str
        For messages.
    delay : ndarray
        One, one per row (the neurons that receive) or else per column, or one per synapse.
    matrix : tuple of int

    Raises
    ------
    FormatError
        When the shape fits none of these.
    UnsupportedError
        When a delay is longer than 62 timesteps, which lava-dl would shorten.
    """
    if not np.all(np.isfinite(delay)) or float(delay.min()) < 0:
        raise FormatError(where, f"a delay of {float(delay.min()):g} found, expected 0 to {MAX_DELAY}")
    if float(delay.max()) >= MAX_DELAY + 1:
        raise UnsupportedError(
            where, f"a delay of {int(delay.max())} timesteps found, at most {MAX_DELAY} exist; lava-dl shortens it"
        )
    whole = delay.astype(np.int64)
    if whole.size == 1:
        return int(whole.ravel()[0])
    rows, columns = matrix
    if whole.shape == matrix:
        return whole
    if whole.shape == (rows,):
        return np.repeat(whole[:, np.newaxis], columns, axis=1)
    if whole.shape == (columns,):
        return np.repeat(whole[np.newaxis], rows, axis=0)
    raise FormatError(where, f"delays of shape {whole.shape} found, expected {(rows,)}, {(columns,)} or {matrix}")
