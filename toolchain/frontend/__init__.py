"""Reading: from an ordinary nn.Module, an ONNX file or a file of torch.export to the float network."""

from toolchain.frontend.from_onnx.graph import read_onnx
from toolchain.frontend.from_torch.graph import read_module
from toolchain.frontend.from_torch.modules import load_module, load_weights
from toolchain.frontend.from_torch.pt2_file import read_pt2
from toolchain.frontend.read import read_network

__all__ = [
    "load_module",
    "load_weights",
    "read_module",
    "read_network",
    "read_onnx",
    "read_pt2",
]
