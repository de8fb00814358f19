"""Tails of files: read, checked, refused."""

import base64

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from toolchain.netlist import FormatError, InputError, Provenance, Tail
from toolchain.tail import run_tail


def tail(*nodes, outputs=("y",), batch=1, shape=None, inputs=("x",)):
    whole = shape or (batch, 3)
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node(*n) for n in nodes],
            "tail",
            [helper.make_tensor_value_info(i, TensorProto.FLOAT, whole) for i in inputs],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, whole) for o in outputs],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
    )
    return Tail(inputs, outputs, ("Softmax",), batch, base64.b64encode(proto.SerializeToString()).decode())


SOFTMAX = ("Softmax", ["x"], ["y"])


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("samples", [1, 4, 7])
def test_samples_are_taken_a_batch_at_a_time(batch, samples):
    x = np.random.default_rng(0).normal(size=(samples, 3)).astype(np.float32)
    found = run_tail(tail(SOFTMAX, batch=batch), {"x": x, "other": x})
    power = np.exp(x)
    np.testing.assert_allclose(found["y"], power / power.sum(1, keepdims=True), rtol=1e-5)


def test_a_provenance_carries_its_tail():
    kept = Provenance(tail=tail(SOFTMAX))
    assert Provenance.from_json(kept.to_json()) == kept


@pytest.mark.parametrize(
    "change",
    [{"model": "no base64!"}, {"batch": 0}, {"batch": 10**9}, {"readouts": []}, {"outputs": ["y", "y"]}, {"more": 1}],
)
def test_a_damaged_record_is_kept_and_not_used(change):
    record = Provenance(tail=tail(SOFTMAX)).to_json()
    record["tail"].update(change)
    found = Provenance.from_json(record)
    assert found.tail is None
    assert found.other == {"tail": record["tail"]}


@pytest.mark.parametrize(
    "damaged",
    [
        Tail(("x",), ("y",), (), 1, base64.b64encode(b"no graph").decode()),
        tail(("RandomNormalLike", ["x"], ["y"])),
        tail(("Gemm", ["x", "x"], ["y"])),
        tail(("Softmax", ["z"], ["y"])),
        tail(("Reshape", ["x", "x"], ["y"])),
    ],
)
def test_a_damaged_model_is_refused(damaged):
    with pytest.raises(FormatError) as caught:
        run_tail(damaged, {"x": np.zeros((2, 3), np.float32)})
    assert "\n" not in str(caught.value)


def test_a_model_with_other_inputs_is_refused():
    two = tail(("Add", ["x", "z"], ["y"]), inputs=("x", "z"))
    with pytest.raises(FormatError, match="2 inputs and 1 outputs, expected 1 and 1"):
        run_tail(Tail(("x",), two.outputs, (), 1, two.model), {"x": np.zeros((2, 3), np.float32)})


def test_readouts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="the tail takes x"):
        run_tail(tail(SOFTMAX), {"z": np.zeros((2, 3), np.float32)})
    with pytest.raises(InputError, match="takes 3 a sample"):
        run_tail(tail(SOFTMAX), {"x": np.zeros((2, 4), np.float32)})


def test_a_result_that_mixes_samples_is_refused():
    mixing = tail(("ReduceMax", ["x"], ["y"]), batch=4)
    with pytest.raises(InputError, match="which mixes them"):
        run_tail(mixing, {"x": np.zeros((5, 3), np.float32)})


def test_the_text_names_what_the_host_does():
    assert str(tail(SOFTMAX)) == "Softmax on the host: from x to y"
    assert onnx.load_model_from_string(tail(SOFTMAX).content).graph.name == "tail"
