"""Which task a network has: as it is named, or as the shape of its outputs says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from toolchain.data import Truth
from toolchain.netlist import InputError, Shape, Tail, TaskName
from toolchain.tasks.decoder import Decoder
from toolchain.tasks.scored_task import Classification, Detection, PointClasses, Regression, ScoredTask, Segmentation


def choose_task(
    name: TaskName | None,
    outputs: Mapping[str, Shape],
    *,
    input_shape: Shape,
    tail: Tail | None = None,
    readout: str | None = None,
    decode: Decoder | None = None,
) -> ScoredTask | None:
    """Bind a task to a network's outputs.

    Parameters
    ----------
    name : TaskName, optional
        By default classification, where an output is a list of classes.
    outputs : mapping of str to tuple of int
        Shape of each, without the batch axis.
    input_shape : tuple of int
        Of a sample.
    tail : Tail, optional
        What the host makes of the outputs.
    readout : str, optional
        The output that is scored; by default the only one.
    decode : Decoder, optional
        Makes boxes of the outputs.

    Returns
    -------
    ScoredTask or None
        None where nothing says which output is scored, or how boxes are made.

    Raises
    ------
    InputError
        When the outputs are none that the task has, there is no such output, or `decode` has nothing to do.
    """
    if readout is not None and readout not in outputs:
        raise InputError("readout", f"{readout!r} found, expected one of {', '.join(outputs)}")
    if name == "detection":
        if readout is not None:
            raise InputError("readout", f"{readout!r} found, detection scores what `decode` makes of all outputs")
        return None if decode is None else Detection(name, None, decode, tail, input_shape)
    if decode is not None:
        raise InputError("decode", f"{decode.name} found, it makes boxes", "convert with `task` detection")
    if name == "regression" and tail is not None:
        if len(tail.outputs) > 1:
            advice = "end the network at one of its layers with `outputs`"
            raise InputError("task", f"regression found for outputs {', '.join(tail.outputs)}, expected one", advice)
        return Regression(name, None, tail, tail.outputs[0])
    chosen = readout if readout is not None or len(outputs) > 1 else next(iter(outputs))
    if chosen is None:
        return None
    return _bound(name, chosen, outputs[chosen], input_shape, named=readout is not None)


def _bound(name: TaskName | None, output: str, shape: Shape, input_shape: Shape, *, named: bool) -> ScoredTask | None:
    match name, shape:
        case ((None | "classification"), (classes,)):
            return Classification("classification", output, _classes(classes))
        case "points", (classes,):
            return Classification(name, output, _classes(classes))
        case "points", (channels, points) if points == input_shape[-1]:
            return PointClasses(name, output, _classes(channels), (points,))
        case "segmentation", (channels, height, width):
            return Segmentation(name, output, _classes(channels), (height, width))
        case "regression", _:
            return Regression(name, output, None, output)
        case None, _ if not named:
            return None
        case None, _:
            raise InputError("readout", f"{output!r} of shape {shape} found, accuracy needs a list of classes")
    expected = {
        "classification": "a list of classes (classes,)",
        "points": f"a list of classes (classes,), or one per point (classes, {input_shape[-1]})",
        "segmentation": "classes per pixel (classes, H, W), or one channel of which two are decided at 0",
    }
    raise InputError(
        "task",
        f"{name} found for output {output!r} of shape {shape}, expected {expected[name or '']}",
        "end the network where it says so with `outputs`, classes on the first axis, or name another `task`",
    )


def _classes(channels: int) -> int:
    """Return on how many classes so many logits decide: a single one on two."""
    return max(2, channels)


def why_unscored(task: ScoredTask | None, name: TaskName | None, outputs: Mapping[str, Shape], truth: Truth) -> str:
    """Say why there is no score.

    Parameters
    ----------
    task : ScoredTask or None
        As `choose_task` returned it.
    name : TaskName or None
        As it was asked for.
    outputs : mapping of str to tuple of int
    truth : Truth
        What is known.
    """
    if task is not None:
        return f"no {_words(task.needs)}"
    known = [_words(f.name) for f in fields(truth) if getattr(truth, f.name) is not None]
    if name == "detection":
        fix = "name with `decode` the code that makes them of the outputs"
        return "no boxes" if truth.boxes is None else f"boxes not scored: {fix}"
    if not known:
        return "no labels"
    if len(outputs) > 1:
        return f"{known[0]} not scored: name the readout that they are for, one of {', '.join(outputs)}"
    (shape,) = outputs.values()
    return f"{known[0]} not scored: a readout of shape {shape} is no list of classes, and no `task` was named"


def _words(key: str) -> str:
    return key.replace("_", " ")
