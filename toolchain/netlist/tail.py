"""The tail of a network: what no neuron computes at its end, and the host does from the readouts."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

#: Samples that a tail may take at a time: bounds what a corrupted file can ask for.
_MOST_SAMPLES = 4096


@dataclass(frozen=True)
class Tail:
    """Softmax, decoding, selection and the like, from readouts to the network's own outputs.

    Parameters
    ----------
    readouts : tuple of str
        Whose values it takes, in the order of the model's inputs.
    outputs : tuple of str
        What the network calls its results, in the order of the model's outputs.
    operators : tuple of str
        The ONNX operators that it consists of, each once, in order of first use.
    batch : int
        Samples that it takes at a time: the extent of the batch axis that the network was read with.
    model : str
        An ONNX ModelProto in base64, every input of the shape (batch, ...); `toolchain.tail` reads and runs it.

    Raises
    ------
    ValueError
        When names are missing or taken twice, or `model` is no base64.
    """

    readouts: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]
    batch: int
    model: str

    def __post_init__(self) -> None:
        for names in (self.readouts, self.outputs):
            if not names or len(set(names)) != len(names):
                raise ValueError(f"names {names} found, expected at least one, each once")
        if not 1 <= self.batch <= _MOST_SAMPLES:
            raise ValueError(f"batch {self.batch} found, expected 1 to {_MOST_SAMPLES}")
        try:
            base64.b64decode(self.model, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"the model is no base64: {error}") from None

    @property
    def content(self) -> bytes:
        """The ONNX model's bytes."""
        return base64.b64decode(self.model)

    def __str__(self) -> str:
        return f"{', '.join(self.operators)} on the host: from {', '.join(self.readouts)} to {', '.join(self.outputs)}"
