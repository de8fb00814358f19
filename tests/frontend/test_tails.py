"""What no neuron computes at a network's end is left to the host, and the host computes what the network would."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from toolchain.frontend import read_module, read_onnx, read_pt2
from toolchain.netlist import InputError, UnsupportedError
from toolchain.network import outputs
from toolchain.tail import run_tail


class Function(nn.Module):
    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def backbone():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())


def heads(forward):
    """A detector with two heads on one map."""
    return Function(forward, body=backbone(), classes=nn.Conv2d(8, 6, 1), boxes=nn.Conv2d(8, 12, 1))


def ssd(m, x):
    y, n = m.body(x), x.shape[0]
    scores = m.classes(y).permute(0, 2, 3, 1).reshape(n, -1, 2).softmax(-1)
    boxes = m.boxes(y).permute(0, 2, 3, 1).reshape(n, -1, 4)
    centre = boxes[..., :2] * 0.1 + 1
    return scores, torch.cat([centre, centre + torch.exp(boxes[..., 2:] * 0.2)], -1)


def yolo(m, x):
    y = m.boxes(m.body(x))
    y = y.view(x.shape[0], 2, 6, y.shape[2], y.shape[3]).permute(0, 1, 3, 4, 2)
    position = (y[..., :2].sigmoid() * 2 - 0.5) * 8
    extent = (y[..., 2:4].sigmoid() * 2) ** 2 * torch.tensor([10.0, 13.0])
    return torch.cat([position, extent, y[..., 4:].sigmoid()], -1).reshape(x.shape[0], -1, 6)


def classifier(forward):
    return Function(forward, f=nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 8), nn.ReLU(), nn.Linear(8, 5)))


#: name: (module, operators that the host computes, shapes of the readouts)
TAILS = {
    "softmax": (lambda: classifier(lambda m, x: m.f(x).softmax(1)), {"Softmax"}, [(5,)]),
    "log_softmax": (lambda: classifier(lambda m, x: F.log_softmax(m.f(x), dim=-1)), {"LogSoftmax"}, [(5,)]),
    "argmax": (lambda: classifier(lambda m, x: m.f(x).argmax(1)), {"ArgMax"}, [(5,)]),
    "class_by_maximum": (lambda: classifier(lambda m, x: m.f(x).max(1)[1]), {"ArgMax"}, [(5,)]),
    "class_and_score": (lambda: classifier(lambda m, x: tuple(m.f(x).max(1))), None, [(5,)]),
    "either": (lambda: classifier(lambda m, x: (m.f(x) > 0.2) | (m.f(x) < -0.2)), None, None),
    "best_three": (lambda: classifier(lambda m, x: torch.topk(m.f(x).softmax(1), 3)), {"Softmax", "TopK"}, [(5,)]),
    "logits_and_more": (
        lambda: classifier(lambda m, x: {"z": m.f(x), "p": m.f(x).softmax(1), "c": m.f(x).argmax(1)}),
        {"Softmax", "ArgMax"},
        None,
    ),
    "embedding": (lambda: classifier(lambda m, x: F.normalize(m.f(x), dim=1)), None, [(5,)]),
    "product_of_probabilities": (
        lambda: heads(lambda m, x: m.classes(m.body(x))[:, :2].sigmoid() * m.classes(m.body(x))[:, 2:4].softmax(1)),
        {"Sigmoid", "Softmax", "Mul"},
        None,
    ),
    "segments": (lambda: heads(lambda m, x: m.classes(m.body(x)).argmax(1)), {"ArgMax"}, [(6, 4, 4)]),
    "mask": (lambda: heads(lambda m, x: (m.classes(m.body(x)).sigmoid() > 0.5).float()), None, [(6, 4, 4)]),
    "peaks": (
        lambda: heads(
            lambda m, x: (lambda h: h * (F.max_pool2d(h, 3, 1, 1) == h).float())(m.classes(m.body(x)).sigmoid())
        ),
        None,
        [(6, 4, 4)],
    ),
    "ssd": (lambda: heads(ssd), None, [(6, 4, 4), (12, 4, 4)]),
    "yolo": (lambda: heads(yolo), None, [(12, 4, 4)]),
    "joined_outputs": (
        lambda: heads(
            lambda m, x: torch.cat(
                [
                    m.classes(m.body(x)).permute(0, 2, 3, 1).flatten(1, 2),
                    m.boxes(m.body(x)).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 6),
                ],
                1,
            )
        ),
        None,
        None,
    ),
    "softmax_of_all_places": (  # as PointNet's usual code has it: points and batch are one axis meanwhile
        lambda: heads(
            lambda m, x: F.log_softmax(
                m.classes(m.body(x)).flatten(2).transpose(2, 1).contiguous().view(-1, 6), dim=-1
            ).view(x.shape[0], 16, 6)
        ),
        {"Transpose", "Reshape", "LogSoftmax"},
        [(6, 4, 4)],
    ),
    "disparity": (lambda: heads(lambda m, x: 1 / (0.1 + F.softplus(m.classes(m.body(x))))), None, [(6, 4, 4)]),
}


def computed(network, x):
    """What the host makes of a float network's outputs."""
    readouts = {
        unit.name: value.numpy() for unit, value in zip(network.outputs, outputs(network, x.double()), strict=True)
    }
    return run_tail(network.tail, readouts)


def wanted(module, x):
    with torch.no_grad():
        result = module(x)
    results = list(result.values()) if isinstance(result, dict) else result
    return [r.numpy() for r in (results if isinstance(results, tuple | list) else [results])]


@pytest.mark.parametrize("name", TAILS)
def test_the_host_computes_what_the_network_would(name):
    torch.manual_seed(3)
    make, operators, shapes = TAILS[name]
    module = make().eval()
    shape = (3, 6, 6)
    network = read_module(module, shape)
    if operators is not None:
        assert set(network.tail.operators) == operators
    if shapes is not None:
        assert [unit.shape for unit in network.outputs] == shapes
    x = torch.randn(25, *shape)  # more than the batch that it was traced with, and no multiple of it
    results = computed(network, x)
    for found, expected in zip(results.values(), wanted(module, x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert found.dtype.kind == expected.dtype.kind


@pytest.mark.parametrize("name", ["ssd", "logits_and_more"])
def test_files_leave_the_same_to_the_host(name, tmp_path):
    torch.manual_seed(3)
    module, x = TAILS[name][0]().eval(), torch.randn(4, 3, 6, 6)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "net.pt2")
    torch.onnx.export(module, (x[:1],), tmp_path / "net.onnx", external_data=False, dynamo=True, verbose=False)
    for network in (read_pt2(tmp_path / "net.pt2"), read_onnx(tmp_path / "net.onnx")):
        for found, expected in zip(computed(network, x).values(), wanted(module, x), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def graph(nodes, weights, *, results, version=13, shape=(1, 3, 8, 8)):
    """An ONNX model: nodes as (operator, inputs, outputs, attributes)."""
    made = [
        helper.make_node(kind, reads.split(" "), makes.split(" "), name=f"node{n}", **attributes)
        for n, (kind, reads, makes, attributes) in enumerate(nodes)
    ]
    model = helper.make_model(
        helper.make_graph(
            made,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in results],
            [numpy_helper.from_array(w, name) for name, w in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", version)],
        ir_version=8,
    )
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    return model


def weights(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def read(model, tmp_path, outputs=()):
    onnx.save(model, tmp_path / "net.onnx")
    return read_onnx(tmp_path / "net.onnx", outputs=outputs)


def compare(model, tmp_path):
    network, x = read(model, tmp_path), weights(3, 3, 8, 8)
    evaluator = ReferenceEvaluator(model)
    found = computed(network, torch.from_numpy(x))
    for sample in range(3):
        for result, expected in zip(found.values(), evaluator.run(None, {"x": x[sample : sample + 1]}), strict=True):
            np.testing.assert_allclose(result[sample], expected.reshape(result[sample].shape), rtol=1e-4, atol=1e-4)
    return network


FLOAT, WHOLE = TensorProto.FLOAT, TensorProto.INT64


def test_selection_among_boxes(tmp_path):
    nodes = [
        ("Conv", "x w", "c", {}),
        ("Conv", "x v", "b", {}),
        ("Reshape", "c one", "s", {}),
        ("Sigmoid", "s", "scores", {}),
        ("Reshape", "b four", "f", {}),
        ("Transpose", "f", "boxes", {"perm": [0, 2, 1]}),
        ("NonMaxSuppression", "boxes scores most overlap least", "chosen", {}),
    ]
    constants = {
        "w": weights(1, 3, 1, 1),
        "v": weights(4, 3, 1, 1),
        "one": np.int64([1, 1, 64]),
        "four": np.int64([1, 4, 64]),
        "most": np.int64([9]),
        "overlap": np.float32([0.5]),
        "least": np.float32([0.5]),
    }
    model = graph(nodes, constants, results=[("chosen", WHOLE), ("scores", FLOAT)])
    network = read(model, tmp_path)
    x = weights(6, 3, 8, 8)
    found = computed(network, torch.from_numpy(x))
    evaluator = ReferenceEvaluator(model)
    for sample in range(6):
        chosen, _ = evaluator.run(None, {"x": x[sample : sample + 1]})
        np.testing.assert_array_equal(found["chosen"][sample], chosen)
    assert {u.shape for u in network.outputs} == {(1, 8, 8), (4, 8, 8)}


def test_the_mean_of_a_distribution_over_bins_is_a_tail(tmp_path):
    nodes = [
        ("Conv", "x w", "c", {}),
        ("Reshape", "c s", "r", {}),
        ("Transpose", "r", "t", {"perm": [0, 2, 1, 3]}),
        ("Softmax", "t", "p", {"axis": 1}),
        ("Conv", "p bins", "m", {}),
        ("Reshape", "m u", "y", {}),
    ]
    constants = {
        "w": weights(16, 3, 1, 1),
        "s": np.int64([1, 4, 4, 64]),
        "bins": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1),
        "u": np.int64([1, 4, 64]),
    }
    network = compare(graph(nodes, constants, results=[("y", FLOAT)]), tmp_path)
    assert [u.shape for u in network.outputs] == [(16, 8, 8)]


def test_shapes_that_a_graph_computes_for_its_reshapes(tmp_path):
    """As PyTorch 1 exported them: ``x.permute(0, 2, 3, 1).reshape(x.size(0), -1, 2)``."""
    nodes = [
        ("Conv", "x w", "c", {}),
        ("Transpose", "c", "t", {"perm": [0, 2, 3, 1]}),
        ("Shape", "t", "a", {}),
        ("Gather", "a zero", "n", {"axis": 0}),
        ("Unsqueeze", "n", "n1", {"axes": [0]}),
        ("Concat", "n1 rest", "s", {"axis": 0}),
        ("Reshape", "t s", "r", {}),
        ("Softmax", "r", "y", {"axis": 2}),
    ]
    constants = {"w": weights(4, 3, 3, 3), "zero": np.array(0), "rest": np.int64([-1, 2])}
    model = graph(nodes, constants, results=[("y", FLOAT)], version=11)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, (1, 72, 2)))
    network = compare(model, tmp_path)
    assert [u.shape for u in network.outputs] == [(4, 6, 6)]


def test_a_result_without_a_batch_axis(tmp_path):
    nodes = [("Conv", "x w", "c", {}), ("Sigmoid", "c", "p", {}), ("Reshape", "p s", "y", {})]
    constants = {"w": weights(4, 3, 3, 3), "s": np.int64([36, 4])}
    compare(graph(nodes, constants, results=[("y", FLOAT)]), tmp_path)


def test_outputs_cut_anywhere(tmp_path):
    nodes = [
        ("Conv", "x w", "a", {}),
        ("Relu", "a", "b", {}),
        ("Softmax", "b", "c", {"axis": 1}),
        ("Conv", "c v", "y", {}),
    ]
    model = graph(nodes, {"w": weights(4, 3, 3, 3), "v": weights(2, 4, 1, 1)}, results=[("y", FLOAT)])
    with pytest.raises(UnsupportedError):
        read(model, tmp_path)
    for names in (["b"], ["node1"]):
        network = read(model, tmp_path, names)
        assert [u.shape for u in network.outputs] == [(4, 6, 6)]
        assert network.tail is None
    assert len(read(model, tmp_path, ["a", "b"]).outputs) == 2
    with pytest.raises(InputError, match="'elsewhere' found"):
        read(model, tmp_path, ["elsewhere"])


def test_outputs_of_modules():
    module = nn.Sequential(backbone(), nn.Conv2d(8, 4, 1), nn.GELU(), nn.Conv2d(4, 2, 1))
    network = read_module(module, (3, 6, 6), ["1"])
    assert [u.shape for u in network.outputs] == [(4, 4, 4)]
    x = torch.randn(2, 3, 6, 6)
    (found,) = outputs(network, x.double())
    np.testing.assert_allclose(found, module[:2](x).detach(), rtol=1e-4, atol=1e-5)
    assert [u.shape for u in read_module(module, (3, 6, 6), ["0.0", "0.1"]).outputs] == [(8, 4, 4), (8, 4, 4)]
    with pytest.raises(InputError, match="'head' found"):
        read_module(module, (3, 6, 6), ["head"])


def test_weights_after_a_softmax_are_no_tail():
    module = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.Linear(3, 2))
    with pytest.raises(UnsupportedError, match="Softmax"):
        read_module(module, (4,))


SHUFFLES = {
    "halves": lambda m, x: F.relu(m.c(x)).reshape(x.shape[0] * 4, 2, 16).permute(1, 0, 2).reshape(2, -1, 4, 4, 4)[1],
    "there_and_back": lambda m, x: m.d(F.relu(m.c(x)).permute(2, 0, 1, 3).permute(1, 2, 0, 3)),
    "sequence": lambda m, x: m.c(x).flatten(2).permute(2, 0, 1).unsqueeze(0).squeeze(0).transpose(0, 1),
    "front_selected": lambda m, x: torch.stack([m.c(x), m.d(m.c(x))])[1] if False else m.c(x).unsqueeze(0)[0],
}


@pytest.mark.parametrize("name", SHUFFLES)
def test_a_batch_axis_that_moves_and_comes_back(name):
    torch.manual_seed(1)
    module = Function(SHUFFLES[name], c=nn.Conv2d(3, 8, 3), d=nn.Conv2d(8, 8, 1)).eval()
    x = torch.randn(5, 3, 6, 6)
    (found,) = outputs(read_module(module, (3, 6, 6)), x.double())
    np.testing.assert_allclose(found, module(x).detach(), rtol=1e-4, atol=1e-5)
