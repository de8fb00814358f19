"""The demo: handwritten digits through every stage."""

from toolchain.demo.digits import digits_cnn, run_demo

__all__ = ["digits_cnn", "run_demo"]
