"""One entry for every way a trained network can be given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolchain.frontend.from_onnx import read_onnx
from toolchain.frontend.from_torch import load_module, load_weights, read_module, read_pt2
from toolchain.frontend.inputs import Given
from toolchain.netlist import InputError
from toolchain.network import FloatNetwork

#: Readers of files that hold a network with its weights, by ending.
FILES = {".onnx": read_onnx, ".pt2": read_pt2}

_WEIGHTS = ("is a file of weights", "name what makes the module, path/to/file.py:callable, and this file as `weights`")
_TENSORFLOW = ("is a file of TensorFlow", "write an .onnx file of it, as tf2onnx does")
#: Files that are taken for networks, what they are, and what to do.
_OTHERS = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".safetensors", ".bin"), _WEIGHTS),
    **dict.fromkeys((".tflite", ".pb", ".h5", ".keras"), _TENSORFLOW),
}


def read_network(
    spec: str, weights: str | Path | None, input_shape: Given, outputs: Sequence[str] = ()
) -> FloatNetwork:
    """Read the network that `spec` names.

    Parameters
    ----------
    spec : str
        ``package.module:callable``, ``path/to/file.py:callable``, or a ``.onnx`` or ``.pt2`` file.
    weights : str or Path, optional
        For a callable: the file to load into its module. The files hold their weights themselves.
    input_shape : Given
        What the data hold: samples of one shape, without the batch axis, or parts for several inputs.
    outputs : sequence of str
        Where the network ends, if not at its own outputs: names of tensors or nodes of an ONNX graph, paths of modules.

    Raises
    ------
    InputError, UnsupportedError, FormatError
        As `load_module`, `load_weights`, `read_module`, `read_onnx` and `read_pt2` do.
    """
    ending = Path(spec).suffix
    if ending in _OTHERS:
        raise InputError(spec, *_OTHERS[ending])
    reader = FILES.get(ending)
    if reader is not None:
        if weights is not None:
            raise InputError("weights", f"{weights} found, but {spec} holds its own", "leave `weights` out")
        return reader(spec, input_shape, outputs)
    module = load_module(spec)
    if weights is not None:
        load_weights(module, weights)
    return read_module(module, input_shape, outputs)
