"""Signals of tens of thousands of values are padded, rolled and sliced without a matrix of their square."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import nn

from toolchain.frontend import axis_maps, read_module, read_onnx
from toolchain.netlist import Resample, UnsupportedError
from toolchain.network import outputs

MOVES = {
    "reflect": lambda x: F.pad(x, (128, 127), "reflect"),
    "replicate": lambda x: F.pad(x, (4, 3), "replicate"),
    "circular": lambda x: F.pad(x, (3, 2), "circular"),
    "roll": lambda x: torch.roll(x, 5, -1),
    "repeat": lambda x: x.repeat(1, 1, 2),
    "list": lambda x: x[:, :, [3, 1, 2, *range(9, x.shape[-1], 2), 7]],
    "shuffled_channels": lambda x: x.flip(1),
}


class Signal(nn.Module):
    def __init__(self, move):
        super().__init__()
        torch.manual_seed(0)
        self.move, self.first, self.second = move, nn.Conv1d(2, 4, 9, 2), nn.Conv1d(4, 3, 5, 2)
        self.double().eval()

    def forward(self, x):
        return self.second(self.move(self.first(self.move(x)).relu())).relu().mean(-1)


def largest(network):
    maps = [o for c in network.connections for o in c.operators if isinstance(o, Resample)]
    return max((m.size for o in maps for m in o.matrices), default=0)


@pytest.mark.parametrize("name", MOVES)
def test_a_long_axis_is_taken_apart_into_runs(name):
    module, x = Signal(MOVES[name]), torch.randn(2, 2, 6000, dtype=torch.float64)
    network = read_module(module, (2, 6000))
    np.testing.assert_allclose(outputs(network, x)[0], module(x).detach(), atol=1e-12)
    assert largest(network) <= 1 << 20


def test_onnx_pads_a_long_axis(tmp_path):
    pads = helper.make_tensor("pads", TensorProto.INT64, [6], [0, 0, 40, 0, 0, 30])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 1, 4], np.arange(8, dtype=np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "pads"], ["p"], mode="reflect"),
            helper.make_node("Conv", ["p", "w"], ["c"], strides=[4]),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        "signal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 44100])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [pads, weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "s.onnx")
    network = read_onnx(tmp_path / "s.onnx", (1, 44100))
    x = torch.randn(1, 1, 44100, dtype=torch.float64)
    kernel = torch.arange(8, dtype=torch.float64).reshape(2, 1, 4)
    expected = F.conv1d(F.pad(x, (40, 30), "reflect"), kernel, stride=4).relu()
    np.testing.assert_allclose(outputs(network, x)[0], expected, atol=1e-9)
    assert largest(network) <= 41 * 41


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.flip(-1),
        lambda x: F.interpolate(x, scale_factor=2.0),
        lambda x: F.avg_pool1d(x, 3, 2, 1, True, False),
    ],
)
def test_a_matrix_that_would_fill_the_memory_is_refused(move, monkeypatch):
    monkeypatch.setattr(axis_maps, "MOST_ENTRIES", 1 << 20)
    with pytest.raises(UnsupportedError, match="of 6000 along an axis by a matrix of more than 1048576 numbers"):
        read_module(Signal(move), (2, 6000))
