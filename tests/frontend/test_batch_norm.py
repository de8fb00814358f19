"""BatchNorm is folded wherever it stands, with whatever it has learned."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from toolchain.frontend import read_module, read_onnx
from toolchain.netlist import UnsupportedError
from toolchain.network import outputs

IMAGE = (3, 8, 8)


def randomised(module):
    """Statistics and gains of any sign."""
    generator = torch.Generator().manual_seed(6)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.copy_(torch.randn(m.running_mean.shape, generator=generator))
            m.running_var.copy_(torch.rand(m.running_var.shape, generator=generator) + 0.3)
            if m.affine:
                m.weight.data = torch.randn(m.weight.shape, generator=generator)
                m.bias.data = torch.randn(m.bias.shape, generator=generator)
    return module.double().eval()


class Function(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def with_values(norm, **values):
    for name, value in values.items():
        getattr(norm, name).data.fill_(value)
    return norm


CASES = {
    "of_the_input": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU()), IMAGE),
    "before_a_padded_convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)),
        IMAGE,
    ),
    "after_the_activation": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)),
        IMAGE,
    ),
    "twice": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU()), IMAGE),
    "without_gain_and_bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
        IMAGE,
    ),
    "of_features": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2), nn.BatchNorm1d(2)),
        (6,),
    ),
    "of_a_signal": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU()), (3, 9)),
    "of_a_volume": (lambda: nn.Sequential(nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4), nn.ReLU()), (2, 4, 3, 3)),
    "after_a_transposed_convolution": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 2, groups=1), nn.BatchNorm2d(4), nn.ReLU()),
        IMAGE,
    ),
    "after_groups": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6)),
        IMAGE,
    ),
    "after_an_average": (
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2))
        ),
        IMAGE,
    ),
    "of_a_concatenation": (
        lambda: Function(
            lambda m, x: m.c(m.n(torch.cat([F.relu(m.a(x)), F.relu(m.b(x))], 1))),
            a=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(3, 2, 1),
            n=nn.BatchNorm2d(6),
            c=nn.Conv2d(6, 2, 3, padding=1),
        ),
        IMAGE,
    ),
    "of_a_sum": (
        lambda: Function(
            lambda m, x: F.relu(m.n(m.a(x) + F.relu(m.b(x)))),
            a=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(3, 4, 1),
            n=nn.BatchNorm2d(4),
        ),
        IMAGE,
    ),
    "after_upsampling": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Upsample(scale_factor=2), nn.BatchNorm2d(4), nn.ReLU()),
        IMAGE,
    ),
    "after_a_shuffle": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.PixelShuffle(2), nn.BatchNorm2d(2), nn.ReLU()),
        IMAGE,
    ),
    "shared": (
        lambda: Function(
            lambda m, x: m.n(m.b(F.relu(m.n(m.a(x))))), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1), n=nn.BatchNorm2d(4)
        ),
        IMAGE,
    ),
    "functional": (
        lambda: Function(
            lambda m, x: F.relu(F.batch_norm(m.a(x), m.n.running_mean, m.n.running_var, m.n.weight, eps=1e-3)),
            a=nn.Conv2d(3, 4, 1),
            n=nn.BatchNorm2d(4),
        ),
        IMAGE,
    ),
}
#: What training may leave behind: a gain of zero, no variance, a large epsilon.
EDGES = {
    "no_gain": lambda: with_values(nn.BatchNorm2d(4), weight=0.0, bias=0.5),
    "no_variance": lambda: with_values(nn.BatchNorm2d(4), running_var=0.0),
    "negative_gain": lambda: with_values(nn.BatchNorm2d(4), weight=-2.0),
    "large_epsilon": lambda: nn.BatchNorm2d(4, eps=0.5),
    "cumulative": lambda: nn.BatchNorm2d(4, momentum=None),
}


def agree(module, shape):
    x = torch.randn(3, *shape, dtype=torch.float64)
    (found,) = outputs(read_module(module, shape), x)
    np.testing.assert_allclose(found, module(x).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_it_is_folded_wherever_it_stands(name):
    torch.manual_seed(2)
    make, shape = CASES[name]
    agree(randomised(make()), shape)


@pytest.mark.parametrize("name", EDGES)
def test_it_is_folded_with_whatever_it_has_learned(name):
    torch.manual_seed(2)
    agree(nn.Sequential(nn.Conv2d(3, 4, 3), EDGES[name](), nn.ReLU(), nn.Conv2d(4, 2, 1)).double().eval(), IMAGE)


@pytest.mark.parametrize("version", [8, 9, 14, 15])
def test_in_every_operator_set(version, tmp_path):
    rng = np.random.default_rng(1)
    constants = {
        "w": rng.normal(size=(4, 3, 3, 3)),
        "g": rng.normal(size=4),
        "b": rng.normal(size=4),
        "m": rng.normal(size=4),
        "v": rng.uniform(0.3, 1, 4),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["y"], epsilon=1e-3, momentum=0.8),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, *IMAGE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6))],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    x = rng.normal(size=(1, *IMAGE)).astype(np.float32)
    (found,) = outputs(read_onnx(tmp_path / "net.onnx"), torch.from_numpy(x).double())
    # The evaluator takes a momentum for training before operator set 14.
    newest = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    np.testing.assert_allclose(found, ReferenceEvaluator(newest).run(None, {"x": x})[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        (nn.BatchNorm2d(4, track_running_stats=False), "running statistics"),
        (nn.GroupNorm(2, 4), "use BatchNorm"),
        (nn.InstanceNorm2d(4), "statistics|BatchNorm"),
        (nn.LayerNorm((4, 6, 6)), "use BatchNorm"),
    ],
)
@pytest.mark.parametrize("at_the_end", [True, False])
def test_statistics_of_the_data_are_refused(norm, words, at_the_end):
    layers = [nn.Conv2d(3, 4, 3), norm]
    with pytest.raises(UnsupportedError, match=words) as caught:
        read_module(nn.Sequential(*layers, *([] if at_the_end else [nn.ReLU(), nn.Conv2d(4, 2, 1)])).eval(), IMAGE)
    assert str(caught.value).startswith("1: ")
