"""A layer on a GPU: one kernel from the payloads to the bursts.

Payloads are (T, N, spatial..., C) in memory, seen as (T, N, C, spatial...). The connection whose product takes the most
work is the kernel's own, and so is a residual identity; currents of the others are computed beforehand and added.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sim.arrange import pair
from sim.columns import ColumnProduct, arrange_anywhere
from sim.layer import Layer, LayerResult
from toolchain.netlist import AdaFire, Operator, Population

#: Blocks of a kernel: neurons by channels at most, and columns multiplied at a time. int8 products of Hopper's and
#: Ampere's tensor cores take 32 columns; blocks of 128 x 128 potentials fill the registers of eight warps.
MOST, COLUMNS = 128, 64

#: Fewer blocks than this leave multiprocessors idle (an H100 has 132): then blocks are made smaller.
BLOCKS = 128


@cache
def has_triton() -> bool:
    """Return whether there is a Triton to compile kernels with: torch's builds for CUDA bring one."""
    return find_spec("triton") is not None


def is_fused(population: Population, device: torch.device) -> bool:
    """Return whether the fused kernel serves a population."""
    return isinstance(population, AdaFire) and device.type == "cuda" and has_triton()

#: The geometry of a matrix on one pixel.
_NO_PRODUCT = {
    "height": 1,
    "width": 1,
    "stride_h": 1,
    "stride_w": 1,
    "before_h": 0,
    "before_w": 0,
    "dilation_h": 1,
    "dilation_w": 1,
    "inner": 1,
    "kernel_h": 1,
    "kernel_w": 1,
    "columns": 1,
    "padded": False,
}


@dataclass(frozen=True, eq=False)
class _Constants:
    """What the kernel reads, per channel (C,) or per neuron (pixels, C)."""

    theta: Tensor
    inverse: Tensor
    bias: Tensor
    initial: Tensor
    skip_weight: Tensor | None
    limits: Tensor | None


@dataclass(frozen=True, eq=False)
class FusedLayer(Layer):
    """A population of AdaFire neurons in one kernel, after the currents that it does not compute itself."""

    def _run(self, spikes: Mapping[str, Tensor], length: int, state: Tensor | None, keep_state: bool) -> LayerResult:
        from sim.fused_kernel import fire

        population = self.population
        assert isinstance(population, AdaFire)
        channels, *spatial = population.shape
        product = self._product(spikes, length)
        current = self._current(spikes, product)
        given, geometry = None, _NO_PRODUCT
        if product is not None:
            name, columns = product
            given = _arranged(columns.before, spikes[name])
            geometry = _geometry(columns, given)
        skip = None if self.skip is None else _arranged(self.skip[1].before, spikes[self.skip[0]])
        samples = spikes[self.sources[0]].shape[1]
        lead = (length, samples, *spatial, channels)
        burst = torch.empty(lead, dtype=torch.uint8, device=self.device)
        potential = None
        if keep_state or state is not None:
            potential = torch.empty(lead[1:], dtype=self.dtype, device=self.device)
            if state is not None:
                potential.copy_(state.movedim(1, -1))
        constants = self._constants
        clipped = None if self.limit is None else torch.zeros((), dtype=torch.int64, device=self.device)
        rows = samples * prod(spatial)
        blocks = choose_blocks(rows, channels)
        height, breadth = pair(tuple(spatial), 1) if len(spatial) == 2 else (1, prod(spatial))
        with _on(self.device):
            fire[(-(-rows // blocks.neurons), -(-channels // blocks.channels))](
                None if given is None else given.view(torch.int8),
                None if product is None else product[1].weight,
                None if product is None else product[1].shift,
                current,
                skip,
                constants.skip_weight,
                constants.theta,
                constants.inverse,
                constants.bias,
                constants.initial,
                constants.limits,
                potential,
                clipped,
                burst,
                samples,
                length,
                population.phi,
                channels,
                out_height=height,
                out_width=breadth,
                current_held=current is not None and len(current) == 1,
                skip_held=skip is not None and len(skip) == 1,
                bias_moves=constants.bias.ndim > 1,
                initial_moves=constants.initial.ndim > 1,
                resume=state is not None,
                keep=keep_state,
                block_m=blocks.neurons,
                block_n=blocks.channels,
                block_k=blocks.columns,
                num_warps=blocks.warps,
                num_stages=blocks.stages,
                **geometry,
            )
        after = potential.movedim(-1, 1) if keep_state and potential is not None else None
        return LayerResult(burst.movedim(-1, 2), 0 if clipped is None else int(clipped), after)

    def _product(self, spikes: Mapping[str, Tensor], length: int) -> tuple[str, ColumnProduct] | None:
        """The greatest of the products that the kernel can do: in place, over two spatial axes at most, and not held."""
        able = [
            (name, current)
            for name, current in self.currents
            if isinstance(current, ColumnProduct)
            and not current.after
            and len(current.shape) <= 3
            and len(spikes[name]) == length
        ]
        return max(able, key=lambda item: item[1].weight.numel(), default=None)

    def _current(self, spikes: Mapping[str, Tensor], fused: tuple[str, ColumnProduct] | None) -> Tensor | None:
        """Return the sum of what the other connections bring, (T or 1, N, spatial..., C), in memory too."""
        total: Tensor | None = None
        for name, current in self.currents:
            if fused is not None and current is fused[1]:
                continue
            payload = spikes[name]
            value = current(payload.flatten(0, 1)).to(self.dtype)
            value = value.reshape(*payload.shape[:2], *value.shape[1:])
            total = value if total is None else total + value
        return None if total is None else total.movedim(2, -1).contiguous()

    @cached_property
    def _constants(self) -> _Constants:
        population = self.population
        assert isinstance(population, AdaFire)
        kind = np.float32 if self.dtype is torch.float32 else np.float64

        def lay(values: np.ndarray) -> Tensor:
            array = np.moveaxis(values, 0, -1).reshape(-1, len(values)) if values.ndim > 1 else values
            return torch.from_numpy(np.ascontiguousarray(array, dtype=kind)).to(self.device)

        theta = population.threshold.astype(kind)
        limits = None if self.limit is None else np.array([0.5 - self.limit, 0.5 + self.limit])
        return _Constants(
            lay(theta),
            lay(kind(1) / theta),
            lay(population.bias),
            lay(population.initial),
            None if self.skip is None else lay(self.skip[1].weight),
            None if limits is None else lay(limits),
        )


def _arranged(operators: tuple[Operator, ...], payload: Tensor) -> Tensor:
    """Bring payloads (T or 1, N, *shape) into place: (T or 1, N, spatial..., C), in memory too."""
    moved = arrange_anywhere(operators, payload.flatten(0, 1)).movedim(1, -1)
    return moved.reshape(*payload.shape[:2], *moved.shape[1:]).contiguous()


def _geometry(columns: ColumnProduct, given: Tensor) -> dict[str, int]:
    """Return the kernel's geometry of a product of payloads (T or 1, N, spatial..., C): two axes, whatever it has."""
    sizes = {"inner": given.shape[-1], "columns": columns.weight.shape[1]}
    conv = columns.geometry
    if conv is None:
        return {**_NO_PRODUCT, **sizes}
    values = {
        "": (pair(tuple(given.shape[2:-1]), 1), ("height", "width")),
        "stride": (pair(conv.stride, 1), ("stride_h", "stride_w")),
        "before": (pair(tuple(before for before, _ in conv.padding), 0), ("before_h", "before_w")),
        "dilation": (pair(conv.dilation, 1), ("dilation_h", "dilation_w")),
        "kernel": (pair(conv.weight.shape[2:], 1), ("kernel_h", "kernel_w")),
    }
    named = {name: n for pair_of, names in values.values() for name, n in zip(names, pair_of, strict=True)}
    return {**named, **sizes, "padded": any(n for both in conv.padding for n in both)}


class Blocks(NamedTuple):
    """What a block of threads takes: neurons, channels of them, columns at a time; warps, and loads under way."""

    neurons: int
    channels: int
    columns: int
    warps: int
    stages: int


def choose_blocks(rows: int, channels: int) -> Blocks:
    """Choose the blocks of a launch over so many pixels, all samples', of so many channels."""
    width = min(MOST, max(16, 1 << (channels - 1).bit_length()))
    size = MOST
    while size > 16 and -(-rows // size) * -(-channels // width) < BLOCKS:
        size //= 2
    return Blocks(size, width, COLUMNS, 8 if size * width >= MOST * MOST else 4, 3)


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Launch on this device: of several GPUs, Triton takes the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
