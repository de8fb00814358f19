"""What cannot be expressed is refused by one error: module path, operation, what would work instead."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.frontend import read_module
from toolchain.netlist import AdafireError, InputError, UnsupportedError

C = nn.Conv2d


class Function(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def after_conv(*layers, c=4):
    return nn.Sequential(C(3, c, 3), *layers)


def functional(forward):
    return Function(lambda m, x: forward(m.conv(x)), conv=C(3, 4, 3))


def before_conv(forward):
    """Nothing of it can be left to the host."""
    return Function(lambda m, x: m.b(forward(m.a(x))), a=C(3, 4, 3), b=C(4, 2, 1))


def data_dependent(m, x):
    return x.relu() if x.sum() > 0 else x


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(8, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


IMAGE = (3, 8, 8)
#: name: (module, input shape, path, words of the message in order)
REFUSED = {
    "softmax": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.Linear(3, 2)),
        (4,),
        "1",
        ["Softmax", "at the network's end"],
    ),
    "batch_moved": (lambda: functional(lambda x: x.transpose(0, 1).relu()), IMAGE, "forward", ["relu", "batch axis"]),
    "batch_returned": (lambda: functional(lambda x: x.transpose(0, 1)), IMAGE, "forward", ["result", "batch axis"]),
    "product": (
        lambda: Function(lambda m, x: m.a(x) * m.b(x), a=C(3, 4, 3), b=C(3, 4, 3)),
        IMAGE,
        "forward",
        ["mul", "multiplies two activations", "neither of which is a gate"],
    ),
    "product_of_vectors": (
        lambda: functional(lambda x: x.mean(1, keepdim=True) * x.mean((2, 3), keepdim=True)),
        IMAGE,
        "forward",
        ["mul", "shapes (1, 6, 6) and (4, 1, 1)"],
    ),
    "exponent": (
        lambda: before_conv(lambda x: 2.0 ** x.relu()),
        IMAGE,
        "forward",
        ["pow", "exponent"],
    ),
    "comparison": (
        lambda: Function(
            lambda m, x: m.c(torch.where(m.a(x) > 0, m.b(x), 0)), a=C(3, 4, 3), b=C(3, 4, 3), c=C(4, 2, 1)
        ),
        IMAGE,
        "forward",
        ["where", "depends on the values of another activation"],
    ),
    "active_random_slope": (
        lambda: functional(lambda x: F.rrelu(x, training=True)),
        IMAGE,
        "forward",
        ["rrelu", "at random"],
    ),
    "active_dropout": (
        lambda: functional(lambda x: F.dropout(x)),
        IMAGE,
        "forward",
        ["dropout", "in eval mode", "F.dropout(x, training=self.training)"],
    ),
    "active_channel_dropout": (
        lambda: functional(lambda x: F.dropout2d(x)),
        IMAGE,
        "forward",
        ["F.dropout2d", "in eval mode", "training=self.training"],
    ),
    "active_alpha_dropout": (
        lambda: functional(lambda x: F.alpha_dropout(x, training=True)),
        IMAGE,
        "forward",
        ["F.dropout2d or the like", "in eval mode", "training=self.training"],
    ),
    "noise": (
        lambda: functional(lambda x: x + torch.randn_like(x)),
        IMAGE,
        "forward",
        ["randn_like", "random numbers"],
    ),
    "product_of_activations": (
        lambda: functional(lambda x: x @ x.mT),
        IMAGE,
        "forward",
        ["matmul", "two activations", "nn.Linear"],
    ),
    "sum_of_whole_numbers": (
        lambda: functional(lambda x: x.sum((2, 3), dtype=torch.int64).float()),
        IMAGE,
        "forward",
        ["sum", "int64", "floating point"],
    ),
    "cast_to_8_bits": (
        lambda: functional(lambda x: x.to(torch.float8_e4m3fn).float()),
        IMAGE,
        "forward",
        ["float8_e4m3fn", "floating point"],
    ),
    "division": (
        lambda: functional(lambda x: x / x.sum((2, 3), keepdim=True)),
        IMAGE,
        "forward",
        ["div", "divides by"],
    ),
    "max_dilated": (
        lambda: after_conv(nn.ReLU(), nn.MaxPool2d(2, dilation=2)),
        IMAGE,
        "2",
        ["MaxPool2d", "dilation", "without dilation"],
    ),
    "max_indices": (
        lambda: functional(lambda x: F.max_pool2d(x.relu(), 2, return_indices=True)),
        IMAGE,
        "forward",
        ["max_pool2d_with_indices", "return_indices"],
    ),
    "adaptive_max_uneven": (lambda: after_conv(nn.ReLU(), nn.AdaptiveMaxPool2d(4)), IMAGE, "2", ["AdaptiveMaxPool2d"]),
    "layer_norm": (lambda: after_conv(nn.LayerNorm([4, 6, 6])), IMAGE, "1", ["LayerNorm", "BatchNorm"]),
    "group_norm": (lambda: after_conv(nn.GroupNorm(2, 4)), IMAGE, "1", ["GroupNorm", "BatchNorm"]),
    "instance_norm": (lambda: after_conv(nn.InstanceNorm2d(4)), IMAGE, "1", ["InstanceNorm2d", "BatchNorm"]),
    "norm_of_the_batch": (
        lambda: after_conv(nn.BatchNorm2d(4, track_running_stats=False)),
        IMAGE,
        "1",
        ["BatchNorm2d", "running statistics"],
    ),
    "dilated_transposed": (
        lambda: after_conv(nn.ConvTranspose2d(4, 2, 3, dilation=2)),
        IMAGE,
        "1",
        ["ConvTranspose2d", "dilation"],
    ),
    "batch_mean": (lambda: functional(lambda x: x.mean(0)), IMAGE, "forward", ["mean", "batch"]),
    "batch_flatten": (lambda: functional(torch.flatten), IMAGE, "forward", ["result", "batch"]),
    "fixed_batch": (
        lambda: Function(lambda m, x: m.f(x.relu().view(-1, 8 * 8)), f=nn.Linear(64, 2)),
        IMAGE,
        "f",
        ["Linear", "batch"],
    ),
    "cumsum": (lambda: before_conv(lambda x: x.cumsum(1)), IMAGE, "forward", ["cumsum", "docs/layers.md"]),
    "lstm": (Recurrent, (5, 8), "rnn", ["LSTM", "not supported", "time axis"]),
    "attention": (Attention, (5, 8), "attention", ["MultiheadAttention", "not supported", "multiplies activations"]),
    "control_flow": (lambda: Function(data_dependent), IMAGE, "Function", ["torch.export", "control flow"]),
    "constant_result": (lambda: Function(lambda m, x: torch.ones(3)), IMAGE, "forward", ["constant"]),
    "constant_clip": (lambda: functional(lambda x: x.clamp(1, 1)), IMAGE, "forward", ["clamp", "constant"]),
    "input_as_result": (lambda: functional(lambda x: x.to(torch.int64)), IMAGE, "forward", ["int64", "floating point"]),
    "changed_buffer": (
        lambda: Function(lambda m, x: x + m.norm.running_mean.add_(1)[:, None, None], norm=nn.BatchNorm2d(3)),
        IMAGE,
        "forward",
        ["changes its buffers", "fixed statistics"],
    ),
    "five_axes": (lambda: functional(lambda x: x.view(-1, 2, 2, 3, 2, 6).relu()), IMAGE, "forward", ["axes"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_path_operation_and_way_out(name):
    make, shape, path, words = REFUSED[name]
    with pytest.raises(UnsupportedError) as caught:
        read_module(make(), shape)
    error = caught.value
    assert error.where == path
    message = str(error)
    assert "\n" not in message
    position = 0
    for word in words:
        assert word in message[position:], f"{word!r} is not in {message[position:]!r} ({message})"
        position = message.index(word, position) + len(word)
    assert error.fix, message


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (lambda: C(3, 4, 3), (1, 8, 8), ["Conv2d", "(1, 8, 8)", "check the input shape"]),
        (lambda: C(3, 4, 30), (3, 8, 8), ["Conv2d", "check the input shape"]),
        (lambda: nn.Bilinear(3, 4, 5), (3,), ["Bilinear", "input2", "all inputs are among the data"]),
    ],
)
def test_an_input_that_does_not_fit_is_refused(make, shape, words):
    with pytest.raises(InputError) as caught:
        read_module(make(), shape)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_forward_that_ends_the_program_is_refused(capsys):
    def forward(m, x):
        print("hello")
        sys.exit(0)

    with pytest.raises(InputError, match=r"forward fails .* SystemExit\(0\)"):
        read_module(Function(forward), IMAGE)
    assert capsys.readouterr() == ("", "hello\n")


def test_weights_that_are_not_finite_are_refused():
    module = nn.Sequential(C(3, 4, 3), nn.ReLU())
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"0\.weight: the weights hold NaN"):
        read_module(module, IMAGE)


def test_a_refusal_is_an_adafire_error_with_status_2():
    with pytest.raises(AdafireError) as caught:
        read_module(after_conv(nn.LayerNorm([4, 6, 6])), IMAGE)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_left_as_it_was(training):
    module = nn.Sequential(C(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(144, 2))
    module.train(training)
    module[1].eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    read_module(module, IMAGE)
    assert [m.training for m in module.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_where_a_maximum_lies_is_nothing_to_go_on_with():
    class Position(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(x.max(1)[1].float())

    with pytest.raises(UnsupportedError, match="reads where maxima lie, which no neuron says; let the network go on"):
        read_module(Position(), (3, 6))
