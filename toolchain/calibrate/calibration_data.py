"""Samples to calibrate on, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from toolchain.calibrate.storage import Storage
from toolchain.netlist import InputError
from toolchain.network import SampleTensor, each_chunk


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Unlabelled data to calibrate on.

    Parameters
    ----------
    x : SampleTensor (N, *source shape), float32
        Normalised: what the ANN sees. The mean over frames for frames coding.
    payload : SampleTensor (N, 1 or T, *source shape), int8 or uint8
        What the SNN sees; a second axis of 1 is held.
    storage : Storage
        Where what becomes of the data on the way is kept.
    """

    x: SampleTensor
    payload: SampleTensor
    storage: Storage = field(default_factory=Storage)

    def __post_init__(self) -> None:
        samples, _, *shape = self.payload.shape
        if self.x.shape != (samples, *shape):
            raise InputError("calibration data", f"{tuple(self.x.shape)} data for {tuple(self.payload.shape)} payloads")
        if samples < 1:
            raise InputError("calibration data", "no samples found, expected at least one")

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def __reduce__(self) -> tuple[type[CalibrationData], tuple[Tensor, Tensor, Storage]]:
        # Files are this process's own: what goes to another one are the samples.
        return CalibrationData, (self.x[:], self.payload[:], self.storage)

    def part(self, start: int, stop: int) -> CalibrationData:
        """Return the samples from `start` up to `stop`, in memory."""
        return CalibrationData(self.x[start:stop], self.payload[start:stop], self.storage)

    def emitted(self, part: slice) -> np.ndarray:
        """Return payloads as an executor takes them: (n, *source shape) where held, else (T, n, *source shape)."""
        payload = self.payload[part].numpy()
        return payload[:, 0] if payload.shape[1] == 1 else np.ascontiguousarray(payload.swapaxes(0, 1))


def add_up(work: Callable[[slice], np.ndarray], parts: Sequence[slice]) -> np.ndarray:
    """Add up, in order, what `work` says of every chunk."""
    total: np.ndarray | None = None
    for summand in each_chunk(work, parts):
        total = summand if total is None else total + summand
    assert total is not None
    return total
