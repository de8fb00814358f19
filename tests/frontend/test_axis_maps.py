"""Resampling, padding, lists of positions, repetition, unfolding, products with fixed operands, as PyTorch has them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.frontend import read_module
from toolchain.netlist import UnsupportedError
from toolchain.network import outputs

IMAGE, SIGNAL, VOLUME = (3, 6, 6), (3, 7), (2, 3, 4, 3)
_CONV = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}


class Between(nn.Module):
    """A function between a ReLU and the last layer, which takes what comes."""

    def __init__(self, function, shape, width=4):
        super().__init__()
        self.function = function
        self.first = _CONV[len(shape)](shape[0], width, 3, padding=1)
        made = function(F.relu(self.first(torch.zeros(1, *shape))))
        conv = _CONV.get(made.ndim - 1)
        self.last = conv(made.shape[1], 2, 1) if conv else nn.Linear(made.shape[-1], 2)

    def forward(self, x):
        return self.last(self.function(F.relu(self.first(x))))


def resized(**options):
    return lambda x: F.interpolate(x, **options)


def pooled_pyramid(x):
    """Pyramid pooling: averages of 1, 2, 3 and 4 parts a side, as wide as the map again."""
    parts = [F.adaptive_avg_pool2d(x, n) for n in (1, 2, 3, 4)]
    return torch.cat([x, *(F.interpolate(p, size=x.shape[2:], mode="bilinear", align_corners=False) for p in parts)], 1)


def padded(mode, *pad):
    return lambda x: F.pad(x, pad, mode=mode)


rng = torch.Generator().manual_seed(2)
C5, H7, CH3 = (torch.randn(*s, generator=rng) for s in ((4, 5), (6, 7), (4, 6, 3)))

ON_IMAGES = {
    "nearest_by_1.5": resized(scale_factor=1.5),
    "nearest_by_0.6": resized(scale_factor=0.6),
    "nearest_to_a_size": resized(size=(5, 13)),
    "nearest_exact": resized(size=(9, 4), mode="nearest-exact"),
    "bilinear_by_1.5": resized(scale_factor=1.5, mode="bilinear"),
    "bilinear_by_1.7": resized(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    "bilinear_to_a_size": resized(size=(9, 11), mode="bilinear"),
    "bilinear_aligned": resized(size=(9, 11), mode="bilinear", align_corners=True),
    "bilinear_aligned_by_2": resized(scale_factor=2, mode="bilinear", align_corners=True),
    "bilinear_smaller": resized(size=(4, 3), mode="bilinear"),
    "bicubic": resized(scale_factor=2, mode="bicubic"),
    "bicubic_aligned": resized(size=(5, 7), mode="bicubic", align_corners=True),
    "bilinear_antialiased": resized(size=(4, 9), mode="bilinear", antialias=True),
    "bicubic_antialiased": resized(scale_factor=0.6, mode="bicubic", antialias=True),
    "area": resized(size=(4, 5), mode="area"),
    "from_one_pixel": lambda x: F.interpolate(x.mean((2, 3), keepdim=True), size=(6, 6), mode="bilinear"),
    "pyramid": pooled_pyramid,
    "global_average_beside": lambda x: x + x.mean((2, 3), keepdim=True),
    "reflect": padded("reflect", 1, 2, 2, 1),
    "replicate": padded("replicate", 1, 2, 2, 1),
    "circular": padded("circular", 1, 2, 2, 1),
    "pad_with_a_value": lambda x: F.pad(x, (1, 2, 2, 1), value=1.5),
    "pad_and_crop_with_a_value": lambda x: F.pad(x, (1, -1, 2, 0, 1, 1), value=-1.5),
    "average_without_padding": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average_of_partial_windows": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "average_of_padded_partial_windows": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average_by_a_divisor": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, divisor_override=5),
    "adaptive_uneven": lambda x: F.adaptive_avg_pool2d(x, (4, 5)),
    "adaptive_larger": lambda x: F.adaptive_avg_pool2d(x, (7, 9)),
    "stack": lambda x: torch.stack([x, x * 2], 2).flatten(1, 2),
    "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 5, -1, -1),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "tile": lambda x: torch.tile(x, (1, 2, 2, 1)),
    "interleave": lambda x: x.repeat_interleave(2, 3),
    "interleave_channels": lambda x: x.repeat_interleave(2, 1),
    "list_of_channels": lambda x: x[:, [3, 1, 0]],
    "list_of_columns": lambda x: x[:, :, [5, 0, 0, 2]],
    "index_select": lambda x: torch.index_select(x, 3, torch.tensor([1, 1, 4])),
    "by_a_mask": lambda x: x[:, :, torch.arange(6) != 2],
    "flip": lambda x: x.flip(2, 3),
    "flip_channels": lambda x: x.flip(1),
    "rot90": lambda x: torch.rot90(x, 1, (2, 3)),
    "roll": lambda x: torch.roll(x, (1, -2), (2, 3)),
    "roll_channels": lambda x: x.roll(1, 1),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "where": lambda x: torch.where(torch.arange(6) > 2, x, torch.tensor(0.5)),
    "where_of_two": lambda x: torch.where((torch.arange(6) > 2)[:, None], x, x * 2),
    "masked_fill": lambda x: x.masked_fill(torch.eye(6, dtype=torch.bool), 0.3),
    "tril": lambda x: x.tril(),
    "diff": lambda x: torch.diff(x, dim=3),
    "hstack": lambda x: torch.hstack([x, x]),
    "narrow": lambda x: x.narrow(2, 1, 3),
    "einsum_channels": lambda x: torch.einsum("nchw,ck->nkhw", x, C5),
    "einsum_columns": lambda x: torch.einsum("nchw,wv->nchv", x, H7),
    "einsum_a_matrix_per_channel": lambda x: torch.einsum("nchw,cwv->nchv", x, CH3),
    "einsum_sum": lambda x: torch.einsum("nchw->nc", x),
    "einsum_everything": lambda x: torch.einsum("nchw,chwk->nk", x, CH3[:, :, None] * torch.ones(6, 1) / 9),
    "einsum_permuted": lambda x: torch.einsum("hk,nchw->nkcw", H7, x),
    "matrix_on_the_left": lambda x: H7.T @ x,
    "matrix_on_the_right": lambda x: x @ H7,
    "matrix_per_channel": lambda x: x @ CH3,
    "matrix_per_channel_on_the_left": lambda x: CH3.mT @ x,
    "patches": lambda x: F.unfold(x, 3, padding=1, stride=2),
    "dilated_patches": lambda x: F.unfold(x, (2, 3), dilation=2),
    "windows": lambda x: x.unfold(2, 3, 2).flatten(3),
    "tiles_to_channels": lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 1, 4, 5, 2, 3).flatten(1, 3),
    "broadcast_product": lambda x: x[:, :1] * torch.linspace(0, 1, 18).view(3, 1, 6),
}
ON_SIGNALS = {
    "linear": resized(size=13, mode="linear"),
    "nearest": resized(scale_factor=2.5),
    "reflect": padded("reflect", 1, 2),
    "replicate": padded("replicate", 1, 2),
    "circular": padded("circular", 1, 2),
    "average_of_partial_windows": lambda x: F.avg_pool1d(x, 3, 2, 1, True, False),
    "adaptive_uneven": lambda x: F.adaptive_avg_pool1d(x, 4),
    "flip": lambda x: x.flip(2),
}
IN_VOLUMES = {
    "trilinear_aligned": resized(size=(4, 3, 7), mode="trilinear", align_corners=True),
    "nearest": resized(size=(4, 3, 7)),
    "reflect": padded("reflect", 1, 1, 0, 1, 1, 0),
    "replicate": padded("replicate", 1, 1, 0, 1, 1, 0),
    "circular": padded("circular", 1, 1, 0, 1, 1, 0),
    "average_of_partial_windows": lambda x: F.avg_pool3d(x, 2, 2, 1, True, False),
    "roll": lambda x: x.roll((1, 2), (2, 4)),
}
CASES = [
    pytest.param(function, shape, id=f"{name}-{len(shape) - 1}d")
    for table, shape in ((ON_IMAGES, IMAGE), (ON_SIGNALS, SIGNAL), (IN_VOLUMES, VOLUME))
    for name, function in table.items()
]


def agree(module, shape):
    module.eval()
    x = torch.randn(3, *shape)
    (found,) = outputs(read_module(module, shape), x.double())
    expected = module(x).detach()
    assert found.numel() == expected.numel()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("function", "shape"), CASES)
def test_a_map_is_what_pytorch_makes_of_it(function, shape):
    torch.manual_seed(4)
    agree(Between(function, shape), shape)


def test_colours_of_the_input_in_another_order_are_columns_of_the_first_weights():
    torch.manual_seed(4)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))

    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = module

        def forward(self, x):
            return self.body(x[:, [2, 1, 0]])

    agree(Swapped(), (3, 6, 6))


def test_a_long_list_of_channels_is_one_connection():
    torch.manual_seed(4)
    module = Between(lambda x: x[:, list(range(40))[::-1]], IMAGE, width=40)
    agree(module, IMAGE)
    assert len(read_module(module, IMAGE).connections) == 2


def test_padding_modes_of_a_convolution():
    torch.manual_seed(4)
    agree(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"),
        ),
        IMAGE,
    )


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: torch.roll(x, 3), "rolls over the whole batch"),
        (lambda x: x[:, [0, 1], [1, 2]].unsqueeze(3), "several lists"),
        (lambda x: torch.einsum("nchw,ncxw->nchx", x, x), "two activations"),
    ],
)
def test_what_is_no_fixed_map_is_refused(function, words):
    with pytest.raises(UnsupportedError, match=words):
        read_module(Between(function, IMAGE), IMAGE)
