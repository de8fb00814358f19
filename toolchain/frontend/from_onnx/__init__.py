"""Networks from ONNX files."""

from toolchain.frontend.from_onnx.graph import ONNX, OPSETS, read_onnx

__all__ = ["ONNX", "OPSETS", "read_onnx"]
