"""What an input accepts: the check that every executor runs first."""

from __future__ import annotations

import numpy as np

from toolchain.netlist.errors import InputError
from toolchain.netlist.populations import Input


def check_payloads(source: Input, payloads: np.ndarray, timesteps: int) -> np.ndarray:
    """Check a batch of payloads and return it with a leading time axis.

    Parameters
    ----------
    source : Input
    payloads : ndarray, integer
        (N, *shape) for direct coding, (T, N, *shape) for frames.
    timesteps : int
        Length of the run; frames beyond it are not used.

    Returns
    -------
    ndarray (1, N, *shape) for direct coding (held), (T, N, *shape) for frames; int8 or uint8

    Raises
    ------
    InputError
        When shape, type or range is not what the input takes: bounds, and so exactness, rest on it.
    """
    frames = source.coding == "frames"
    axes = ("T", "N", *source.shape) if frames else ("N", *source.shape)
    if payloads.ndim != len(axes) or payloads.shape[-len(source.shape) :] != source.shape:
        expected = ", ".join(map(str, axes))
        raise InputError(source.name, f"payloads of shape {payloads.shape} found, expected ({expected})")
    if frames and payloads.shape[0] < timesteps:
        raise InputError(source.name, f"{payloads.shape[0]} frames found, expected {timesteps}")
    if not np.issubdtype(payloads.dtype, np.integer):
        raise InputError(
            source.name, f"payloads of type {payloads.dtype} found, expected integers", "encode data with Input.encode"
        )
    low, high = source.payload_range
    if payloads.size and not (low <= int(payloads.min()) and int(payloads.max()) <= high):
        raise InputError(source.name, f"payloads {payloads.min()} .. {payloads.max()} found, expected {low} .. {high}")
    held = payloads[:timesteps] if frames else payloads[np.newaxis]
    return held.astype(source.payload_dtype, copy=False)
