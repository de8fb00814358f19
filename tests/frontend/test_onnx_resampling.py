"""ONNX operators that are fixed maps along axes: as ONNX's reference evaluator computes them."""

import itertools

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from toolchain.frontend import read_onnx
from toolchain.frontend.from_onnx.interpolation import Interpolation
from toolchain.netlist import UnsupportedError
from toolchain.network import outputs

rng = np.random.default_rng(3)


def weights(*shape):
    return rng.normal(size=shape).astype(np.float32)


def i64(*values):
    return np.array(values, dtype=np.int64)


def model(*nodes, version=18, shape=(1, 3, 6, 5), rank=4, **constants):
    """A convolution from x to c, the nodes from c to y as (operator, inputs, output, attributes)."""
    spatial = len(shape) - 2
    constants["w"] = weights(4, shape[1], *(3,) * spatial)
    made = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 2 * spatial)]
    for n, (kind, reads, makes, attributes) in enumerate(nodes):
        made.append(helper.make_node(kind, reads.split(" "), makes.split(" "), name=f"node{n}", **attributes))
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


def agree(proto, tmp_path, oracle=None):
    onnx.save(proto, tmp_path / "net.onnx")
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = weights(*shape)
    (expected,) = ReferenceEvaluator(oracle or proto).run(None, {"x": x})
    (found,) = outputs(read_onnx(tmp_path / "net.onnx"), torch.from_numpy(x).double())
    np.testing.assert_allclose(found.numpy().reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


PLACES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
RESIZES = [
    *({"mode": "linear", "coordinate_transformation_mode": p} for p in PLACES),
    *({"mode": "cubic", "coordinate_transformation_mode": p} for p in PLACES),
    {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
    *(
        {"mode": "nearest", "coordinate_transformation_mode": p, "nearest_mode": r}
        for p, r in itertools.product(PLACES, ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    ),
]


@pytest.mark.parametrize("options", RESIZES, ids=lambda o: "-".join(str(v) for v in o.values()))
@pytest.mark.parametrize("size", ["scales", "sizes"])
def test_resize(options, size, tmp_path):
    # The evaluator takes no account of it that a size is whole where corners are aligned.
    aligned = options.get("coordinate_transformation_mode") == "align_corners"
    scales = np.float32([1, 1, 1.5, 2] if aligned else [1, 1, 1.6, 0.7])
    given = {"s": scales} if size == "scales" else {"s": i64(1, 4, 8, 4)}
    inputs = "c  s" if size == "scales" else "c   s"
    agree(model(("Resize", inputs, "y", options), **given), tmp_path)


#: name: (nodes, constants, options)
MAPS = {
    "upsample": ([("Upsample", "c s", "y", {})], {"s": np.float32([1, 1, 2, 3])}, {"version": 9}),
    "resize_some_axes": ([("Resize", "c   s", "y", {"axes": [2, 3]})], {"s": i64(9, 4)}, {}),
    "resize_a_signal": (
        [("Resize", "c  s", "y", {"mode": "linear"})],
        {"s": np.float32([1, 1, 1.5])},
        {"shape": (1, 3, 6)},
    ),
    "resize_a_volume": (
        [("Resize", "c   s", "y", {"mode": "linear"})],
        {"s": i64(1, 4, 5, 4, 3)},
        {"shape": (1, 2, 3, 4, 3)},
    ),
    "reflect": ([("Pad", "c p", "y", {"mode": "reflect"})], {"p": i64(0, 0, 1, 2, 0, 0, 2, 1)}, {}),
    "reflect_channels": ([("Pad", "c p", "y", {"mode": "reflect"})], {"p": i64(0, 1, 0, 0, 0, 2, 0, 0)}, {}),
    "edge": ([("Pad", "c p", "y", {"mode": "edge"})], {"p": i64(0, 0, 1, 2, 0, 0, 2, 1)}, {}),
    "wrap": ([("Pad", "c p", "y", {"mode": "wrap"})], {"p": i64(0, 0, 1, 2, 0, 0, 2, 1)}, {"version": 19}),
    "a_value": ([("Pad", "c p v", "y", {})], {"p": i64(0, 1, 1, 0, 0, 0, 2, 1), "v": np.float32(1.5)}, {}),
    "gather_a_list": ([("Gather", "c i", "y", {"axis": 1})], {"i": i64(2, -1, 0)}, {}),
    "gather_a_table": ([("Gather", "c i", "y", {"axis": 2})], {"i": i64([2, -1], [0, 0])}, {"rank": 5}),
    "slice_backwards": (
        [("Slice", "c a b ax st", "y", {})],
        {"a": i64(-1, 3), "b": i64(-9, 0), "ax": i64(2, 1), "st": i64(-2, -1)},
        {},
    ),
    "tile": ([("Tile", "c n", "y", {})], {"n": i64(1, 2, 1, 3)}, {}),
    "expand": (
        [("ReduceMean", "c", "m", {"axes": [1]}), ("Expand", "m s", "y", {})],
        {"s": i64(1, 5, 6, 5)},
        {"version": 13},
    ),
    "space_to_depth": ([("SpaceToDepth", "c", "y", {"blocksize": 3})], {}, {"shape": (1, 3, 6, 9)}),
    "mean": ([("Mean", "c c c", "y", {})], {}, {}),
    "mean_with_a_constant": ([("Mean", "c k", "y", {})], {"k": weights(1, 4, 1, 1)}, {}),
    "where": ([("Where", "m c k", "y", {})], {"m": np.eye(5)[:, :5].astype(bool)[:1], "k": np.float32(0.5)}, {}),
    "where_not": ([("Where", "m k c", "y", {})], {"m": np.eye(6, 5).astype(bool), "k": np.float32(0.5)}, {}),
    "einsum": ([("Einsum", "c k", "y", {"equation": "nchw,ckw->nkh"})], {"k": weights(4, 2, 5)}, {"rank": 3}),
    "matrix_on_the_left": ([("MatMul", "k c", "y", {})], {"k": weights(3, 6)}, {}),
    "matrix_per_channel": ([("MatMul", "c k", "y", {})], {"k": weights(4, 5, 2)}, {}),
    "flatten_from_the_second_axis": ([("Flatten", "c", "y", {"axis": 2})], {}, {"rank": 2}),
    "gather_elements_of_constants": (
        [("GatherElements", "k i", "g", {"axis": 1}), ("Mul", "c g", "y", {})],
        {"k": weights(1, 4), "i": i64([3, 0, 1, 1, 2])},
        {},
    ),
    "constant_of_shape": (
        [("Shape", "c", "s", {}), ("ConstantOfShape", "s", "o", {}), ("Add", "c o", "y", {})],
        {},
        {},
    ),
    "transposed_same": (
        [("ConvTranspose", "c k", "y", {"strides": [2, 2], "auto_pad": "SAME_UPPER"})],
        {"k": weights(4, 2, 3, 3)},
        {},
    ),
    "transposed_same_lower": (
        [("ConvTranspose", "c k", "y", {"strides": [2, 2], "auto_pad": "SAME_LOWER"})],
        {"k": weights(4, 2, 3, 3)},
        {},
    ),
    "average_without_padding": (
        [("AveragePool", "c", "y", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})],
        {},
        {},
    ),
    "channel_shuffle_of_one_sample": (
        [
            ("Reshape", "c a", "r", {}),
            ("Transpose", "r", "t", {"perm": [1, 0, 2]}),
            ("Reshape", "t b", "s", {}),
            ("Gather", "s k", "y", {"axis": 0}),
        ],
        {"a": i64(2, 2, 30), "b": i64(2, -1, 2, 6, 5), "k": i64(1).reshape(())},
        {},
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_what_onnx_makes_of_it(name, tmp_path):
    nodes, constants, options = MAPS[name]
    options = {"rank": len(options.get("shape", (1, 3, 6, 5))), **options}
    agree(model(*nodes, **options, **constants), tmp_path)


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_that_a_constant_chooses(condition, tmp_path):
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    branches = {
        name: helper.make_graph(
            [helper.make_node(operator, ["c"], [f"{name}_y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [None] * 4)],
        )
        for name, operator in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    proto = model(("Identity", "c", "z", {}), flag=np.array(condition))
    proto.graph.node.append(helper.make_node("If", ["flag"], ["y"], **branches))
    proto.graph.output[0].CopyFrom(y)
    agree(proto, tmp_path)


@pytest.mark.parametrize("version", [7, 8])
def test_old_operator_sets_are_lifted(version, tmp_path):
    nodes = [("Relu", "c", "r", {}), ("Upsample", "r", "y", {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]})]
    proto = model(*nodes, version=version)
    agree(proto, tmp_path, onnx.version_converter.convert_version(proto, 13))


def test_an_output_without_a_shape(tmp_path):
    proto = model(("Relu", "c", "y", {}))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    agree(proto, tmp_path)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (("Resize", "c  s", "y", {"antialias": 1, "mode": "linear"}), "antialias"),
        (("Resize", "c  s", "y", {"coordinate_transformation_mode": "tf_crop_and_resize"}), "tf_crop_and_resize"),
    ],
)
def test_what_is_refused(node, words, tmp_path):
    onnx.save(model(node, s=np.float32([1, 1, 0.5, 0.5])), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedError, match=words):
        read_onnx(tmp_path / "net.onnx")


def test_rows_of_every_interpolation_sum_to_one():
    for mode, place in itertools.product(("nearest", "linear", "cubic"), PLACES):
        matrix = Interpolation(mode, place, "floor").matrix(5, 13, 13 / 5)
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
