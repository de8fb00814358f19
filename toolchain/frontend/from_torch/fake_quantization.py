"""Fake quantisers of torch.ao.quantization, which branch on their own buffers, made plain while they are traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantizeBase


@contextmanager
def plain_fake_quantization(module: nn.Module) -> Iterator[None]:
    """Let every fake quantiser in a module round as it stands: nothing is observed or decided while it runs."""
    found: list[Any] = [m for m in module.modules() if isinstance(m, FakeQuantizeBase) and hasattr(m, "scale")]
    for quantizer in found:
        quantizer.forward = _rounding(quantizer)
    try:
        yield
    finally:
        for quantizer in found:
            del quantizer.forward


def _rounding(quantizer: Any) -> Callable[[Tensor], Tensor]:
    if not bool(quantizer.fake_quant_enabled):
        return lambda x: x
    scale, zero = quantizer.scale.detach().clone(), quantizer.zero_point.detach().clone()
    observer = getattr(quantizer, "activation_post_process", quantizer)
    low, high = int(observer.quant_min), int(observer.quant_max)
    if getattr(quantizer, "is_per_channel", False):
        axis = int(quantizer.ch_axis)
        return lambda x: torch.fake_quantize_per_channel_affine(x, scale, zero.int(), axis, low, high)
    return lambda x: torch.fake_quantize_per_tensor_affine(x, float(scale), int(zero), low, high)
