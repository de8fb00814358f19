"""Reading: from an ordinary nn.Module, an ONNX file or a file of torch.export to the float network."""

from toolchain.frontend.from_onnx import read_onnx
from toolchain.frontend.from_torch import load_module, load_weights, read_module, read_pt2
from toolchain.frontend.inputs import Given
from toolchain.frontend.read import read_network

__all__ = [
    "Given",
    "load_module",
    "load_weights",
    "read_module",
    "read_network",
    "read_onnx",
    "read_pt2",
]
