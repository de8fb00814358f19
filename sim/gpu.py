"""What a GPU's own kernels (`sim.gpu_kernels`) serve, and how they are launched."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from math import prod

import torch
from torch import Tensor

from sim.arrange import pair
from toolchain.netlist import SumPool

#: Share of a GPU's memory that the payloads of a chunk of samples take at most: one layer's int64 sums and those before
#: them are eight times as many bytes each, and other processes want some.
MEMORY_SHARE = 1 / 32

#: What a program of the simple kernels takes: rows by neurons or channels, and of rows that many blocks. Sums of their
#: payloads, each counted up to `MOST_TIMES`, stay within int32.
_ROWS, _NEURONS, _BLOCKS = 4, 512, 64
MOST_TIMES = (2**31 - 1) // (255 * _ROWS * _BLOCKS)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def has_kernels(device: torch.device) -> bool:
    """Return whether Triton, which torch's builds for CUDA bring, compiles kernels for a device."""
    return device.type == "cuda" and _has_triton()


def chunk_bytes(device: torch.device, core: int) -> int:
    """Return how many bytes of payloads one chunk of samples may take: `core` on a CPU, else a share of its memory."""
    if device.type == "cpu":
        return core
    return int(MEMORY_SHARE * torch.cuda.get_device_properties(device).total_memory)


def on(device: torch.device) -> AbstractContextManager[object]:
    """Launch on this device: of several GPUs, Triton takes the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def sum_windows(operator: SumPool, payload: Tensor) -> Tensor:
    """Sum bytes (B, spatial..., C), of one or two spatial axes, over windows; bytes must hold the sums."""
    from sim import gpu_kernels

    samples, *spatial, channels = payload.shape
    _, *reached = operator.output_shape((channels, *spatial))
    total = torch.empty((samples, *reached, channels), dtype=payload.dtype, device=payload.device)
    rows = samples * prod(reached)
    with on(payload.device):
        gpu_kernels.sum_windows[(-(-rows // _ROWS), -(-channels // _NEURONS))](
            payload.contiguous(),
            total,
            samples,
            *pair(tuple(spatial), 1),
            *pair(tuple(reached), 1),
            channels,
            *pair(operator.stride, 1),
            *pair(tuple(before for before, _ in operator.padding), 0),
            *pair(operator.kernel, 1),
            block_m=_ROWS,
            block_n=_NEURONS,
        )
    return total


def count(values: Tensor, times: Tensor) -> Tensor:
    """Return the sums of |payload| and of events, as `sim.activity.sums_on_device`.

    Parameters
    ----------
    values : Tensor (T or 1, N, *shape), int8 or uint8
    times : Tensor (T or 1, N), int32
        How often each counts, up to `MOST_TIMES`.
    """
    from sim import gpu_kernels

    flat = values.movedim(2, -1).contiguous().flatten(0, 1)
    shape = flat.shape[1:]
    neurons = prod(shape)
    total = torch.zeros((2, *shape), dtype=torch.int64, device=values.device)
    with on(values.device):
        gpu_kernels.count[(-(-neurons // _NEURONS), -(-len(flat) // (_ROWS * _BLOCKS)))](
            flat,
            times.flatten(),
            total,
            len(flat),
            neurons,
            block_m=_ROWS,
            block_n=_NEURONS,
            blocks=_BLOCKS,
        )
    return total
