"""ONNX files that torch.onnx.export does not write: other spellings, refusals, and files that lie."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from toolchain.frontend import read_module, read_onnx
from toolchain.frontend.from_onnx import ONNX, OPSETS
from toolchain.frontend.from_onnx import curves as onnx_curves
from toolchain.frontend.from_onnx import layers as onnx_layers
from toolchain.frontend.from_onnx import moves as onnx_moves
from toolchain.frontend.from_onnx import resampling as onnx_resampling
from toolchain.netlist import AdafireError, FormatError, InputError, Origin, UnsupportedError
from toolchain.network import outputs

RNG = np.random.default_rng(0)
IMAGE = ("n", 3, 8, 8)


def array(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def model(nodes, shape=IMAGE, version=17, inputs=1, result="y", **weights):
    """A graph from x to y; nodes are (operator, inputs, outputs, attributes)."""
    made = [
        helper.make_node(kind, i.split(" "), o.split(" "), name=f"node{k}", **attributes)
        for k, (kind, i, o, attributes) in enumerate(nodes)
    ]
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info(f"x{i or ''}", TensorProto.FLOAT, shape) for i in range(inputs)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    (inferred,) = onnx.shape_inference.infer_shapes(made_model).graph.output
    if not inferred.type.tensor_type.HasField("shape"):
        inferred.type.tensor_type.shape.dim.add(dim_param="unknown")
    graph.output[0].CopyFrom(inferred)
    made_model.graph.CopyFrom(graph)
    return made_model


def convert_model(proto, tmp_path, shape=None):
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return read_onnx(path, shape)


W, B = array(4, 3, 3, 3), array(4)
CONV = ("Conv", "x w b", "c", {})
RELU = ("Relu", "c", "r", {})
#: Weights behind an activation, which the host would compute at the network's end.
AFTER = ("Conv", "a k", "y", {})
K = array(2, 4, 1, 1)


def i64(*values):
    return np.array(values, dtype=np.int64)


#: name: (nodes, weights, keyword arguments of `model`)
SPELLINGS = {
    "same_upper": ([("Conv", "x w b", "y", {"auto_pad": "SAME_UPPER", "strides": [2, 3]})], {}, {}),
    "same_lower": ([("Conv", "x w b", "y", {"auto_pad": "SAME_LOWER", "strides": [2, 1]})], {}, {}),
    "valid": ([("Conv", "x w b", "y", {"auto_pad": "VALID"})], {}, {}),
    "clip_attributes": ([CONV, ("Clip", "c", "y", {"min": 0.0, "max": 0.7})], {}, {"version": 10}),
    "clip_inputs": ([CONV, ("Clip", "c low high", "y", {})], {"low": np.float32(0), "high": np.float32(0.7)}, {}),
    "clip_signed": ([CONV, ("Clip", "c low high", "y", {})], {"low": np.float32(-1), "high": np.float32(1)}, {}),
    "clip_to_a_constant_per_channel": (
        [CONV, ("Max", "low c", "m", {}), ("Min", "m high", "y", {})],
        {"low": array(4, 1, 1) - 1, "high": np.abs(array(4, 1, 1)) + 1},
        {},
    ),
    "max_of_three": ([CONV, RELU, ("Neg", "c", "n", {}), ("Max", "c r n", "y", {})], {}, {}),
    "min_of_two_layers": ([CONV, ("Conv", "x v b", "d", {}), ("Min", "c d", "y", {})], {"v": array(4, 3, 3, 3)}, {}),
    "min_without_floor": ([CONV, ("Min", "c one", "y", {})], {"one": np.float32(1)}, {}),
    "leaky_relu": ([CONV, ("LeakyRelu", "c", "a", {"alpha": 0.2}), AFTER], {}, {}),
    "prelu": ([CONV, ("PRelu", "c p", "a", {}), AFTER], {"p": array(4, 1, 1)}, {}),
    "abs": ([CONV, ("Abs", "c", "a", {}), AFTER], {}, {}),
    "hard_sigmoid": ([CONV, ("HardSigmoid", "c", "a", {"alpha": 0.3}), AFTER], {}, {}),
    "elu": ([CONV, ("Elu", "c", "a", {"alpha": 0.7}), AFTER], {}, {}),
    "celu": ([CONV, ("Celu", "c", "a", {"alpha": 0.7}), AFTER], {}, {}),
    "selu": ([CONV, ("Selu", "c", "a", {"alpha": 1.5, "gamma": 1.2}), AFTER], {}, {}),
    "gelu": ([CONV, ("Gelu", "c", "a", {"approximate": "tanh"}), AFTER], {}, {"version": 20}),
    "softplus": ([CONV, ("Softplus", "c", "a", {}), AFTER], {}, {}),
    "softsign": ([CONV, ("Softsign", "c", "a", {}), AFTER], {}, {}),
    "shrink": ([CONV, ("Shrink", "c", "a", {"lambd": 0.4, "bias": 0.2}), AFTER], {}, {}),
    "thresholded_relu": ([CONV, ("ThresholdedRelu", "c", "a", {"alpha": 0.4}), AFTER], {}, {}),
    "silu_as_product": ([CONV, ("Sigmoid", "c", "s", {}), ("Mul", "s c", "a", {}), AFTER], {}, {}),
    "silu_as_quotient": (
        [CONV, ("Neg", "c", "n", {}), ("Exp", "n", "e", {}), ("Add", "e one", "d", {}), ("Div", "c d", "a", {}), AFTER],
        {"one": np.float32(1)},
        {},
    ),
    "hard_swish": (
        [
            CONV,
            ("Add", "c three", "a", {}),
            ("Clip", "a low six", "p", {}),
            ("Mul", "p c", "m", {}),
            ("Div", "m six", "y", {}),
        ],
        {"three": np.float32(3), "low": np.float32(0), "six": np.float32(6)},
        {},
    ),
    "leaky_as_choice": (
        [CONV, ("Greater", "c zero", "g", {}), ("Mul", "c tenth", "t", {}), ("Where", "g c t", "a", {}), AFTER],
        {"zero": np.float32(0), "tenth": np.float32(0.1)},
        {},
    ),
    "squeeze_and_excitation": (
        [
            CONV,
            RELU,
            ("GlobalAveragePool", "r", "g", {}),
            ("HardSigmoid", "g", "s", {}),
            ("Mul", "r s", "a", {}),
            AFTER,
        ],
        {},
        {},
    ),
    "max_of_input": ([("MaxPool", "x", "m", {"kernel_shape": [2, 2]}), ("Conv", "m w b", "y", {})], {}, {}),
    "max_then_nothing": ([CONV, ("MaxPool", "c", "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})], {}, {}),
    "max_then_negative": ([CONV, ("MaxPool", "c", "m", {"kernel_shape": [2, 2]}), ("Neg", "m", "y", {})], {}, {}),
    "constants_of_functions": ([("Sigmoid", "w", "v", {}), ("Conv", "x v b", "y", {})], {}, {}),
    "max_with_zero": ([CONV, ("Max", "c zero", "y", {})], {"zero": np.float32(0)}, {}),
    "relu_then_min": ([CONV, RELU, ("Min", "six r", "y", {})], {"six": np.float32([0.5])}, {}),
    "gemm": (
        [CONV, RELU, ("Flatten", "r", "f", {}), ("Gemm", "f g h", "y", {"alpha": 0.5, "beta": 2.0})],
        {"g": array(144, 3), "h": array(3)},
        {},
    ),
    "gemm_transposed": (
        [CONV, RELU, ("Flatten", "r", "f", {"axis": -3}), ("Gemm", "f g", "y", {"transB": 1})],
        {"g": array(3, 144)},
        {},
    ),
    "matmul_add": (
        [("MatMul", "x g", "m", {}), ("Add", "h m", "s", {}), ("Relu", "s", "y", {})],
        {"g": array(5, 3), "h": array(3)},
        {"shape": ("n", 5)},
    ),
    "batch_norm": (
        [CONV, ("BatchNormalization", "c g h m v", "n", {"epsilon": 1e-3}), ("Relu", "n", "y", {})],
        {"g": array(4), "h": array(4), "m": array(4), "v": np.abs(array(4)) + 0.1},
        {},
    ),
    "sum_of_three": ([CONV, RELU, ("Sum", "c r c", "y", {})], {}, {}),
    "arithmetic": (
        [("Sub", "x mean", "a", {}), ("Div", "a std", "d", {}), ("Mul", "two d", "e", {}), ("Neg", "e", "y", {})],
        {"mean": array(3, 1, 1), "std": np.abs(array(1, 3, 1, 1)) + 0.5, "two": np.float32(2)},
        {},
    ),
    "constant_minus": ([CONV, ("Sub", "one c", "y", {})], {"one": np.float32(1)}, {}),
    "difference": ([CONV, RELU, ("Sub", "r c", "y", {})], {}, {}),
    "average": ([CONV, RELU, ("AveragePool", "r", "y", {"kernel_shape": [2, 3], "strides": [2, 1]})], {}, {}),
    "average_same": (
        [
            CONV,
            RELU,
            ("AveragePool", "r", "y", {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "count_include_pad": 1}),
        ],
        {},
        {},
    ),
    "max_same_lower": (
        [CONV, RELU, ("MaxPool", "r", "y", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"})],
        {},
        {},
    ),
    "global_max": ([CONV, RELU, ("GlobalMaxPool", "r", "y", {})], {}, {}),
    "global_average": (
        [CONV, RELU, ("GlobalAveragePool", "r", "g", {}), ("Squeeze", "g", "y", {"axes": [2, 3]})],
        {},
        {"version": 11},
    ),
    "reduce_mean_attribute": ([CONV, RELU, ("ReduceMean", "r", "y", {"axes": [-1, 2], "keepdims": 0})], {}, {}),
    "reduce_mean_input": ([CONV, RELU, ("ReduceMean", "r axes", "y", {})], {"axes": i64(2, 3)}, {"version": 18}),
    "reduce_sum": ([CONV, RELU, ("ReduceSum", "r axes", "y", {"keepdims": 0})], {"axes": i64(1)}, {}),
    "reduce_max": ([CONV, RELU, ("ReduceMax", "r", "y", {"axes": [2], "keepdims": 1})], {}, {}),
    "reduce_min": (
        [CONV, RELU, ("ReduceMin", "r", "m", {"axes": [2]}), ("Conv", "m v", "y", {})],
        {"v": array(2, 4, 1, 1)},
        {},
    ),
    "truth_values": (
        [
            CONV,
            ("Greater", "c t", "over", {}),
            ("Less", "c u", "under", {}),
            ("Cast", "over", "cast", {"to": 9}),
            ("Or", "cast under", "either", {}),
            ("Not", "either", "neither", {}),
            ("And", "neither over", "never", {}),
            ("Xor", "either never", "chosen", {}),
            ("Where", "chosen c z", "bent", {}),
            ("Conv", "bent v", "y", {}),
        ],
        {"t": np.float32(0.2), "u": np.float32(-0.1), "z": np.float32(0.5), "v": array(2, 4, 1, 1)},
        {},
    ),
    "reduce_nothing": ([CONV, ("ReduceSum", "c", "y", {"noop_with_empty_axes": 1})], {}, {}),
    "resize_scales": (
        [
            CONV,
            (
                "Resize",
                "c  s",
                "y",
                {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            ),
        ],
        {"s": np.float32([1, 1, 2, 3])},
        {},
    ),
    "resize_linear": ([CONV, ("Resize", "c  s", "y", {"mode": "linear"})], {"s": np.float32([1, 1, 2, 2])}, {}),
    "upsample": ([CONV, ("Upsample", "c s", "y", {})], {"s": np.float32([1, 1, 2, 2])}, {"version": 9}),
    "transpose": (
        [CONV, ("Transpose", "c", "t", {"perm": [0, 2, 3, 1]}), ("MatMul", "t g", "y", {})],
        {"g": array(4, 2)},
        {},
    ),
    "reshape_zero": ([CONV, ("Reshape", "c s", "y", {})], {"s": i64(0, 4, -1)}, {}),
    "unsqueeze": (
        [CONV, ("ReduceMean", "c", "m", {"axes": [2, 3], "keepdims": 0}), ("Unsqueeze", "m axes", "y", {})],
        {"axes": i64(-1, 2)},
        {},
    ),
    "split": ([CONV, ("Split", "c s", "p q", {"axis": 1}), ("Concat", "q p", "y", {"axis": 1})], {"s": i64(1, 3)}, {}),
    "split_evenly": ([CONV, ("Split", "c", "p q", {"axis": -3}), ("Sub", "p q", "y", {})], {}, {"version": 11}),
    "slice_attributes": (
        [CONV, ("Slice", "c", "y", {"axes": [2, 1], "starts": [1, 0], "ends": [1000, 3]})],
        {},
        {"version": 9},
    ),
    "slice_inputs": (
        [CONV, ("Slice", "c a e axes s", "y", {})],
        {"a": i64(0, -5), "e": i64(2**40, -1), "axes": i64(0, 3), "s": i64(1, 2)},
        {},
    ),
    "gather": ([CONV, ("Gather", "c i", "y", {"axis": 2})], {"i": np.array(-1, dtype=np.int64)}, {}),
    "gather_kept": ([CONV, ("Gather", "c i", "y", {"axis": 2})], {"i": i64(3)}, {}),
    "pad": ([CONV, ("Pad", "c p", "d", {}), ("Relu", "d", "y", {})], {"p": i64(0, 1, 2, 0, 0, 0, 0, 3)}, {}),
    "pad_attribute": ([CONV, ("Pad", "c", "y", {"pads": [0, 0, 1, 0, 0, 2, 0, 0]})], {}, {"version": 10}),
    "depth_to_space": ([CONV, ("DepthToSpace", "c", "y", {"blocksize": 2})], {}, {}),
    "depth_to_space_crd": ([CONV, ("DepthToSpace", "c", "y", {"blocksize": 2, "mode": "CRD"})], {}, {}),
    "transposed": (
        [
            CONV,
            RELU,
            ("ConvTranspose", "r t", "y", {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]}),
        ],
        {"t": array(4, 2, 3, 3)},
        {},
    ),
    "shape_arithmetic": (
        [
            CONV,
            ("Shape", "c", "s", {}),
            ("Gather", "s zero", "n", {}),
            ("Unsqueeze", "n axis", "u", {}),
            ("Concat", "u rest", "t", {"axis": 0}),
            ("Reshape", "c t", "y", {}),
        ],
        {"zero": np.array(0, dtype=np.int64), "axis": i64(0), "rest": i64(-1)},
        {},
    ),
    "identity_dropout_cast": (
        [CONV, ("Identity", "c", "i", {}), ("Dropout", "i", "d", {}), ("Cast", "d", "y", {"to": TensorProto.FLOAT})],
        {},
        {},
    ),
    "dropout_not_in_training": (
        [CONV, ("Dropout", "c ratio off", "y mask", {})],
        {"ratio": np.float32(0.5), "off": np.bool_(False)},
        {},
    ),
    "dropout_of_nothing": (
        [CONV, ("Dropout", "c ratio on", "y", {})],
        {"ratio": np.float32(0), "on": np.bool_(True)},
        {},
    ),
    "resize_some_axes": (
        [CONV, ("Resize", "c  s", "y", {"mode": "nearest", "axes": [3, 2]})],
        {"s": np.float32([3, 2])},
        {"version": 19},
    ),
    "resize_some_axes_to_sizes": (
        [CONV, ("Resize", "c   s", "y", {"mode": "linear", "axes": [3]})],
        {"s": i64(12)},
        {"version": 18},
    ),
    "resize_one_pixel_in_one_axis": (
        [
            CONV,
            ("ReduceMean", "c", "m", {"axes": [2]}),
            ("Resize", "m  s", "y", {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}),
        ],
        {"s": np.float32([1, 1, 1, 2])},
        {},
    ),
    "reduce_no_axes": (
        [CONV, ("ReduceSum", "c axes", "y", {"noop_with_empty_axes": 1})],
        {"axes": np.zeros(0, dtype=np.int64)},
        {},
    ),
    "squeeze_all_of_a_batch_of_one": (
        [CONV, ("GlobalAveragePool", "c", "g", {}), ("Squeeze", "g", "s", {}), ("MatMul", "s v", "y", {})],
        {"v": array(4, 2)},
        {"shape": (1, 3, 8, 8)},
    ),
    "casts_between_floats": (
        [CONV, ("Cast", "c", "d", {"to": TensorProto.DOUBLE}), ("Cast", "d", "y", {"to": TensorProto.FLOAT})],
        {},
        {},
    ),
    "kernel_shape": ([("Conv", "x w b", "y", {"kernel_shape": [3, 3]})], {}, {}),
    "ceil_mode": (
        [CONV, RELU, ("MaxPool", "r", "y", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})],
        {},
        {},
    ),
    "fixed_batch": ([CONV, ("Reshape", "c s", "y", {})], {"s": i64(2, -1)}, {"shape": (2, 3, 8, 8)}),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spelling(name, tmp_path):
    nodes, weights, options = SPELLINGS[name]
    used = {"w": W, "b": B} if any("w" in n[1].split() for n in nodes) else {}
    used |= {"k": K} if AFTER in nodes else {}
    proto = model(nodes, **options, **used, **weights)
    network = convert_model(proto, tmp_path)
    x = RNG.standard_normal((2, *network.source.shape)).astype(np.float32)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    (got,) = outputs(network, torch.from_numpy(x).double())
    np.testing.assert_allclose(got.reshape(expected.shape).numpy(), expected, rtol=1e-4, atol=1e-4)


REFUSED = {
    "softmax": (
        [CONV, ("Softmax", "c", "s", {"axis": 1}), ("Conv", "s v", "y", {})],
        {"v": array(2, 4, 1, 1)},
        {},
        ["node1", "Softmax", "at the network's end"],
    ),
    "lstm": (
        [("LSTM", "x w2 r2", "y", {"hidden_size": 4})],
        {"w2": array(1, 16, 3), "r2": array(1, 16, 4)},
        {"shape": ("n", 2, 3)},
        ["LSTM", "time axis"],
    ),
    "product": (
        [CONV, ("Neg", "x", "n", {}), ("Conv", "n w b", "d", {}), ("Mul", "c d", "y", {})],
        {},
        {},
        ["neither"],
    ),
    "quantised_per_channel": (
        [CONV, ("QuantizeLinear", "c s z", "q", {"axis": 1}), ("DequantizeLinear", "q s z", "y", {"axis": 1})],
        {"s": np.abs(array(4)) + 0.1, "z": np.zeros(4, np.uint8)},
        {},
        ["node1", "QuantizeLinear", "per tensor"],
    ),
    "quantised_result": (
        [CONV, ("QuantizeLinear", "c s z", "q", {}), ("Add", "q q", "t", {}), ("Cast", "t", "y", {"to": 1})],
        {"s": np.float32(0.1), "z": np.uint8(0)},
        {},
        ["node2", "Add", "whole numbers"],
    ),
    "cast_to_whole_numbers": (
        [CONV, ("Cast", "c", "i", {"to": TensorProto.INT64}), ("Cast", "i", "y", {"to": TensorProto.FLOAT})],
        {},
        {},
        ["node1", "Cast", "INT64", "floating point"],
    ),
    "cast_to_truth": (
        [CONV, ("Cast", "c", "i", {"to": TensorProto.BOOL}), ("Cast", "i", "y", {"to": TensorProto.FLOAT})],
        {},
        {},
        ["node1", "Cast", "BOOL"],
    ),
    "cast_to_8_bits": (
        [CONV, ("Cast", "c", "i", {"to": TensorProto.FLOAT8E4M3FN}), ("Cast", "i", "y", {"to": TensorProto.FLOAT})],
        {},
        {"version": 19},
        ["node1", "Cast", "FLOAT8E4M3FN"],
    ),
    "dropout_in_training": (
        [CONV, ("Dropout", "c ratio on", "y", {})],
        {"ratio": np.float32(0.5), "on": np.bool_(True)},
        {},
        ["node1", "Dropout", "at random", "eval mode"],
    ),
    "dropout_mask": (
        [CONV, ("Dropout", "c", "d mask", {}), ("Cast", "mask", "m", {"to": 1}), ("Mul", "d m", "y", {})],
        {},
        {},
        ["node2", "Cast", "'mask'", "eval mode"],
    ),
    "statistics_of_the_batch": (
        [CONV, ("BatchNormalization", "c g h m v", "y p q", {"training_mode": 1})],
        {"g": array(4), "h": array(4), "m": array(4), "v": np.abs(array(4)) + 0.1},
        {},
        ["node1", "BatchNormalization", "statistics of the batch"],
    ),
    "statistics_of_the_batch_before_14": (
        [CONV, ("BatchNormalization", "c g h m v", "y p q r s", {})],
        {"g": array(4), "h": array(4), "m": array(4), "v": np.abs(array(4)) + 0.1},
        {"version": 9},
        ["node1", "BatchNormalization", "statistics of the batch"],
    ),
    "reduce_all_by_no_axes": (
        [CONV, ("ReduceSum", "c axes", "y", {})],
        {"axes": np.zeros(0, dtype=np.int64)},
        {},
        ["node1", "ReduceSum", "batch"],
    ),
    "resize_keeps_the_ratio": (
        [CONV, ("Resize", "c   s", "y", {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"})],
        {"s": i64(12, 18)},
        {"version": 18},
        ["node1", "Resize", "not_larger"],
    ),
    "squeeze_the_batch_of_one": (
        [
            CONV,
            ("ReduceMean", "c", "g", {"axes": [3]}),
            ("Squeeze", "g", "s", {}),
            ("ReduceMean", "s", "y", {"axes": [1]}),
        ],
        {},
        {"shape": (1, 3, 8, 8)},
        ["node3", "ReduceMean", "batch axis"],
    ),
    "window_in_the_padding": (
        [CONV, RELU, ("MaxPool", "r", "y", {"kernel_shape": [1, 1], "strides": [2, 2], "ceil_mode": 1})],
        {},
        {},
        ["node2", "MaxPool", "ceil_mode"],
    ),
    "random": ([CONV, ("RandomNormalLike", "c", "n", {}), ("Add", "c n", "y", {})], {}, {}, ["RandomNormalLike"]),
    "weights_from_input": ([CONV, ("Conv", "w c", "y", {})], {}, {}, ["Conv", "fixed weights"]),
    "batch": ([CONV, ("ReduceMean", "c", "y", {"axes": [0]})], {}, {}, ["ReduceMean", "batch"]),
    "everything": ([CONV, ("ReduceMean", "c", "y", {})], {}, {}, ["ReduceMean", "batch"]),
    "batch_reshape": ([CONV, ("Reshape", "c s", "y", {})], {"s": i64(5, -1)}, {}, ["Reshape", "batch"]),
    "batch_joined": ([CONV, ("Reshape", "c s", "y", {})], {"s": i64(-1, 12)}, {}, ["output y", "batch"]),
    "batch_transpose": ([CONV, ("Transpose", "c", "y", {})], {}, {}, ["output y", "batch"]),
    "constant": ([("Identity", "w", "y", {})], {}, {}, ["output y", "constant"]),
    "loop": ([("RandomNormalLike", "x", "y", {})], {}, {}, ["RandomNormalLike", "not supported"]),
    "two_inputs": ([("Add", "x x1", "y", {})], {}, {"inputs": 2}, ["takes 2 tensors"]),
    "no_batch": ([("Relu", "x", "y", {})], {}, {"shape": (5,)}, ["1 axes", "batch axis"]),
    "old": ([CONV, ("Relu", "c", "y", {})], {}, {"version": 6}, ["operator set 6", "opset_version"]),
    "bomb": (
        [("ConstantOfShape", "s", "z", {}), ("ReduceSum", "z", "t", {"keepdims": 0}), ("Add", "x t", "y", {})],
        {"s": i64(2**30, 2**30)},
        {},
        ["node0", "too many values"],
    ),
    "range_bomb": (
        [("Range", "a b d", "z", {}), ("ReduceSum", "z", "t", {"keepdims": 0}), ("Add", "x t", "y", {})],
        {"a": np.float32(0), "b": np.float32(2**40), "d": np.float32(1)},
        {},
        ["node0", "too many values"],
    ),
    "broadcast_bomb": (
        [("Add", "a b", "z", {}), ("ReduceSum", "z", "t", {"keepdims": 0}), ("Add", "x t", "y", {})],
        {"a": np.zeros((2**15, 1), np.float32), "b": np.zeros((1, 2**15), np.float32)},
        {},
        ["node0", "too many values"],
    ),
    "outer_bomb": (
        [("MatMul", "a b", "z", {}), ("ReduceSum", "z", "t", {"keepdims": 0}), ("Add", "x t", "y", {})],
        {"a": np.zeros((2**15, 1), np.float32), "b": np.zeros((1, 2**15), np.float32)},
        {},
        ["node0", "too many values"],
    ),
    "pad_bomb": ([CONV, ("Pad", "c p", "y", {})], {"p": i64(0, 0, 2**30, 2**30, 0, 0, 0, 0)}, {}, ["Pad", "more than"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name, tmp_path):
    nodes, weights, options, words = REFUSED[name]
    used = {"w": W, "b": B} if any("w" in n[1].split() for n in nodes) else {}
    with pytest.raises(UnsupportedError) as caught:
        convert_model(model(nodes, **options, **used, **weights), tmp_path)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert caught.value.fix


#: Attributes that mean nothing where an operator is accepted: of training, of other modes, of results that are refused.
MEANINGLESS = {
    "BatchNormalization": {"momentum"},
    "Cast": {"saturate", "round_mode"},
    "DequantizeLinear": {"axis", "block_size", "output_dtype"},
    "Dropout": {"ratio", "seed"},
    "MaxPool": {"storage_order"},
    "QuantizeLinear": {"axis", "block_size", "output_dtype", "precision", "saturate"},
    "Resize": {"extrapolation_value"},
    "Split": {"num_outputs"},
}


@pytest.mark.parametrize("operator", sorted(ONNX))
def test_every_attribute_of_every_operator_set_is_read_or_means_nothing(operator):
    known = {}
    for version in range(9, OPSETS.stop):  # older graphs are lifted
        try:
            known.update(onnx.defs.get_schema(operator, version).attributes)
        except onnx.defs.SchemaError:
            continue
    modules = (onnx_layers, onnx_curves, onnx_moves, onnx_resampling)
    source = "".join(Path(module.__file__).read_text() for module in modules)
    unread = {name for name in known if f'"{name}"' not in source}
    assert unread <= MEANINGLESS.get(operator, set())


def uint8_input(*nodes):
    proto = model(nodes, w=W, b=B)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return proto


def test_an_input_of_whole_numbers_is_cast_before_it_is_computed_with(tmp_path):
    turn, cast = ("Transpose", "x", "t", {"perm": [0, 1, 3, 2]}), ("Cast", "t", "f", {"to": TensorProto.FLOAT})
    network = convert_model(uint8_input(turn, cast, ("Conv", "f w b", "y", {})), tmp_path)
    x = torch.from_numpy(RNG.integers(0, 255, (2, 3, 8, 8))).double()
    expected = F.conv2d(x.mT, torch.from_numpy(W).double(), torch.from_numpy(B).double())
    torch.testing.assert_close(outputs(network, x)[0], expected)
    with pytest.raises(UnsupportedError, match="Add computes with whole numbers"):
        convert_model(
            uint8_input(turn, ("Add", "t t", "s", {}), ("Cast", "s", "y", {"to": TensorProto.FLOAT})), tmp_path
        )


def test_weights_of_bfloat16_are_widened(tmp_path):
    proto = plain()
    for tensor in proto.graph.initializer:
        exact = torch.from_numpy(numpy_helper.to_array(tensor).copy()).bfloat16()
        bits = exact.view(torch.int16).numpy().tobytes()
        tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.BFLOAT16, tensor.dims, bits, raw=True))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    proto.opset_import[0].version = 22
    x = torch.from_numpy(RNG.standard_normal((2, 3, 8, 8)))
    w, b = (torch.from_numpy(a).bfloat16().double() for a in (W, B))
    torch.testing.assert_close(outputs(convert_model(proto, tmp_path), x)[0], F.relu(F.conv2d(x, w, b)))


def test_a_kernel_shape_that_is_not_the_weights_is_refused(tmp_path):
    with pytest.raises(FormatError, match="kernel_shape"):
        convert_model(model([("Conv", "x w b", "y", {"kernel_shape": [1, 1]})], w=W, b=B), tmp_path)


def test_max_pool_with_asymmetric_padding(tmp_path):
    # onnx.reference swaps the axes' pads here, so PyTorch says what is right.
    pool = ("MaxPool", "r", "y", {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1]})
    network = convert_model(model([CONV, RELU, pool], w=W, b=B), tmp_path)
    x = torch.from_numpy(RNG.standard_normal((2, 3, 8, 8)))
    relu = F.relu(F.conv2d(x, torch.from_numpy(W).double(), torch.from_numpy(B).double()))
    torch.testing.assert_close(outputs(network, x)[0], F.max_pool2d(F.pad(relu, (0, 1, 1, 2)), 3, 1))


def plain():
    return model([CONV, ("Relu", "c", "y", {})], w=W, b=B)


def beside(proto, **entries):
    """Say of the first weights that they lie in another file."""
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return proto


def test_weights_in_a_file_beside_it_are_read(tmp_path):
    x = torch.from_numpy(RNG.standard_normal((2, 3, 8, 8)))
    inside = convert_model(plain(), tmp_path)
    onnx.save(plain(), tmp_path / "split.onnx", save_as_external_data=True, size_threshold=0)
    assert len(list(tmp_path.iterdir())) == 3
    split = read_onnx(tmp_path / "split.onnx")
    assert torch.equal(outputs(split, x)[0], outputs(inside, x)[0])
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "w.bin").write_bytes(b"1234" + W.tobytes() + b"rest")
    entries = {"location": "below/w.bin", "offset": 4, "length": W.nbytes}
    assert torch.equal(outputs(convert_model(beside(plain(), **entries), tmp_path), x)[0], outputs(inside, x)[0])


def test_the_hash_of_the_weights_covers_the_file_beside_it(tmp_path):
    hashes = set()
    for factor in (1, 2):
        (tmp_path / "w.bin").write_bytes((factor * W).tobytes())
        hashes.add(convert_model(beside(plain(), location="w.bin"), tmp_path).origin)
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "ABSOLUTE"}, "outside its folder"),
        ({"location": "../w.bin"}, "outside its folder"),
        ({"location": "below/../../w.bin"}, "outside its folder"),
        ({}, "outside its folder"),
        ({"location": "link.bin"}, "a link or no file"),
        ({"location": "linked/w.bin"}, "a link or no file"),
        ({"location": "loop"}, "in 'loop'"),
        ({"location": "huge.bin"}, "more than 2 GiB"),
        ({"location": "pipe"}, "a link or no file"),
        ({"location": "."}, "a link or no file"),
        ({"location": "missing.bin"}, "cannot read the weights 'w' in 'missing.bin'"),
        ({"location": "short.bin"}, "expected 432"),
        ({"location": "w.bin", "offset": 1}, "expected 432"),
        ({"location": "w.bin", "offset": -4, "length": 432}, "expected 432"),
        ({"location": "w.bin", "length": -1}, "expected 432"),
        ({"location": "w.bin", "length": 2**60}, "expected 432"),
        ({"location": "w.bin", "offset": "zero"}, "has no place"),
    ],
)
def test_weights_in_files_that_are_not_theirs_are_refused(tmp_path, entries, words):
    folder = tmp_path / "net"
    folder.mkdir()
    for place in (tmp_path / "w.bin", folder / "w.bin"):
        place.write_bytes(W.tobytes())
    (folder / "short.bin").write_bytes(W.tobytes()[:-1])
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    with (folder / "huge.bin").open("wb") as huge:
        huge.truncate(2**31 + 1)
    entries = {k: str(tmp_path / "w.bin") if v == "ABSOLUTE" else v for k, v in entries.items()}
    with pytest.raises(AdafireError, match=words):
        convert_model(beside(plain(), **entries), folder)


def test_one_file_is_not_asked_for_its_bytes_twice(tmp_path):
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    proto = beside(plain(), location="w.bin")
    for k in range(3):
        proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])
        proto.graph.initializer[-1].name = f"more{k}"
    with pytest.raises(FormatError, match="'more0' is bytes 0 to 432 of 432"):
        convert_model(proto, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_the_export_of_the_page(tmp_path, monkeypatch):
    """The line of docs/layers.md, run as it stands there."""
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs it")
    page = (Path(__file__).parents[2] / "docs" / "layers.md").read_text()
    line = re.search(r"`(torch\.onnx\.export\(.*\))`", page)[1]
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 5),
    )
    x = torch.randn(2, 3, 8, 8)
    monkeypatch.chdir(tmp_path)
    exec(line, {"torch": torch, "model": model, "x": x})  # noqa: S102 - our own page
    assert (tmp_path / "net.onnx.data").exists()
    torch.testing.assert_close(outputs(read_onnx("net.onnx"), x)[0], model(x).detach(), rtol=1e-4, atol=1e-4)


def test_operators_of_another_domain_are_refused(tmp_path):
    proto = plain()
    proto.graph.node[1].domain = "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(AdafireError, match=r"com\.example"):
        convert_model(proto, tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    broken = W.copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="'w' hold NaN"):
        convert_model(model([CONV, ("Relu", "c", "y", {})], w=broken, b=B), tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage that is no protobuf", b"\x08\x07"])
def test_a_file_that_is_no_graph_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"net\.onnx: is no"):
        read_onnx(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the graph"):
        read_onnx(tmp_path / "net.onnx")


@given(data=st.data())
@settings(max_examples=150)
def test_a_damaged_file_is_refused_or_read(tmp_path_factory, data):
    content = bytearray(plain().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    path.write_bytes(bytes(content))
    try:
        read_onnx(path)
    except AdafireError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("axes", [("n", "h", "w"), (-1, -1, -1), (0, "h", -1)])
def test_open_axes_need_an_input_shape(axes, tmp_path):
    batch, height, width = axes
    proto = model([CONV, ("Relu", "c", "y", {})], shape=(batch, 3, height, width), w=W, b=B)
    with pytest.raises(InputError, match="leaves axes of its input 'x' open"):
        convert_model(proto, tmp_path)
    assert convert_model(proto, tmp_path, (3, 6, 9)).source.shape == (3, 6, 9)
    with pytest.raises(InputError, match="was given"):
        convert_model(proto, tmp_path, (4, 6, 9))


@pytest.mark.filterwarnings("ignore")
def test_names_come_from_the_modules(tmp_path):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 3, 3, padding=1)
            self.bn1 = torch.nn.BatchNorm2d(3)
            self.conv2 = torch.nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x)))) + x)

    torch.manual_seed(0)
    net = torch.nn.Sequential(Block(), torch.nn.Sequential(Block()), torch.nn.Flatten(), torch.nn.Linear(192, 2))
    path = tmp_path / "net.onnx"
    torch.onnx.export(net.eval(), (torch.zeros(1, 3, 8, 8),), path, dynamo=False)
    network = read_onnx(path)
    assert [u.name for u in network.units] == ["input", "0.conv1", "0.conv2", "1.0.conv1", "1.0.conv2", "3"]
    module = read_module(net, (3, 8, 8)).origin
    counts = module.ann_macs, module.ann_macs_with_padding
    assert network.origin == Origin("onnx:main_graph", hashlib.sha256(path.read_bytes()).hexdigest(), *counts)
