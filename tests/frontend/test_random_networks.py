"""Networks that nobody thought of: any operators in any order compute what PyTorch computes.

Every layer reads any values that were there before it. So sums meet convolutions with and without activations between,
values are read twice, gates and pools stand where no architecture has them.
"""

import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from toolchain.frontend import read_module
from toolchain.netlist import Conv, ConvTranspose, Linear
from toolchain.network import reference_outputs

CHANNELS, SIZE = 4, 8


def same(kernel, **options):
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2, **options)


def squeeze():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Hardsigmoid())


#: Of one value; halving and doubling change its size.
LAYERS = {
    "conv3": lambda: same(3),
    "conv1": lambda: same(1),
    "depthwise": lambda: same(3, groups=CHANNELS, bias=False),
    "grouped": lambda: same(1, groups=2),
    "dilated": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2, dilation=2),
    "norm": lambda: nn.BatchNorm2d(CHANNELS),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "halve": lambda: nn.AvgPool2d(2),
    "max": lambda: nn.MaxPool2d(2),
    "strided": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1),
    "double": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "transposed": lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, stride=2),
    "shuffle": lambda: nn.ChannelShuffle(2),
    "squeeze": squeeze,
}
#: Of two values of one size.
JOINS = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "halves": lambda a, b: torch.cat([a[:, : CHANNELS // 2], b[:, CHANNELS // 2 :]], dim=1),
}

steps = st.lists(
    st.tuples(st.sampled_from([*LAYERS, *JOINS, *JOINS]), st.integers(0, 20), st.integers(0, 20)),
    min_size=2,
    max_size=14,
)


class Drawn(nn.Module):
    """Steps that read the values before them; the last value is the output, behind a convolution."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(LAYERS[name]() if name in LAYERS else nn.Identity() for name, *_ in steps)
        self.head = same(3)

    def forward(self, x):
        values = [x]
        for (name, one, other), layer in zip(self.steps, self.layers, strict=True):
            a, b = values[-1 - one % min(3, len(values))], values[-1 - other % len(values)]
            if name == "squeeze":
                values.append(a * layer(a))
            elif name in JOINS:
                # The smaller one of a pyramid is enlarged.
                a, b = sorted((a, b), key=lambda v: v.shape[-1])
                while a.shape[-1] < b.shape[-1]:
                    a = F.interpolate(a, scale_factor=2.0)
                values.append(JOINS[name](a, b))
            else:
                values.append(layer(a) if 2 <= a.shape[-1] <= 2 * SIZE else a)
        return self.head(values[-1])


@given(steps, st.integers(0, 2**31))
@settings(max_examples=40)
def test_any_network_computes_what_the_module_computes(steps, seed):
    torch.manual_seed(seed)
    module = Drawn(steps).double().eval()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.3, 1.3)
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    x = torch.randn(2, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = module(x)
    assume(expected.abs().max() < 1e6)
    network = read_module(module, tuple(x.shape[1:]))
    (found,) = reference_outputs(network, x)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))
    for connection in network.connections:
        assert sum(isinstance(o, Conv | ConvTranspose | Linear) for o in connection.operators) <= 1
