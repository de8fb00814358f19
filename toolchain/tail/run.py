"""Running a tail: from readouts to the network's own outputs."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from toolchain.netlist import FormatError, InputError, Tail
from toolchain.tail.model import input_shapes, input_types, read_model

#: One output for every sample: stacked, (N, ...), or, where their shapes differ, a list of N arrays.
Final = np.ndarray | list[np.ndarray]


def run_tail(tail: Tail, readouts: Mapping[str, np.ndarray]) -> dict[str, Final]:
    """Compute the network's own outputs from its readouts, with ONNX's reference evaluator.

    Parameters
    ----------
    tail : Tail
    readouts : mapping of str to ndarray (N, *readout shape), floating point
        In the network's own units.

    Returns
    -------
    dict of str to ndarray (N, ...) or list of N ndarrays
        By the outputs' names; whole numbers stay whole. Of a network read with a batch of one, the batch axis is left
        out where it is there.

    Raises
    ------
    FormatError
        When the model is damaged, or fails on such values.
    InputError
        When readouts are missing or of another size, or an output mixes the samples of a batch.
    """
    model = read_model(tail)
    shapes, types = input_shapes(model), input_types(model)
    names = [i.name for i in model.graph.input]
    counts = [prod(shape) // tail.batch for shape in shapes]
    values = [_whole(name, readouts, count) for name, count in zip(tail.readouts, counts, strict=True)]
    samples = len(values[0])
    evaluator = ReferenceEvaluator(model)
    alone = [_is_batched(o, tail.batch) for o in model.graph.output]
    found: list[list[np.ndarray]] = [[] for _ in tail.outputs]
    for start in range(0, samples, tail.batch):
        feeds = {
            name: _batch(value, start, tail.batch).reshape(shape).astype(dtype)
            for name, value, shape, dtype in zip(names, values, shapes, types, strict=True)
        }
        try:
            results = [np.asarray(r) for r in evaluator.run(None, feeds)]
        except Exception as error:  # whatever an operator of a damaged model raises
            raise FormatError("tail", f"cannot be computed: {error}", "convert the network again") from error
        for name, result, batched, each in zip(tail.outputs, results, alone, found, strict=True):
            each += _samples(name, result, tail.batch, batched)[: samples - start]
    return {name: _stacked(each) for name, each in zip(tail.outputs, found, strict=True)}


def _whole(name: str, readouts: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    if name not in readouts:
        raise InputError("readouts", f"{', '.join(readouts)} found, the tail takes {name}")
    value = readouts[name]
    if prod(value.shape[1:]) != count:
        raise InputError(name, f"values of shape {value.shape[1:]} found, the tail takes {count} a sample")
    return value


def _is_batched(output: onnx.ValueInfoProto, batch: int) -> bool:
    """Return whether the first axis of an output is the batch's, by what the model says of its shape."""
    axes = output.type.tensor_type.shape.dim
    return len(axes) > 0 and axes[0].dim_value == batch


def _batch(value: np.ndarray, start: int, batch: int) -> np.ndarray:
    """Return `batch` samples; behind the last one it is repeated."""
    return value[np.minimum(np.arange(start, start + batch), len(value) - 1)]


def _samples(name: str, result: np.ndarray, batch: int, batched: bool) -> list[np.ndarray]:
    """Take a result apart into what belongs to each sample."""
    if not batched and batch == 1:
        return [result]  # the graph drops the batch axis of one, or selects
    if not result.ndim or len(result) != batch:
        raise InputError(name, f"a result of shape {result.shape} found for {batch} samples, which mixes them")
    return list(result)


def _stacked(each: list[np.ndarray]) -> Final:
    return np.stack(each) if len({e.shape for e in each}) == 1 else each
