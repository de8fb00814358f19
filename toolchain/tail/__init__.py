"""What the host computes from readouts: the ends of networks that no neuron computes, as ONNX."""

from toolchain.tail.model import HOST_OPERATORS, make_tail
from toolchain.tail.run import Final, run_tail

__all__ = ["HOST_OPERATORS", "Final", "make_tail", "run_tail"]
