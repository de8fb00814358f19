"""Converted networks compute what their modules compute, to the rounding of float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from toolchain.frontend import read_module, read_onnx, read_pt2
from toolchain.netlist import Conv, ConvTranspose, Linear
from toolchain.netlist.checks import NAME
from toolchain.netlist.operators import Weighted
from toolchain.network import MaxUnit, Output, outputs


class Function(nn.Module):
    """A module whose forward is a function of its parts and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def sequential(*layers):
    return nn.Sequential(*layers)


def residual(c_in, c_out, stride, shortcut):
    return Function(
        lambda m, x: F.relu(m.bn2(m.conv2(F.relu(m.bn1(m.conv1(x))))) + m.shortcut(x)),
        conv1=nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
        bn1=nn.BatchNorm2d(c_out),
        conv2=nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
        bn2=nn.BatchNorm2d(c_out),
        shortcut=shortcut,
    )


def option_a(c_in, c_out):
    grow = (c_out - c_in) // 2
    return Function(lambda m, x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, grow, grow)))


def up(x):
    return F.interpolate(x, scale_factor=2.0)


def pyramid():
    """Lateral convolutions, their sums from above, a convolution behind each: no activation between."""
    return Function(
        lambda m, x: m.out(m.lateral(x) + up(m.above(m.body(x).relu()))),
        body=nn.Conv2d(3, 4, 3, stride=2, padding=1),
        lateral=nn.Conv2d(3, 4, 1),
        above=nn.Conv2d(4, 4, 1),
        out=nn.Conv2d(4, 2, 3, padding=1),
    )


def in_place_block():
    def forward(m, x):
        y = m.conv(x)
        y += x
        y.mul_(0.5)
        return F.relu_(y).clamp_(max=6.0)

    return Function(forward, conv=nn.Conv2d(4, 4, 3, padding=1))


def inverted_residual(c, expand):
    return Function(
        lambda m, x: x + m.body(x),
        body=sequential(
            nn.Conv2d(c, c * expand, 1, bias=False),
            nn.BatchNorm2d(c * expand),
            nn.ReLU6(),
            nn.Conv2d(c * expand, c * expand, 3, 1, 1, groups=c * expand, bias=False),
            nn.BatchNorm2d(c * expand),
            nn.ReLU6(),
            nn.Conv2d(c * expand, c, 1, bias=False),
            nn.BatchNorm2d(c),
        ),
    )


def dense_block():
    def forward(m, x):
        a = F.relu(m.conv1(x))
        b = F.relu(m.conv2(torch.cat([x, a], 1)))
        c = F.relu(m.conv3(torch.cat([x, a, b], 1)))
        return m.fc(torch.cat([a, b, c], 1).flatten(1))

    return Function(
        forward,
        conv1=nn.Conv2d(3, 4, 3, padding=1),
        conv2=nn.Conv2d(7, 2, 3, padding=1),
        conv3=nn.Conv2d(9, 5, 3, padding=1),
        fc=nn.Linear(11 * 36, 3),
    )


def csp_block():
    """Channel split, one half transformed, joined and shuffled (ShuffleNet v2)."""

    def forward(m, x):
        x = F.relu(m.stem(x))
        a, b = x.chunk(2, 1)
        x = torch.cat([a, F.relu(m.conv(b))], 1)
        x = x.view(x.size(0), 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        return m.head(x).mean((2, 3))

    return Function(forward, stem=nn.Conv2d(3, 8, 3), conv=nn.Conv2d(4, 4, 1), head=nn.Conv2d(8, 5, 1))


def u_net():
    def forward(m, x):
        a = F.relu(m.down1(x))
        b = F.relu(m.down2(F.max_pool2d(a, 2)))
        up = F.relu(m.up(b))
        return m.head(torch.cat([a, up], 1))

    return Function(
        forward,
        down1=nn.Conv2d(3, 4, 3, padding=1),
        down2=nn.Conv2d(4, 6, 3, padding=1),
        up=nn.ConvTranspose2d(6, 4, 2, stride=2),
        head=nn.Conv2d(8, 2, 1),
    )


def point_net():
    """Points (N, P, 3), shared layers by nn.Linear, maximum over the points."""
    return Function(
        lambda m, x: m.head(F.relu(m.b(F.relu(m.a(x)))).amax(1)),
        a=nn.Linear(3, 8),
        b=nn.Linear(8, 6),
        head=nn.Linear(6, 4),
    )


def point_net_conv():
    return Function(
        lambda m, x: m.head(torch.max(F.relu(m.bn(m.b(F.relu(m.a(x))))), 2)[0]),
        a=nn.Conv1d(3, 8, 1),
        b=nn.Conv1d(8, 6, 1),
        bn=nn.BatchNorm1d(6),
        head=nn.Linear(6, 4),
    )


def normalising_input():
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), torch.tensor([0.2, 0.3, 0.25]).view(1, 3, 1, 1)
    return Function(lambda m, x: m.conv((x - mean) / std).relu(), conv=nn.Conv2d(3, 4, 3, padding=1))


def weight_norm():
    return sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())


def dict_outputs():
    return Function(
        lambda m, x: {"boxes": m.boxes(F.relu(m.stem(x))), "classes": [m.classes(F.relu(m.stem(x)))]},
        stem=nn.Conv2d(3, 4, 3),
        boxes=nn.Conv2d(4, 4, 1),
        classes=nn.Conv2d(4, 2, 1),
    )


def concat_with_zeros():
    def forward(m, x):
        y = F.relu(m.conv(x))
        return m.head(torch.cat([y, torch.zeros_like(y), y.new_ones(y.shape)], 1))

    return Function(forward, conv=nn.Conv2d(3, 4, 3), head=nn.Conv2d(12, 2, 3, padding=1))


class PreActivation(nn.Module):
    """Residual blocks whose ReLUs read the sum of all convolutions before; a shortcut of 3x3 reads it as it is."""

    def __init__(self):
        super().__init__()
        self.stem, self.short, self.head = C(3, 4, 3, padding=1), C(4, 6, 3, 2, 1), nn.Linear(6, 3)
        self.convs = nn.ModuleList([C(4, 4, 3, padding=1), C(4, 6, 3, 2, 1), C(6, 6, 3, padding=1)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(6), nn.BatchNorm2d(6)])

    def forward(self, x):
        x = self.stem(x)
        x = x + self.convs[0](F.relu(self.norms[0](x)))
        x = self.short(x) + self.convs[1](F.relu(self.norms[1](x)))
        x = x + self.convs[2](F.relu(self.norms[2](x)))
        return self.head(F.relu(self.norms[3](x)).mean((2, 3)))


class Masked(nn.Module):
    """Factors of 0, 0.5 and 1 for every pixel, behind a ReLU and behind a convolution."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.register_buffer("mask", torch.arange(64.0).reshape(8, 8) % 3 / 2)

    def forward(self, x):
        return self.b(F.relu(self.a(x)) * self.mask) * self.mask


C = nn.Conv2d
IMAGE = (3, 8, 8)
NETWORKS = {
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "padded_convolutions_in_a_row": (
        lambda: sequential(C(3, 4, 3, padding=1), C(4, 4, 3, padding=1), C(4, 5, 3, padding=1), nn.ReLU(), C(5, 2, 1)),
        IMAGE,
    ),
    "wide_pointwise_behind_depthwise": (
        lambda: sequential(C(3, 64, 1), nn.ReLU(), C(64, 64, 3, padding=1, groups=64), C(64, 256, 1), nn.ReLU()),
        IMAGE,
    ),
    "convolution_pooling_linear": (
        lambda: sequential(C(3, 4, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 5)),
        IMAGE,
    ),
    "cropped_transposed_then_convolution": (
        lambda: sequential(nn.ConvTranspose2d(3, 4, 4, 2, 1), C(4, 3, 3, padding=1), nn.ReLU()),
        IMAGE,
    ),
    "residual_sums_before_activation": (PreActivation, IMAGE),
    "masked": (Masked, IMAGE),
    "mlp": (lambda: sequential(nn.Linear(5, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, 3)), (5,)),
    "cnn": (
        lambda: sequential(C(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)),
        IMAGE,
    ),
    "stride_padding_dilation_groups": (
        lambda: sequential(C(4, 6, 3, (2, 1), (1, 2), (1, 2), groups=2), nn.ReLU(), C(6, 6, 3, groups=6)),
        (4, 9, 11),
    ),
    "padding_same": (lambda: sequential(C(3, 4, (3, 4), padding="same", dilation=(2, 1)), nn.ReLU()), IMAGE),
    "padding_valid": (lambda: sequential(C(3, 4, 3, padding="valid"), nn.ReLU()), IMAGE),
    "conv1d": (lambda: sequential(nn.Conv1d(2, 4, 5, 2, 2), nn.BatchNorm1d(4), nn.ReLU()), (2, 20)),
    "conv3d": (lambda: sequential(nn.Conv3d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool3d(2)), (2, 4, 4, 4)),
    "zero_pad_asymmetric": (lambda: sequential(nn.ZeroPad2d((1, 2, 0, 3)), C(3, 4, 3, 2, 1), nn.ReLU()), IMAGE),
    "pad_negative": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.ZeroPad2d((-1, 1, 2, -2)), C(4, 2, 1)), IMAGE),
    "relu6": (lambda: sequential(C(3, 4, 3), nn.ReLU6(inplace=True), C(4, 2, 1)), IMAGE),
    "hardtanh_from_zero": (lambda: sequential(C(3, 4, 3), nn.Hardtanh(0, 2.5), C(4, 2, 1)), IMAGE),
    "hardtanh_signed": (lambda: sequential(C(3, 4, 3), nn.Hardtanh(-1, 1), C(4, 2, 3, padding=1), nn.ReLU()), IMAGE),
    "clamp_method": (lambda: Function(lambda m, x: m.c(x).clamp(0, 1.5), c=C(3, 4, 3)), IMAGE),
    "clip_after_relu": (lambda: Function(lambda m, x: m.c(x).relu().clip(max=0.5), c=C(3, 4, 3)), IMAGE),
    "clamp_min": (lambda: Function(lambda m, x: torch.clamp_min(m.c(x), 0), c=C(3, 4, 3)), IMAGE),
    "maximum_with_zero": (
        lambda: Function(lambda m, x: torch.maximum(m.c(x), torch.zeros(1, dtype=x.dtype)), c=C(3, 4, 3)),
        IMAGE,
    ),
    "threshold": (lambda: sequential(C(3, 4, 3), nn.Threshold(0, 0)), IMAGE),
    "relu_twice": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.ReLU(), C(4, 2, 1)), IMAGE),
    "relu_of_input": (lambda: sequential(nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)), IMAGE),
    "max_after_relu": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), C(4, 2, 1)), IMAGE),
    "max_before_relu": (lambda: sequential(C(3, 4, 3), nn.MaxPool2d(2), nn.ReLU(), C(4, 2, 1)), IMAGE),
    "max_then_norm_then_relu": (
        lambda: sequential(C(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), C(4, 2, 1)),
        IMAGE,
    ),
    "max_before_flatten_before_relu": (
        lambda: sequential(C(3, 4, 3), nn.MaxPool2d(3), nn.Flatten(), nn.ReLU(), nn.Linear(16, 2)),
        IMAGE,
    ),
    "max_twice_before_relu6": (
        lambda: sequential(C(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.ReLU6(), C(4, 2, 1)),
        IMAGE,
    ),
    "max_padded_overlapping": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), C(4, 2, 1)), IMAGE),
    "max_ceil": (lambda: sequential(C(3, 4, 2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), C(4, 2, 1)), IMAGE),
    "max_of_residual_sum": (
        lambda: sequential(
            Function(lambda m, x: F.relu(m.a(x)) + F.relu(m.b(x)), a=C(3, 4, 3), b=C(3, 4, 3)),
            nn.MaxPool2d(2),
            C(4, 2, 1),
        ),
        IMAGE,
    ),
    "max_of_average": (
        lambda: sequential(C(3, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.MaxPool2d(2), C(4, 2, 1)),
        IMAGE,
    ),
    "max_of_concat": (
        lambda: sequential(
            Function(lambda m, x: torch.cat([F.relu(m.a(x)), F.relu(m.b(x))], 1), a=C(3, 4, 3), b=C(3, 2, 3)),
            nn.MaxPool2d(2),
            C(6, 2, 1),
        ),
        IMAGE,
    ),
    "adaptive_max": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        IMAGE,
    ),
    "relu_after_max": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), C(4, 2, 1)), IMAGE),
    "max_1d": (
        lambda: sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(27, 2)),
        (2, 20),
    ),
    "average": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), C(4, 2, 1)), IMAGE),
    "average_padded": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AvgPool2d(3, 2, 1), C(4, 2, 1)), IMAGE),
    "average_before_relu": (lambda: sequential(C(3, 4, 3), nn.AvgPool2d(2), nn.ReLU(), C(4, 2, 1)), IMAGE),
    "average_last": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten()), IMAGE),
    "average_of_input": (lambda: sequential(nn.AvgPool2d(2), C(3, 4, 3), nn.ReLU()), IMAGE),
    "average_divisor": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2, divisor_override=3), C(4, 2, 1)),
        IMAGE,
    ),
    "average_count_include_pad_unused": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2, count_include_pad=False), C(4, 2, 1)),
        IMAGE,
    ),
    "average_ceil_unused": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True), C(4, 2, 1)),
        IMAGE,
    ),
    "adaptive_average": (lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 3)), C(4, 2, 1)), IMAGE),
    "adaptive_average_same_size": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(6), C(4, 2, 1)),
        IMAGE,
    ),
    "adaptive_average_growing": (
        lambda: sequential(C(3, 4, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 2)),
        IMAGE,
    ),
    "adaptive_average_overlapping": (
        lambda: sequential(C(3, 4, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(3), C(4, 2, 1)),
        IMAGE,
    ),
    "mean_keepdim": (
        lambda: Function(lambda m, x: m.f(m.c(x).relu().mean((-1, -2), keepdim=True)), c=C(3, 4, 3), f=C(4, 2, 1)),
        IMAGE,
    ),
    "sum_over_space": (
        lambda: Function(lambda m, x: m.f(m.c(x).relu().sum((2, 3))), c=C(3, 4, 3), f=nn.Linear(4, 2)),
        IMAGE,
    ),
    "mean_over_channels": (lambda: Function(lambda m, x: m.c(x).relu().mean(1, keepdim=True), c=C(3, 4, 3)), IMAGE),
    "mean_of_features": (lambda: Function(lambda m, x: m.f(x).relu().mean(1), f=nn.Linear(5, 6)), (5,)),
    "resnet_identity": (lambda: sequential(C(3, 4, 3), nn.ReLU(), residual(4, 4, 1, nn.Identity())), IMAGE),
    "resnet_option_a": (lambda: sequential(C(3, 4, 3, padding=1), nn.ReLU(), residual(4, 8, 2, option_a(4, 8))), IMAGE),
    "resnet_projection": (lambda: sequential(C(3, 4, 3), nn.ReLU(), residual(4, 8, 2, C(4, 8, 1, 2))), IMAGE),
    "residual_from_input": (
        lambda: sequential(residual(3, 3, 1, nn.Identity()), nn.Flatten(), nn.Linear(192, 2)),
        IMAGE,
    ),
    "pre_activation": (
        lambda: sequential(
            C(3, 4, 3, padding=1),
            *(
                Function(
                    lambda m, x: x + m.conv2(F.relu(m.bn2(m.conv1(F.relu(m.bn1(x)))))),
                    bn1=nn.BatchNorm2d(4),
                    conv1=C(4, 4, 3, padding=1),
                    bn2=nn.BatchNorm2d(4),
                    conv2=C(4, 4, 3, padding=1),
                )
                for _ in range(3)
            ),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        IMAGE,
    ),
    "in_place": (lambda: sequential(C(3, 4, 3), nn.ReLU(inplace=True), in_place_block()), IMAGE),
    "mobilenet_v2": (
        lambda: sequential(
            C(3, 4, 3), nn.ReLU6(), inverted_residual(4, 2), inverted_residual(4, 3), nn.Flatten(), nn.Linear(144, 2)
        ),
        IMAGE,
    ),
    "repvgg": (
        lambda: sequential(
            C(3, 4, 3),
            nn.ReLU(),
            Function(
                lambda m, x: F.relu(m.three(x) + m.one(x) + m.same(x)),
                three=sequential(C(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)),
                one=sequential(C(4, 4, 1, bias=False), nn.BatchNorm2d(4)),
                same=nn.BatchNorm2d(4),
            ),
        ),
        IMAGE,
    ),
    "dense_block": (dense_block, (3, 6, 6)),
    "shuffle": (csp_block, IMAGE),
    "channel_shuffle": (lambda: sequential(C(3, 6, 3), nn.ReLU(), nn.ChannelShuffle(3), C(6, 4, 1, groups=2)), IMAGE),
    "pixel_shuffle": (lambda: sequential(C(3, 8, 3), nn.ReLU(), nn.PixelShuffle(2), C(2, 4, 1)), IMAGE),
    "u_net": (u_net, IMAGE),
    "u_net_nearest": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.Upsample(scale_factor=2), C(4, 2, 3, padding=1), nn.ReLU()),
        IMAGE,
    ),
    "upsample_bilinear": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.Upsample(scale_factor=(2, 3), mode="bilinear"), C(4, 2, 1)),
        IMAGE,
    ),
    "upsample_to_size": (
        lambda: Function(lambda m, x: F.interpolate(m.c(x).relu(), size=(12, 18), mode="bilinear"), c=C(3, 4, 3)),
        IMAGE,
    ),
    "upsample_linear_1d": (
        lambda: sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Upsample(scale_factor=2, mode="linear")),
        (2, 9),
    ),
    "conv_transpose": (
        lambda: sequential(
            C(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.BatchNorm2d(6), nn.ReLU()
        ),
        IMAGE,
    ),
    "conv_transpose_output_padding": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3, 3, 0, 2)),
        IMAGE,
    ),
    "conv_transpose_1d": (lambda: sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.ConvTranspose1d(4, 2, 4, 2, 1)), (2, 9)),
    "linear_on_positions": (lambda: sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), (5, 4)),
    "linear_on_grid": (lambda: sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), (3, 5, 4)),
    "matmul": (
        lambda: Function(lambda m, x: (x @ m.w).relu() @ m.w.T, w=nn.Parameter(torch.randn(5, 4))),
        (5,),
    ),
    "addmm": (
        lambda: Function(
            lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5, alpha=2.0).relu(),
            w=nn.Parameter(torch.randn(5, 4)),
            b=nn.Parameter(torch.randn(4)),
        ),
        (5,),
    ),
    "addmm_of_two_branches": (
        lambda: Function(
            lambda m, x: torch.addmm(m.a(x).relu(), x, m.w, alpha=0.5).relu(),
            a=nn.Linear(5, 4),
            w=nn.Parameter(torch.randn(5, 4)),
        ),
        (5,),
    ),
    "point_net_linear": (point_net, (7, 3)),
    "point_net_conv": (point_net_conv, (3, 7)),
    "normalising_input": (normalising_input, IMAGE),
    "input_norm": (lambda: sequential(nn.BatchNorm2d(3), C(3, 4, 3, padding=1), nn.ReLU()), IMAGE),
    "weight_norm": (weight_norm, IMAGE),
    "norm_without_affine": (lambda: sequential(C(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()), IMAGE),
    "norm_after_relu": (
        lambda: sequential(C(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), C(4, 2, 3, padding=1), nn.ReLU()),
        IMAGE,
    ),
    "norm_of_sum_of_convs": (
        lambda: Function(
            lambda m, x: m.bn(m.a(x) - 2 * m.b(x)).relu(), a=C(3, 4, 3), b=C(3, 4, 3), bn=nn.BatchNorm2d(4)
        ),
        IMAGE,
    ),
    "conv_conv": (lambda: sequential(C(3, 4, 3, padding=1), C(4, 5, 3, padding=1), nn.ReLU()), IMAGE),
    "scale_per_pixel": (
        lambda: Function(lambda m, x: (m.c(x) * m.w + m.w).relu(), c=C(3, 4, 3), w=nn.Parameter(torch.randn(4, 6, 6))),
        IMAGE,
    ),
    "layer_scale": (
        lambda: Function(
            lambda m, x: x + m.gamma[:, None, None] * m.c(x),
            c=C(3, 3, 3, padding=1),
            gamma=nn.Parameter(torch.randn(3)),
        ),
        IMAGE,
    ),
    "constants": (
        lambda: Function(
            lambda m, x: (1.0 - m.c(x) / 2 + torch.exp(torch.ones(1, dtype=x.dtype))).neg().relu(), c=C(3, 4, 3)
        ),
        IMAGE,
    ),
    "alpha": (lambda: Function(lambda m, x: torch.add(m.c(x), x, alpha=0.3).relu(), c=C(3, 3, 1)), IMAGE),
    "x_plus_x": (lambda: Function(lambda m, x: (lambda y: (y + y).relu())(m.c(x).relu()), c=C(3, 3, 1)), IMAGE),
    # Sums between convolutions, of values with weights behind them and without, read once and twice.
    "pyramid": (pyramid, IMAGE),
    "pyramid_of_the_input": (
        lambda: Function(lambda m, x: m.out(x + up(m.a(F.avg_pool2d(x, 2)))), a=C(3, 3, 1), out=C(3, 2, 3)),
        IMAGE,
    ),
    "sum_read_twice": (
        lambda: Function(
            lambda m, x: (lambda y: m.out(m.a(y) + m.b(y) + m.b(y)))(up(m.c(x))),
            c=C(3, 3, 3, padding=1),
            a=C(3, 3, 3, padding=1),
            b=C(3, 3, 3, padding=2, dilation=2),
            out=C(3, 2, 3),
        ),
        IMAGE,
    ),
    "shared_module": (lambda: Function(lambda m, x: m.c(m.c(x).relu()).relu(), c=C(3, 3, 3, padding=1)), IMAGE),
    "dead_branch": (
        lambda: Function(lambda m, x: (m.a(x).relu(), m.b(x).relu())[0], a=C(3, 4, 3), b=C(3, 4, 3)),
        IMAGE,
    ),
    "two_outputs": (lambda: Function(lambda m, x: (m.a(x), m.b(x).relu()), a=C(3, 4, 3), b=C(3, 4, 3)), IMAGE),
    "dict_outputs": (dict_outputs, IMAGE),
    "same_output_twice": (lambda: Function(lambda m, x: (lambda y: (y, y))(m.a(x)), a=C(3, 4, 3)), IMAGE),
    "split_then_concat": (
        lambda: Function(
            lambda m, x: torch.cat(torch.split(m.a(x), [1, 3], 1)[::-1], 1).relu().flatten(1), a=C(3, 4, 3)
        ),
        IMAGE,
    ),
    "slice_of_padding": (
        lambda: Function(lambda m, x: m.b(F.pad(m.a(x).relu(), (0, 0, 0, 0, 2, 2))[:, :4]), a=C(3, 4, 3), b=C(4, 2, 1)),
        IMAGE,
    ),
    "slices_of_grouped": (lambda: Function(lambda m, x: m.a(x)[:, 2:6].relu(), a=C(4, 8, 3, groups=4)), (4, 5, 5)),
    "concat_into_grouped": (
        lambda: Function(
            lambda m, x: m.g(torch.cat([m.a(x).relu(), m.b(x).relu()], 1)),
            a=C(3, 4, 3),
            b=C(3, 2, 3),
            g=C(6, 9, 3, padding=1, groups=3),
        ),
        IMAGE,
    ),
    "concat_across_groups": (
        lambda: Function(
            lambda m, x: m.g(torch.cat([m.a(x).relu(), m.b(x).relu()], 1)),
            a=C(3, 3, 3),
            b=C(3, 3, 3),
            g=C(6, 9, 3, padding=1, groups=3),
        ),
        IMAGE,
    ),
    "concat_over_space": (
        lambda: Function(
            lambda m, x: m.g(torch.cat([m.a(x).relu(), m.a(x).relu()], 3)), a=C(3, 3, 3), g=C(3, 2, 3, padding=1)
        ),
        IMAGE,
    ),
    "concat_into_linear": (
        lambda: Function(
            lambda m, x: m.g(torch.cat([m.a(x).relu(), m.b(x).relu()], 1).flatten(1)),
            a=C(3, 4, 3),
            b=C(3, 2, 3),
            g=nn.Linear(216, 3),
        ),
        IMAGE,
    ),
    "concat_with_zeros": (concat_with_zeros, IMAGE),
    "select_and_unbind": (
        lambda: Function(lambda m, x: m.a(x).relu()[:, 1] + m.a(x).relu().unbind(1)[0], a=C(3, 4, 3)),
        IMAGE,
    ),
    "squeeze_unsqueeze": (
        lambda: Function(
            lambda m, x: m.b(m.a(x.unsqueeze(1)).relu().squeeze(2).unsqueeze(-1).squeeze()),
            a=C(1, 4, (3, 5)),
            b=nn.Conv1d(4, 2, 2),
        ),
        (3, 8),
    ),
    "permutes": (
        lambda: Function(
            lambda m, x: m.f(m.a(x).permute(0, 2, 3, 1).relu()).permute(0, 3, 1, 2), a=C(3, 4, 3), f=nn.Linear(4, 5)
        ),
        IMAGE,
    ),
    "unflatten": (lambda: sequential(nn.Linear(6, 12), nn.ReLU(), nn.Unflatten(1, (3, 2, 2)), C(3, 2, 1)), (6,)),
    "shared_activation_module": (
        lambda: Function(lambda m, x: m.r(m.b(m.r(m.a(x)))), a=C(3, 4, 3), b=C(4, 4, 3), r=nn.ReLU()),
        IMAGE,
    ),
    "bfloat_cast": (lambda: Function(lambda m, x: m.a(x.to(m.a.weight.dtype)).relu(), a=C(3, 4, 3)), IMAGE),
    "dead_channel": (lambda: sequential(dead_channel(), nn.ReLU(), C(4, 2, 1)), IMAGE),
    "names_that_files_cannot_hold": (
        lambda: nn.Sequential(nn.ModuleDict({"layer one/ä": C(3, 4, 3)})["layer one/ä"], nn.ReLU()),
        IMAGE,
    ),
    "module_called_input": (lambda: Function(lambda m, x: m.input(x).relu(), input=C(3, 4, 3)), IMAGE),
}


def dead_channel():
    conv = C(3, 4, 3)
    with torch.no_grad():
        conv.weight[1] = 0
    return conv


def randomised(module, seed=0):
    """Give BatchNorm statistics that matter, and everything float64."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.copy_(torch.randn(m.running_mean.shape, generator=generator))
            m.running_var.copy_(torch.rand(m.running_var.shape, generator=generator) + 0.3)
            if m.affine:
                m.weight.data = torch.rand(m.weight.shape, generator=generator) + 0.5
                m.bias.data = torch.randn(m.bias.shape, generator=generator)
    return module.double()


def leaves(tree):
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [leaf for item in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(item)]


def assert_equal_functions(module, shape, network):
    x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = leaves(module.eval()(x))
    got = outputs(network, x)
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        # A population has at least one axis: one number per picture is a population of one.
        torch.testing.assert_close(g, e.reshape(g.shape), rtol=1e-10, atol=1e-10)
        assert g.numel() == e.numel()


def assert_well_formed(network):
    order = [u.name for u in network.units]
    for unit in network.units:
        assert NAME.fullmatch(unit.name)
        for connection in network.inputs(unit.name):
            assert order.index(connection.source) < order.index(unit.name)
            weighted = [o for o in connection.operators if isinstance(o, Weighted)]
            assert all(o.weight.dtype == np.float64 for o in weighted)
            assert bool(weighted) != isinstance(unit, MaxUnit)
    read = {c.source for c in network.connections}
    assert all(u.name in read or isinstance(u, Output) for u in network.units)
    # One set of synapses holds one weight: no chip has room for a product.
    for connection in network.connections:
        assert sum(isinstance(o, Conv | ConvTranspose | Linear) for o in connection.operators) <= 1


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_network_computes_what_the_module_computes(name):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    module = randomised(make())
    network = read_module(module, shape)
    assert_well_formed(network)
    assert_equal_functions(module, shape, network)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "dead_branch"])  # PyTorch runs what nobody reads
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_operations_are_those_of_the_network_as_written(name):
    """PyTorch's own counter is the oracle; it counts a product as two operations, and products with padding zeros."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    module = randomised(make()).eval()
    origin = read_module(module, shape).origin
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, *shape, dtype=torch.float64))
    assert 2 * origin.ann_macs_with_padding == counter.get_total_flops()
    assert origin.ann_macs <= origin.ann_macs_with_padding


def test_zeros_that_a_layer_puts_around_are_padding():
    torch.manual_seed(0)
    module = sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 2, 3, stride=2))
    origin = read_module(module, (1, 4, 4)).origin
    # Of 4 windows of 9 pixels one lies inside, two reach over one border, one over two.
    assert (origin.ann_macs, origin.ann_macs_with_padding) == (2 * (9 + 6 + 6 + 4), 2 * 4 * 9)


#: What torch.onnx.export cannot write.
NOT_IN_ONNX = {"average_divisor", "adaptive_average_growing", "adaptive_average_overlapping", "channel_shuffle"}


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in NOT_IN_ONNX])
@pytest.mark.filterwarnings("ignore")
def test_onnx_file_computes_what_the_module_computes(name, tmp_path):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    module = randomised(make()).eval()
    path = tmp_path / "net.onnx"
    x = torch.zeros(2, *shape, dtype=torch.float64)
    torch.onnx.export(module, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    network = read_onnx(path)
    assert_well_formed(network)
    assert_equal_functions(module, shape, network)


#: Networks whose graphs need something of the .pt2 reader besides naming operations.
IN_PT2 = [
    *("in_place", "normalising_input", "matmul", "constants", "bfloat_cast", "maximum_with_zero", "concat_with_zeros"),
    *("padding_same", "stride_padding_dilation_groups", "resnet_option_a", "shared_module", "weight_norm", "max_1d"),
    *("dict_outputs", "split_then_concat", "shuffle", "point_net_conv", "upsample_bilinear", "average_divisor"),
    *("mobilenet_v2", "select_and_unbind", "addmm", "conv3d"),
]


@pytest.mark.parametrize("name", IN_PT2)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_pt2_file_computes_what_the_module_computes(name, tmp_path):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    module = randomised(make()).eval()
    x = torch.zeros(2, *shape, dtype=torch.float64)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "net.pt2")
    network = read_pt2(tmp_path / "net.pt2")
    assert_well_formed(network)
    assert_equal_functions(module, shape, network)
