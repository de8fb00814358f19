"""What a network is for: which truth its outputs are held against, and which score counts.

A task is bound to the outputs of one network, the same for the ANN and for what it was converted to: values by the name
of the output, (N, *shape) in the network's own units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.data import VOID, Truth
from toolchain.netlist import InputError, Shape, Tail, TaskName
from toolchain.tail import run_tail
from toolchain.tasks.confusion import Confusion
from toolchain.tasks.decoder import Decoder
from toolchain.tasks.detections import Detected, Detections
from toolchain.tasks.explained import Explained
from toolchain.tasks.hits import Hits, decide
from toolchain.tasks.parts import Parts
from toolchain.tasks.tally import Tally

#: Outputs by name, (N, *shape).
Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ScoredTask(ABC):
    """A task, bound to a network's outputs.

    Parameters
    ----------
    name : TaskName
    readout : str or None
        The output whose decisions are scored; None where all outputs are.
    """

    name: TaskName
    readout: str | None
    #: What is true of samples that it needs: the key of a data file.
    needs: ClassVar[str]
    #: What the score is called.
    measure: ClassVar[str]
    #: Whether its outputs decide on classes.
    decides: ClassVar[bool] = True
    #: Why no sample can stop early; None where it can.
    no_early_exit: ClassVar[str | None] = None

    def is_known(self, truth: Truth) -> bool:
        """Whether what it needs is there."""
        return getattr(truth, self.needs) is not None

    @abstractmethod
    def check(self, where: str, truth: Truth) -> None:
        """Raise InputError, which names `where`, unless the outputs can be held against what is true."""

    @abstractmethod
    def tally(self, values: Outputs, truth: Truth) -> Tally:
        """Hold the outputs of samples against what is true of them, which `check` took."""

    @abstractmethod
    def decisions(self, values: Outputs) -> np.ndarray | None:
        """Return the class of each sample, pixel or point, (N, ...) int64; None where there is no such thing."""


@dataclass(frozen=True)
class Classification(ScoredTask):
    """One class per sample.

    Parameters
    ----------
    classes : int
    """

    classes: int
    needs: ClassVar[str] = "labels"
    measure: ClassVar[str] = "accuracy"

    def check(self, where: str, truth: Truth) -> None:
        """Raise InputError unless there is a class of this network per sample."""
        assert truth.labels is not None
        _check_classes(where, self.needs, truth.labels, self.classes)

    def tally(self, values: Outputs, truth: Truth) -> Tally:
        """Count right decisions."""
        assert self.readout is not None
        assert truth.labels is not None
        return Hits.count(values[self.readout], truth.labels)

    def decisions(self, values: Outputs) -> np.ndarray | None:
        """Return a class per sample."""
        assert self.readout is not None
        return decide(values[self.readout])


@dataclass(frozen=True)
class DenseClasses(ScoredTask):
    """A class per pixel or per point: outputs (channels, *places), of which a single channel decides between two.

    Parameters
    ----------
    classes : int
    places : tuple of int
        (H, W) or (P,).
    """

    classes: int
    places: Shape
    measure: ClassVar[str] = "mIoU"

    def decisions(self, values: Outputs) -> np.ndarray | None:
        """Return a class per place."""
        assert self.readout is not None
        return decide(np.moveaxis(values[self.readout], 1, -1))

    def _check(self, where: str, found: np.ndarray, advice: str) -> None:
        if found.shape[1:] != self.places:
            raise InputError(
                where,
                f"{self.needs} of shape {found.shape[1:]} found, output {self.readout!r} decides on {self.places}",
                advice,
            )
        if not (found != VOID).any():
            raise InputError(where, f"{self.needs} hold {VOID} only, which is not counted")
        _check_classes(where, self.needs, found, self.classes)


@dataclass(frozen=True)
class Segmentation(DenseClasses):
    """A class per pixel."""

    needs: ClassVar[str] = "masks"
    no_early_exit: ClassVar[str] = "a picture stops on one decision, and each pixel makes its own"

    def check(self, where: str, truth: Truth) -> None:
        """Raise InputError unless there are masks of the output's size and of this network's classes."""
        assert truth.masks is not None
        self._check(where, truth.masks, "resize the masks, or let the network upsample its output to their size")

    def tally(self, values: Outputs, truth: Truth) -> Tally:
        """Count pixels."""
        predicted = self.decisions(values)
        assert predicted is not None
        assert truth.masks is not None
        return Confusion.count(predicted, truth.masks, self.classes)


@dataclass(frozen=True)
class PointClasses(DenseClasses):
    """A class per point of a cloud."""

    needs: ClassVar[str] = "point_labels"
    no_early_exit: ClassVar[str] = "a cloud stops on one decision, and each point makes its own"

    def check(self, where: str, truth: Truth) -> None:
        """Raise InputError unless there is a class of this network per point."""
        assert truth.point_labels is not None
        self._check(where, truth.point_labels, "give as many points a cloud as the network takes")

    def tally(self, values: Outputs, truth: Truth) -> Tally:
        """Count points, cloud by cloud."""
        predicted = self.decisions(values)
        assert predicted is not None
        assert truth.point_labels is not None
        return Parts.count(predicted, truth.point_labels, self.classes, truth.labels)


@dataclass(frozen=True)
class Detection(ScoredTask):
    """Boxes, made of all outputs.

    Parameters
    ----------
    decode : Decoder
    tail : Tail or None
        What the host computes first: `decode` takes the network's own outputs.
    input_shape : tuple of int
    """

    decode: Decoder
    tail: Tail | None
    input_shape: Shape
    needs: ClassVar[str] = "boxes"
    measure: ClassVar[str] = "mAP50"
    no_early_exit: ClassVar[str] = "a picture stops on one decision, and a detector makes one for every box"

    def check(self, where: str, truth: Truth) -> None:
        """Raise InputError unless there is a box, and code that makes some."""
        assert truth.boxes is not None
        _ = self.decode.function
        if not len(truth.boxes):
            raise InputError(where, "no box found in any sample, average precision needs one")

    def tally(self, values: Outputs, truth: Truth) -> Tally:
        """Decode, and keep the boxes."""
        assert truth.boxes is not None
        return Detections.collect(self.detect(values), truth.boxes)

    def detect(self, values: Outputs) -> list[Detected]:
        """Return what is detected in each sample."""
        samples = len(next(iter(values.values())))
        final = dict(values) if self.tail is None else run_tail(self.tail, values)
        return self.decode(final, samples, self.input_shape)

    def decisions(self, values: Outputs) -> np.ndarray | None:
        """Return None: boxes are no classes of places that both networks share."""
        del values
        return None


@dataclass(frozen=True)
class Regression(ScoredTask):
    """Values: what the network says itself, behind what the host computes.

    Parameters
    ----------
    tail : Tail or None
        What the host computes, of which `output` is one.
    output : str
    """

    tail: Tail | None
    output: str
    needs: ClassVar[str] = "targets"
    measure: ClassVar[str] = "R2"
    decides: ClassVar[bool] = False
    no_early_exit: ClassVar[str] = "a sample stops on one decision, and values are none"

    def check(self, where: str, truth: Truth) -> None:
        """Raise InputError where the same is true of all samples, of which nothing can be explained."""
        assert truth.targets is not None
        channels = truth.targets.reshape(len(truth.targets), *truth.targets.shape[1:2] or (1,), -1)
        if not np.ptp(channels, axis=(0, 2)).any():
            raise InputError(where, "the same targets found for all samples, R2 needs some that vary")

    def tally(self, values: Outputs, truth: Truth) -> Tally:
        """Compare values; axes of extent 1 are of no account."""
        assert truth.targets is not None
        final = values if self.tail is None else run_tail(self.tail, values)
        found, targets = np.asarray(final[self.output]), truth.targets
        shapes = [tuple(n for n in x.shape[1:] if n != 1) for x in (found, targets)]
        if shapes[0] != shapes[1]:
            expected = f"output {self.output!r} has {found.shape[1:]}"
            raise InputError("targets", f"targets of shape {targets.shape[1:]} found, {expected}")
        found = found.reshape(len(found), -1) if found.ndim < 3 else found
        return Explained.count(found, targets.reshape(found.shape))

    def decisions(self, values: Outputs) -> np.ndarray | None:
        """Return None: values are no classes."""
        del values
        return None


def _check_classes(where: str, name: str, found: np.ndarray, classes: int) -> None:
    counted = found if name == "labels" else found[found != VOID]
    if counted.size and (counted.min() < 0 or counted.max() >= classes):
        low, high = int(counted.min()), int(counted.max())
        raise InputError(where, f"{name} {low} to {high} found, expected 0 to {classes - 1}")
