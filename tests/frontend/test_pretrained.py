"""The pretrained networks of the examples: equal to PyTorch, and as accurate as stated."""

import numpy as np
import pytest
import torch

from toolchain.frontend import load_module, load_weights, read_module
from toolchain.netlist import InputError, Pad, Scale, Slice
from toolchain.network import activations, iterate, outputs

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])

#: example: (weights, data, activations, hits among the first 100 pictures of val_5k, PyTorch's own)
PRETRAINED = {
    "resnet20": ("resnet20_cifar10", "cifar10", 19, 83),
    "vgg16": ("vgg16_cifar10", "cifar10", 13, 84),
    "resnet20x2": ("resnet20x2_cifar100", "cifar100", 19, 72),
}


def pictures(folder, name, count):
    with np.load(folder / name / "val_5k.npz") as data:
        images, labels = data["images"][:count], data["labels"][:count]
    return torch.from_numpy(((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2).copy()), labels


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_network(adafire_data, name):
    weights, data, count, hits = PRETRAINED[name]
    module = load_module(f"examples/{name}.py:{name}").eval()
    load_weights(module, adafire_data / "models" / f"{weights}.safetensors")
    network = read_module(module, (3, 32, 32))
    assert len(network.activations) == count
    x, labels = pictures(adafire_data, data, 100)
    (small,) = outputs(network, x[:8])
    with torch.no_grad():
        torch.testing.assert_close(small, module.double()(x[:8]), rtol=1e-10, atol=1e-10)
    (logits,) = outputs(network, x.float())
    assert int((logits.argmax(1).numpy() == labels).sum()) == hits
    with torch.no_grad():
        assert torch.equal(logits.argmax(1), module.float()(x.float()).argmax(1))


def test_efficientnet_lite0():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `peers` brings the network")
    module = load_module("examples/efficientnet_lite0.py:efficientnet_lite0")
    network = read_module(module, (3, 96, 96))
    assert len(network.activations) == 33
    assert all(u.upper == 6 for u in network.activations)
    # A linear bottleneck with a residual sum is no population: the next expansion reads both of its sources.
    expand = network.inputs("_blocks.3._expand_conv")
    assert {c.source for c in expand} == {"_blocks.1._depthwise_conv", "_blocks.2._depthwise_conv"}
    assert all(len(c.operators) == 1 for c in expand)
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(outputs(network, x)[0], module.eval().double()(x), rtol=1e-9, atol=1e-9)


def test_resnet20_structure():
    torch.manual_seed(0)
    network = read_module(load_module("examples/resnet20.py:resnet20"), (3, 32, 32))
    blocks = [f"layer{s}.{b}.conv{c}" for s in (1, 2, 3) for b in range(3) for c in (1, 2)]
    assert [u.name for u in network.units] == ["input", "conv1", *blocks, "fc"]
    assert network.origin.name == "ResNet20"
    shortcuts = {
        c.name: [type(o) for o in c.operators] for c in network.connections if c.operators[-1].__class__ is Scale
    }
    assert len(shortcuts) == 9
    assert shortcuts["layer1.2.conv2->layer2.0.conv2"] == [Slice, Slice, Pad, Scale]
    assert shortcuts["conv1->layer1.0.conv2"] == [Scale]
    assert all(np.all(c.operators[-1].weight == 1) for c in network.connections if c.name in shortcuts)


def test_a_projection_is_named_after_its_main_path():
    torch.manual_seed(0)
    network = read_module(load_module("examples/resnet20x2.py:resnet20x2"), (3, 32, 32))
    assert [c.source for c in network.inputs("layers.3.conv2")] == ["layers.3.conv1", "layers.2.conv2"]


def test_values_of_all_units_and_of_the_outputs():
    torch.manual_seed(0)
    network = read_module(load_module("examples/resnet20.py:resnet20"), (3, 32, 32))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    values = activations(network, x)
    assert list(values) == [u.name for u in network.units]
    assert all(values[u.name].shape == (2, *u.shape) for u in network.units)
    assert all(values[u.name].min() >= 0 for u in network.activations)
    streamed = dict(iterate(network, x))
    assert all(torch.equal(v, values[n]) for n, v in streamed.items())
    (logits,) = outputs(network, x)
    assert torch.equal(logits, values["fc"])


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 3, 32, 31), torch.zeros(3, 32, 32), torch.zeros(2, 3, 32, 32, dtype=torch.uint8)]
)
def test_data_that_does_not_fit_is_refused(x):
    torch.manual_seed(0)
    network = read_module(load_module("examples/resnet20.py:resnet20"), (3, 32, 32))
    with pytest.raises(InputError, match="expected \\(N, \\(3, 32, 32\\)\\)"):
        outputs(network, x)
