"""From outputs to boxes: code of the user's, run on the ANN's outputs and on the SNN's alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.netlist import InputError, Shape
from toolchain.specs import failures, named
from toolchain.tail import Final
from toolchain.tasks.detections import Detected

_RETURNS = "per sample boxes (K, 4), scores (K,) and labels (K,)"


@dataclass(frozen=True)
class Decoder:
    """A function of a network's own outputs and its input's shape, which returns boxes.

    It takes (outputs, input shape): a dict of name to float32 ndarray (N, ...) in the network's own units, as
    `adafire.outputs` returns it, and the shape (C, H, W). It returns, per sample, (boxes (K, 4) of x0, y0, x1, y1 in
    pixels of the input, scores (K,), labels (K,)).

    Parameters
    ----------
    code : str or callable
        The function, or what names it: ``package.module:callable`` or ``path/to/file.py:callable``.
    """

    code: str | Callable[..., Any]

    @property
    def name(self) -> str:
        """What names it, for messages and for the netlist."""
        return self.code if isinstance(self.code, str) else getattr(self.code, "__qualname__", repr(self.code))

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function, loaded where it is first asked for: once here, and once in each worker.

        Raises
        ------
        InputError
            When there is no such code.
        """
        if not isinstance(self.code, str):
            return self.code
        with named(self.code) as found:
            function: Callable[..., Any] = found
            return function

    def __reduce__(self) -> tuple[type[Decoder], tuple[Any]]:
        """Travel by the whole name: a worker knows neither the module that a file became here nor this folder."""
        place, colon, name = self.code.rpartition(":") if isinstance(self.code, str) else ("", "", "")
        return Decoder, (f"{Path(place).resolve()}{colon}{name}" if place.endswith(".py") else self.code,)

    def __call__(self, outputs: Mapping[str, Final], samples: int, shape: Shape) -> list[Detected]:
        """Return what is detected in each of so many samples.

        Raises
        ------
        InputError
            When the code fails, or returns something else.
        """
        with failures(self.name, "decoding failed", None, "while it decoded"):
            found = self.function({name: _plain(value) for name, value in outputs.items()}, shape)
            found = list(found)
        if len(found) != samples:
            raise InputError(self.name, f"{len(found)} results for {samples} samples found, expected {_RETURNS}")
        return [self._detected(n, result) for n, result in enumerate(found)]

    def _detected(self, sample: int, result: Any) -> Detected:
        try:
            boxes, scores, labels = (np.asarray(part) for part in result)
        except (TypeError, ValueError) as error:
            raise InputError(self.name, f"{error} (sample {sample} of a batch), expected {_RETURNS}") from None
        count = len(scores) if scores.ndim else 0
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        shapes = (boxes.shape, scores.shape, labels.shape)
        if shapes != ((count, 4), (count,), (count,)):
            raise InputError(self.name, f"shapes {shapes} for sample {sample} of a batch found, expected {_RETURNS}")
        numbers = all(part.dtype.kind in "iuf" for part in (boxes, scores, labels))
        if not numbers or not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise InputError(self.name, f"values that are no finite numbers in sample {sample} of a batch found")
        whole = labels.astype(np.int64)
        if np.any(whole != labels):
            raise InputError(self.name, f"labels {labels} in sample {sample} of a batch found, expected whole numbers")
        return Detected(boxes.astype(np.float64), scores.astype(np.float64), whole)


def _plain(value: Final) -> Final:
    """Return an output as the code takes it: real numbers as float32, whole ones as they are."""
    if isinstance(value, list):
        return [np.asarray(_plain(each)) for each in value]
    return value.astype(np.float32) if value.dtype.kind == "f" else value
