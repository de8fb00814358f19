"""What ONNX's Resize makes of one axis, as a matrix.

The formulas are those of the operator's specification (https://onnx.ai/onnx/operators/onnx__Resize.html).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolchain.frontend.axis_maps import empty
from toolchain.frontend.expression import Refusal

_ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Interpolation:
    """How values between pixels are made.

    Parameters
    ----------
    mode : str
        "nearest", "linear" or "cubic".
    place : str
        `coordinate_transformation_mode`.
    rounding : str
        `nearest_mode`.
    cubic : float
        `cubic_coeff_a`.
    exclude_outside : bool
        Whether taps outside count nothing, and the others more; else the border's value stands for them.
    """

    mode: str
    place: str
    rounding: str
    cubic: float = -0.75
    exclude_outside: bool = False

    def matrix(self, n: int, m: int, scale: float) -> np.ndarray:
        """Return the weights (m, n) of m values made of n; `scale` is the exact ratio, which m was rounded from."""
        position = self._position(n, m, scale)
        if self.mode == "nearest":
            if self.rounding not in _ROUNDING:
                raise Refusal(f"rounds by {self.rounding}", "use nearest_mode floor")
            first, taps = _ROUNDING[self.rounding](position).astype(np.int64), np.ones((m, 1))
        else:
            below = np.floor(position)
            first, part = below.astype(np.int64), position - below
            if self.mode == "linear":
                taps = np.stack([1 - part, part], axis=1)
            elif self.mode == "cubic":
                first, taps = first - 1, self._cubic(part)
            else:
                raise Refusal(f"interpolates by {self.mode}", "use nearest, linear or cubic")
        places = first[:, None] + np.arange(taps.shape[1])
        if self.exclude_outside:
            taps = np.where((places >= 0) & (places < n), taps, 0.0)
            taps = taps / taps.sum(axis=1, keepdims=True)
        matrix = empty(m, n)
        np.add.at(matrix, (np.arange(m)[:, None], np.clip(places, 0, n - 1)), taps)
        return matrix

    def _position(self, n: int, m: int, scale: float) -> np.ndarray:
        """Return where each of m values lies among n."""
        index = np.arange(m, dtype=np.float64)
        match self.place:
            case "align_corners":
                return index * (n - 1) / (m - 1) if m > 1 else np.zeros(1)
            case "asymmetric":
                return index / scale
            case "pytorch_half_pixel" if m == 1:
                return np.zeros(1)
            case "half_pixel" | "pytorch_half_pixel":
                return (index + 0.5) / scale - 0.5
            case "half_pixel_symmetric":
                shift = n / 2 * (1 - m / (scale * n))
                return shift + (index + 0.5) / scale - 0.5
        raise Refusal(f"places its values by {self.place}", "use half_pixel")

    def _cubic(self, part: np.ndarray) -> np.ndarray:
        """Return the four taps of cubic convolution (Keys, 1981), (m, 4)."""
        a = self.cubic
        far, near = part + 1, part
        return np.stack(
            [
                ((a * far - 5 * a) * far + 8 * a) * far - 4 * a,
                ((a + 2) * near - (a + 3)) * near * near + 1,
                ((a + 2) * (1 - near) - (a + 3)) * (1 - near) ** 2 + 1,
                ((a * (2 - near) - 5 * a) * (2 - near) + 8 * a) * (2 - near) - 4 * a,
            ],
            axis=1,
        )
