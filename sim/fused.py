"""A layer on a GPU: one kernel from the payloads to the bursts.

Payloads are (T, N, spatial..., C) in memory, seen as (T, N, C, spatial...). The greatest of the products is the
kernel's own, and so is a residual identity; currents of other connections are computed beforehand and added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sim import gpu
from sim.arrange import pair
from sim.columns import ColumnProduct, arrange_anywhere
from sim.layer import Layer, LayerResult
from sim.steps import sum_currents
from toolchain.netlist import AdaFire, Operator, Population


def is_fused(population: Population, device: torch.device) -> bool:
    """Return whether the fused kernel serves a population."""
    return isinstance(population, AdaFire) and gpu.has_kernels(device)


class Blocks(NamedTuple):
    """What a block of threads takes: neurons, channels of them, columns at a time; warps, and loads under way."""

    neurons: int
    channels: int
    columns: int
    warps: int
    stages: int


#: By the output channels, up to which there are: measured on an H200 (docs/performance.md).
_BLOCKS = {16: Blocks(256, 16, 32, 4, 3), 32: Blocks(256, 32, 32, 4, 3), 64: Blocks(128, 64, 64, 4, 3)}
_WIDEST = Blocks(64, 128, 128, 4, 3)
#: Shared memory that the widest needs; a GPU with less takes half of the columns.
_SHARED = 3 * 128 * (64 + 128)
#: Fewer blocks than this leave multiprocessors idle (an H200 has 132): then blocks are of fewer neurons.
_FEWEST = 128


@cache
def _shared_memory(device: torch.device) -> int:
    if device.type != "cuda":
        return _SHARED
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0))


def choose_blocks(rows: int, channels: int, heavy: bool, device: torch.device) -> Blocks:
    """Choose the blocks of a launch.

    Parameters
    ----------
    rows : int
        Pixels of all samples.
    channels : int
    heavy : bool
        Whether neurons hold more than a potential of 32 bits in registers: then they are shared by twice the warps.
    device : torch.device
    """
    blocks = next((blocks for most, blocks in _BLOCKS.items() if channels <= most), _WIDEST)
    if blocks is _WIDEST and _shared_memory(device) < _SHARED:
        blocks = blocks._replace(columns=64)
    neurons = blocks.neurons
    while neurons > 16 and -(-rows // neurons) * -(-channels // blocks.channels) < _FEWEST:
        neurons //= 2
    return blocks._replace(neurons=neurons, warps=2 * blocks.warps if heavy else blocks.warps)


@dataclass(frozen=True, eq=False)
class DeviceConstants:
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
        from sim.gpu_kernels import fire

        population = self._population
        channels, *spatial = population.shape
        product = self._product
        # What is held is multiplied once, not at every timestep.
        if product is not None and len(spikes[product[0]]) != length:
            product = None
        current = self._current(spikes, product)
        given = None if product is None else _arranged(product[1].before, spikes[product[0]])
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
        heavy = current is not None or clipped is not None or self.dtype is torch.float64
        blocks = choose_blocks(rows, channels, heavy, self.device)
        with gpu.on(self.device):
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
                **(self._no_geometry if product is None else self._geometry),
            )
        after = potential.movedim(-1, 1) if keep_state and potential is not None else None
        return LayerResult(burst.movedim(-1, 2), 0 if clipped is None else int(clipped), after)

    @property
    def _population(self) -> AdaFire:
        assert isinstance(self.population, AdaFire)
        return self.population

    @cached_property
    def _product(self) -> tuple[str, ColumnProduct] | None:
        """The greatest of the products that the kernel can do: in place, over two spatial axes at most."""
        able = [
            (name, current)
            for name, current in self.currents
            if isinstance(current, ColumnProduct) and not current.after and len(current.shape) <= 3
        ]
        return max(able, key=lambda item: item[1].weight.numel(), default=None)

    def _current(self, spikes: Mapping[str, Tensor], fused: tuple[str, ColumnProduct] | None) -> Tensor | None:
        """Return the sum of what the other connections bring, (T or 1, N, spatial..., C), in memory too."""
        others = [item for item in self.currents if fused is None or item[1] is not fused[1]]
        return sum_currents(others, spikes, self.dtype).movedim(2, -1).contiguous() if others else None

    @cached_property
    def _no_geometry(self) -> dict[str, int]:
        """The kernel's geometry of the neurons alone: of a product there is none."""
        spatial = self.population.shape[1:]
        height, width = pair(spatial, 1) if len(spatial) == 2 else (1, prod(spatial))
        ones = ("height", "width", "stride_h", "stride_w", "dilation_h", "dilation_w", "kernel_h", "kernel_w")
        none = {"before_h": 0, "before_w": 0, "inner": 1, "columns": 1, "padded": False}
        return {"out_height": height, "out_width": width, **dict.fromkeys(ones, 1), **none}

    @cached_property
    def _geometry(self) -> dict[str, int]:
        """The kernel's geometry with its product, over two axes, whatever that has."""
        assert self._product is not None
        columns = self._product[1]
        found = {**self._no_geometry, "inner": columns.seen[0], "columns": columns.weight.shape[1]}
        conv = columns.geometry
        if conv is not None:
            pairs = {
                ("height", "width"): pair(columns.seen[1:], 1),
                ("stride_h", "stride_w"): pair(conv.stride, 1),
                ("before_h", "before_w"): pair(tuple(before for before, _ in conv.padding), 0),
                ("dilation_h", "dilation_w"): pair(conv.dilation, 1),
                ("kernel_h", "kernel_w"): pair(conv.weight.shape[2:], 1),
            }
            found |= {name: n for names, values in pairs.items() for name, n in zip(names, values, strict=True)}
            found["padded"] = any(n for both in conv.padding for n in both)
        return found

    @cached_property
    def _constants(self) -> DeviceConstants:
        population = self._population
        kind: Any = np.float32 if self.dtype is torch.float32 else np.float64

        def lay(values: np.ndarray) -> Tensor:
            array = np.moveaxis(values, 0, -1).reshape(-1, len(values)) if values.ndim > 1 else values
            return torch.from_numpy(np.ascontiguousarray(array, dtype=kind)).to(self.device)

        theta = population.threshold.astype(kind)
        return DeviceConstants(
            lay(theta),
            lay(kind(1) / theta),
            lay(population.bias),
            lay(population.initial),
            None if self.skip is None else lay(self.skip[1].weight),
            None if self.limit is None else lay(np.array([0.5 - self.limit, 0.5 + self.limit])),
        )


def _arranged(operators: tuple[Operator, ...], payload: Tensor) -> Tensor:
    """Bring payloads (T or 1, N, *shape) into place: (T or 1, N, spatial..., C), in memory too."""
    moved = arrange_anywhere(operators, payload.flatten(0, 1)).movedim(1, -1)
    return moved.reshape(*payload.shape[:2], *moved.shape[1:]).contiguous()
