"""From an ordinary nn.Module to the float network of populations and connections."""

from toolchain.convert.evaluate import activations, iterate, outputs
from toolchain.convert.modules import load_module, load_weights
from toolchain.convert.onnx_graph import convert_onnx
from toolchain.convert.pt2_file import convert_pt2
from toolchain.convert.read import read_network
from toolchain.convert.torch_graph import convert

__all__ = [
    "activations",
    "convert",
    "convert_onnx",
    "convert_pt2",
    "iterate",
    "load_module",
    "load_weights",
    "outputs",
    "read_network",
]
