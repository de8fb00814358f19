"""Activations of any kind, gates and maxima of negative values are read as what they compute, however spelled."""

import copy
import math

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.ao import quantization

from toolchain.frontend import read_module, read_onnx
from toolchain.network import Activation, Curve, Gated, MaxUnit, outputs

SHAPE = (3, 6, 6)


class Around(nn.Module):
    """An activation, a module or a function, between a convolution and a linear layer."""

    def __init__(self, activation, channels=4):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.layer = copy.deepcopy(activation) if isinstance(activation, nn.Module) else nn.Identity()
        self.function = activation if not isinstance(activation, nn.Module) else lambda x: x
        self.fc = nn.LazyLinear(5)
        with torch.no_grad():
            self.norm.running_var.uniform_(0.02, 0.5)
            nn.init.normal_(self.norm.bias)
            self.norm.eval()
            self(torch.zeros(1, *SHAPE))
        self.eval()

    def forward(self, x):
        return self.fc(self.function(self.layer(self.norm(self.conv(x)))).flatten(1))


def maximum(x, size=2, **options):
    return F.max_pool2d(x, size, **options)


def sppf(x):
    y = F.leaky_relu(x, 0.1)
    once = maximum(y, 3, stride=1, padding=1)
    return torch.cat([y, once, maximum(once, 3, stride=1, padding=1)], 1)


def normalised(x):
    return (x - CHANNELS) / CHANNELS


CHANNELS = torch.tensor([0.3, 0.5, 0.7, 0.9])[:, None, None]
PIXELS = torch.linspace(0, 1, 36).reshape(6, 6)
#: name: (activation, the kinds of units that it becomes)
EXACT = {
    "leaky_relu": (nn.LeakyReLU(0.2), [Activation] * 2),
    "leaky_relu_negative": (nn.LeakyReLU(-0.5), [Activation] * 2),
    "prelu": (nn.PReLU(init=0.3), [Activation] * 2),
    "prelu_per_channel": (nn.PReLU(4), [Activation] * 2),
    "rrelu": (nn.RReLU(), [Activation] * 2),
    "hardsigmoid": (nn.Hardsigmoid(), [Activation]),
    "hardtanh": (nn.Hardtanh(-0.3, 0.8), [Activation]),
    "softshrink": (nn.Softshrink(0.2), [Curve]),
    "clip_per_channel": (lambda x: torch.clamp(x, -CHANNELS, CHANNELS), [Activation]),
    "limit_per_channel": (lambda x: torch.minimum(x.relu(), CHANNELS), [Activation] * 2),
    "floor_per_channel": (lambda x: torch.maximum(x, -CHANNELS), [Activation]),
    "upper_limit_alone": (lambda x: x.clamp(max=0.5), [Activation]),
    "clip_of_a_clip": (lambda x: F.relu(x).clamp(-1, 0.7), [Activation]),
    "magnitude": (torch.abs, [Activation] * 2),
    "greater_of_two": (lambda x: torch.maximum(x[:, :2], x[:, 2:]), [Activation]),
    "lesser_of_two": (lambda x: torch.minimum(x[:, :2], x[:, 2:]), [Activation]),
    "greater_of_two_by_max": (lambda x: torch.max(x[:, :2], x[:, 2:]), [Activation]),
}
CURVES = {
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "elu": nn.ELU(0.7),
    "celu": nn.CELU(0.5),
    "selu": nn.SELU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(),
    "softplus": nn.Softplus(2.0, 5.0),
    "softsign": nn.Softsign(),
    "log_sigmoid": nn.LogSigmoid(),
    "tanhshrink": nn.Tanhshrink(),
    "hardshrink": nn.Hardshrink(0.3),
    "threshold": nn.Threshold(0.1, -0.2),
    "silu_as_product": lambda x: x * torch.sigmoid(x),
    "silu_as_quotient": lambda x: x / (1 + torch.exp(-x)),
    "silu_of_a_factor": lambda x: x * torch.sigmoid(1.702 * x),
    "hardswish_as_product": lambda x: x * F.relu6(x + 3) / 6,
    "mish_as_product": lambda x: x * torch.tanh(F.softplus(x)),
    "gelu_by_erf": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_by_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "leaky_as_maximum": lambda x: torch.maximum(x, 0.1 * x),
    "leaky_as_choice": lambda x: torch.where(x > 0, x, 0.2 * x),
    "choice_of_either": lambda x: torch.where((x > 0.3) | (x < -0.2), x, 0.1),
    "choice_of_both": lambda x: torch.where(torch.logical_and(x > -0.2, ~(x > 0.3)), x, 0.1),
    "choice_of_one": lambda x: x * ((x > -0.2) ^ (x > 0.3)),
    "comparison_as_whole_numbers": lambda x: (x > 0.1).int() * x,
    "staircase": lambda x: torch.floor(torch.clamp(x / 1.5, 0, 1) * 8 + 0.5) / 8 * 1.5,
    "staircase_by_round": lambda x: torch.round(F.relu6(x) * 4) / 4,
    "staircase_by_division": lambda x: torch.div(x, 0.25, rounding_mode="floor") * 0.25,
    "function_of_a_function": lambda x: torch.tanh(F.relu(x)) - 0.1,
    "clip_of_a_function": lambda x: F.relu(torch.tanh(x) - 0.1),
    "square": torch.square,
    "power": lambda x: x**3 - x,
    "reciprocal": lambda x: 1 / (x.square() + 1),
}
MAXIMA = {
    "of_negative_values": (lambda x: maximum(x, 3, stride=2, padding=1), [Curve, MaxUnit]),
    "of_leaky_relu": (lambda x: maximum(F.leaky_relu(x, 0.1)), [Curve, MaxUnit]),
    "of_silu": (lambda x: maximum(F.silu(x)), [Curve, Curve, MaxUnit]),
    "of_a_pad": (lambda x: maximum(F.pad(F.leaky_relu(x), (2, 2))), [Activation, Activation, Curve, MaxUnit]),
    "negated": (lambda x: -maximum(x), [Curve, MaxUnit]),
    "before_relu": (lambda x: maximum(x).relu(), [Activation, MaxUnit]),
    "of_maxima": (sppf, [Activation, Activation, Curve, MaxUnit, MaxUnit]),
    "over_space": (lambda x: x.amax((2, 3)), [Curve, MaxUnit]),
    "minimum_over_space": (lambda x: x.amin((2, 3)), [Curve, MaxUnit]),
    "minimum_along_an_axis": (lambda x: x.min(2)[0], [Curve, MaxUnit]),
    "of_a_normalised_relu": (lambda x: maximum(normalised(x.relu()), 3, stride=2, padding=1), [Activation, MaxUnit]),
    "of_a_shifted_relu": (lambda x: maximum(x.relu() * CHANNELS + 0.5), [Activation, MaxUnit]),
    "of_maxima_of_a_normalised_relu": (
        lambda x: maximum(maximum(normalised(F.relu6(x)), 3, stride=1, padding=1)),
        [Activation, MaxUnit, MaxUnit],
    ),
    "of_a_normalised_relu_before_relu": (
        lambda x: maximum(normalised(x.relu())).relu(),
        [Activation, Activation, MaxUnit],
    ),
    "of_a_relu_turned_round": (lambda x: maximum(x.relu() * -CHANNELS), [Activation, Curve, MaxUnit]),
    "of_a_relu_with_a_bias_per_pixel": (lambda x: maximum(x.relu() - PIXELS), [Activation, Curve, MaxUnit]),
}
GATES = {
    "squeeze_and_excitation": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "gate_first": lambda x: F.hardsigmoid(x.mean((2, 3), keepdim=True)) * x.relu(),
    "spatial": lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)),
    "linear_unit": lambda x: F.glu(x, 1),
    "of_another_layer": lambda x: x[:, :2] * torch.tanh(x[:, 2:]),
    "unbounded_but_smaller": lambda x: x.relu() * x.mean((2, 3), keepdim=True),
}


def kinds(network):
    return [type(u) for u in network.units[1:-1]]


def assert_same(module, network, x, tolerance=1e-9):
    with torch.no_grad():
        expected = module.double()(x)
    (got,) = outputs(network, x)
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def inputs():
    return torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", EXACT)
def test_what_clipping_does_is_exact(name):
    activation, units = EXACT[name]
    module = Around(activation)
    network = read_module(module, SHAPE)
    assert kinds(network) == units
    assert_same(module, network, inputs())


@pytest.mark.parametrize("name", CURVES)
def test_a_function_of_one_value_is_one_curve(name):
    module = Around(CURVES[name])
    network = read_module(module, SHAPE)
    assert kinds(network) == [Curve]
    assert network.units[1].name == "conv"
    assert_same(module, network, inputs())


@pytest.mark.parametrize("name", MAXIMA)
def test_maxima_of_values_that_may_be_negative(name):
    function, units = MAXIMA[name]
    module = Around(function)
    network = read_module(module, SHAPE)
    assert kinds(network) == units
    assert_same(module, network, inputs())


def test_maxima_of_the_input():
    module = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(3, 4, 3)).eval()
    network = read_module(module, SHAPE)
    assert kinds(network) == [Curve, MaxUnit]
    assert_same(module, network, inputs())


@pytest.mark.parametrize("name", GATES)
def test_a_product_of_two_values_is_a_value_and_its_gate(name):
    module = Around(GATES[name])
    network = read_module(module, SHAPE)
    assert len(network.gated) == 1
    assert isinstance(network.units[-2], Gated)
    assert_same(module, network, inputs())


def test_functions_and_their_steps_stay_where_others_read_them():
    module = Around(lambda x: torch.cat([F.silu(x), torch.sigmoid(x), x * torch.sigmoid(x).mean(1, keepdim=True)], 1))
    network = read_module(module, SHAPE)
    assert len(network.gated) == 1
    assert_same(module, network, inputs())


def test_a_linear_layer_on_positions():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6), nn.LeakyReLU(), nn.Flatten(), nn.Linear(24, 3))
    network = read_module(module.eval(), (4, 6))
    assert kinds(network) == [Curve, Activation, Activation]
    assert_same(module, network, torch.randn(5, 4, 6, dtype=torch.float64))


@pytest.mark.parametrize("name", ["gelu", "silu", "hardswish", "mish", "leaky_relu", "prelu_per_channel"])
@pytest.mark.filterwarnings("ignore")
def test_onnx_spells_functions_in_its_own_way(name, tmp_path):
    module = Around(CURVES[name] if name in CURVES else EXACT[name][0])
    torch.onnx.export(module, (torch.zeros(2, *SHAPE),), tmp_path / "net.onnx", dynamo=False, opset_version=13)
    network = read_onnx(tmp_path / "net.onnx")
    assert kinds(network) == ([Curve] if name in CURVES else EXACT[name][1])
    assert_same(module, network, inputs(), 1e-5)


# Quantisation-aware training ---------------------------------------------------------------------


def test_fake_quantisation_is_read_as_what_it_rounds():
    step = 0.05
    module = Around(lambda x: torch.fake_quantize_per_tensor_affine(F.relu(x), step, 0, 0, 31))
    network = read_module(module, SHAPE)
    assert kinds(network) == [Activation]
    assert network.units[1].upper == pytest.approx(31 * step)
    x = inputs().float()
    with torch.no_grad():
        exact = module.fc(F.relu(module.norm(module.conv(x))).clamp(0, 31 * step).flatten(1))
    torch.testing.assert_close(outputs(network, x)[0], exact, rtol=1e-4, atol=1e-4)


def test_fake_quantised_signed_values_cost_no_neurons():
    module = Around(lambda x: torch.fake_quantize_per_tensor_affine(x, 0.05, 0, -128, 127).relu())
    assert kinds(read_module(module, SHAPE)) == [Activation]


def quantized(name, scale, *, low=0):
    kind = np.uint8 if low == 0 else np.int8
    constants = {f"{name}_s": np.float32(scale), f"{name}_z": np.zeros((), kind)}
    nodes = [
        helper.make_node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_d"]),
    ]
    return nodes, constants


def test_quantised_onnx_is_read_as_the_float_network_that_it_means(tmp_path):
    """Weights are what their integers stand for, biases too; a quantiser of unsigned integers is a ReLU."""
    rng = np.random.default_rng(0)
    weight, bias = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), rng.integers(-99, 99, 4).astype(np.int32)
    step = np.linspace(0.001, 0.004, 4).astype(np.float32)
    before, more = quantized("x", 0.03, low=-1)
    after, rest = quantized("c", 0.02)
    constants = {"w": weight, "w_s": step, "w_z": np.zeros(4, np.int8), "b": bias, "b_s": step * np.float32(0.03)}
    constants |= {"b_z": np.zeros(4, np.int32)} | more | rest
    nodes = [
        *before,
        helper.make_node("DequantizeLinear", ["w", "w_s", "w_z"], ["w_d"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b_s", "b_z"], ["b_d"], axis=0),
        helper.make_node("Conv", ["x_d", "w_d", "b_d"], ["c"]),
        *after[:1],
        helper.make_node("MaxPool", ["c_q"], ["m_q"], kernel_shape=[2, 2]),
        helper.make_node("DequantizeLinear", ["m_q", "c_s", "c_z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 6, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 4, 3, 3))],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    network = read_onnx(tmp_path / "net.onnx")
    assert kinds(network) == [Activation, MaxUnit]
    x = inputs().float()
    expected = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x.numpy()})[0]
    # Rounding of the input, by half a step each, and of the result.
    bound = 0.5 * 0.03 * np.abs(weight.astype(float) * step[:, None, None, None]).sum((1, 2, 3)) + 0.5 * 0.02
    error = np.abs(outputs(network, x)[0].numpy() - expected).max((0, 2, 3))
    assert np.all(error <= bound + 1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["fbgemm", "qnnpack"])
def test_modules_of_quantisation_aware_training(backend):
    torch.manual_seed(0)
    module = nn.Sequential(quantization.QuantStub(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    module.qconfig = quantization.get_default_qat_qconfig(backend)
    module = quantization.prepare_qat(quantization.fuse_modules_qat(module.train(), [["1", "2"]]))
    for _ in range(4):
        module(torch.randn(32, *SHAPE))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    network = read_module(module, SHAPE)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert kinds(network) == [Activation]
    module.eval().apply(quantization.disable_observer)
    weight = module[1].weight_fake_quant(module[1].weight).detach().double().numpy()
    np.testing.assert_allclose(network.inputs(network.units[1].name)[0].operators[0].weight, weight, rtol=1e-6)
    x = torch.randn(200, *SHAPE)
    with torch.no_grad():
        wanted = module(x)
    assert np.corrcoef(outputs(network, x)[0].T, wanted.T)[0, 2] > 0.99
