"""What ANN and SNN say of samples, side by side: a table of pictures, each in words as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.data import VOID, Truth
from toolchain.report.pictures.gallery import Said, Shown
from toolchain.report.pictures.paint import address, boxed, colour, covered, photograph, scattered
from toolchain.tasks import Detected

#: Boxes of less confidence are not drawn.
LEAST_CONFIDENCE = 0.3
#: Classes that a legend names.
_MOST_NAMED = 24


@dataclass(frozen=True)
class Panel:
    """A picture with what it shows in words, a line below it, and whether that is right, where anybody knows."""

    picture: str | None
    alt: str
    text: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Pictures:
    """The table: a heading per column, a title and cells per row, the classes with their colours, a note."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    legend: tuple[tuple[str, str], ...]
    note: str


def draw(gallery: Sequence[Shown], names: Sequence[str] | None = None) -> Pictures | None:
    """Draw what a run kept; None where it kept nothing.

    Parameters
    ----------
    gallery : sequence of Shown
    names : sequence of str, optional
        Of the classes.
    """
    if not gallery:
        return None
    artist = _Artist(tuple(names or ()))
    columns = ["truth", *(["ANN"] if gallery[0].ann is not None else []), *(f"SNN, t = {t}" for t in gallery[0].snn)]
    rows = tuple((f"sample {shown.position}", tuple(artist.cells(shown))) for shown in gallery)
    boxes = any(said.detected is not None for shown in gallery for said in shown.snn.values())
    notes = [f"Boxes of at least {LEAST_CONFIDENCE:.0%} confidence."] if boxes else []
    if gallery[0].is_frames:
        notes.append("Events as far as they had come by then; orange rose, blue fell.")
    return Pictures(tuple(columns), rows, artist.legend(), " ".join(notes))


class _Artist:
    """Draws cells, and remembers which classes it drew in colours."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.coloured: set[int] = set()

    def name(self, label: int) -> str:
        return self.names[label] if label < len(self.names) else f"class {label}"

    def legend(self) -> tuple[tuple[str, str], ...]:
        return tuple((self.name(label), colour(label)) for label in sorted(self.coloured)[:_MOST_NAMED])

    def cells(self, shown: Shown) -> list[Panel]:
        """Return the cells of one sample: what is true, then what each network says."""
        true, last = _true(shown.truth), max(shown.snn)
        networks = [("ANN", shown.ann, last)] if shown.ann is not None else []
        networks += [(f"SNN, timestep {t}", said, t) for t, said in shown.snn.items()]
        return [self.truth(shown, true), *(self.cell(shown, *each, true) for each in networks)]

    def truth(self, shown: Shown, true: Said | None) -> Panel:
        """Return the sample with what is true of it, or as it is."""
        if true is None:
            return Panel(_address(_portrait(shown)), "the sample", "not known")
        return replace(self.cell(shown, "truth", true, max(shown.snn), None), right=None)

    def cell(self, shown: Shown, who: str, said: Said, timestep: int, true: Said | None) -> Panel:
        """Return what one network says."""
        if said.detected is not None:
            return self._boxes(shown, who, said.detected)
        assert said.classes is not None
        known = None if true is None else true.classes
        if said.classes.ndim:
            return self._places(shown, who, said.classes, known)
        label = int(said.classes)
        # A held picture is shown once; of events, what each timestep has seen by then.
        picture = _portrait(shown, timestep) if shown.is_frames or who == "truth" else None
        right = None if known is None else bool(label == known)
        return Panel(_address(picture), f"{who}: {self.name(label)}", self.name(label), right)

    def _boxes(self, shown: Shown, who: str, found: Detected) -> Panel:
        sure = found.scores >= LEAST_CONFIDENCE
        boxes, labels = found.boxes[sure], found.labels[sure]
        self.coloured |= {int(label) for label in labels}
        height, width = shown.values.shape[1:]
        picture = boxed(photograph(shown.values), boxes, labels, (height, width))
        said = ", ".join(f"{count} × {self.name(label)}" for label, count in sorted(Counter(labels.tolist()).items()))
        return Panel(_address(picture), f"{who}: {said or 'no boxes'}", said or "no boxes")

    def _places(self, shown: Shown, who: str, classes: np.ndarray, true: np.ndarray | None) -> Panel:
        """Return classes of pixels over the picture, or of points in colours."""
        counted = classes != VOID
        self.coloured |= {int(label) for label in np.unique(classes[counted])}
        if classes.ndim == 1:
            picture = scattered(shown.values[:, counted], classes[counted])
        else:
            picture = covered(photograph(shown.values), classes, VOID)
        most = Counter(classes[counted].tolist()).most_common(3)
        shares = ", ".join(f"{count / counted.sum():.0%} {self.name(label)}" for label, count in most)
        text = "" if true is None else f"{_right(classes, true):.1%} right"
        return Panel(_address(picture), f"{who}: {shares}", text)


def _right(classes: np.ndarray, true: np.ndarray) -> float:
    counted = true != VOID
    return float((classes == true)[counted].mean()) if counted.any() else 0.0


def _true(truth: Truth) -> Said | None:
    """Return what is true of one sample as if somebody said it."""
    if truth.boxes is not None:
        return Said(
            detected=Detected(truth.boxes.boxes.astype(np.float64), np.ones(len(truth.boxes)), truth.boxes.labels)
        )
    for known in (truth.masks, truth.point_labels, truth.labels):
        if known is not None:
            return Said(classes=np.asarray(known[0], np.int64))
    return None


def _portrait(shown: Shown, timestep: int | None = None) -> np.ndarray | None:
    """Show a sample itself; of frames, all up to a timestep; None of one that is a list of numbers."""
    values = shown.values[:timestep].astype(np.float64).sum(axis=0) if shown.is_frames else shown.values
    if values.ndim == 2:
        return scattered(values) if values.shape[0] == 3 else photograph(values[None])
    if values.ndim == 4:
        values = values.max(axis=1)  # of a volume, as it looks from one side
    return photograph(values) if values.ndim == 3 else None


def _address(picture: np.ndarray | None) -> str | None:
    return None if picture is None else address(picture)
