"""How well a netlist does what it is for, on one data set: what every command says of it, and in which words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from toolchain.netlist import Score, StageScores, TaskName, TaskRecord
from toolchain.tasks.interval import score_interval, score_text

#: Classes that a table shows one by one.
_SHOWN_CLASSES = 24


def measure_text(name: str) -> str:
    """Write a measure's name, as JSON has it, for people."""
    return name.replace("50_95", "50-95").replace("_", " ")


def _all(score: Score) -> dict[str, float]:
    return {score.measure: score.value, **score.further}


@dataclass(frozen=True)
class Outcome:
    """The score of a run, and what it is to be seen beside.

    Parameters
    ----------
    task : TaskName or None
        What the netlist is for; None where nothing says so.
    classes : tuple of str or None
        What its classes are called.
    readout : str or None
        Whose decisions are scored; None of boxes, and where nothing is scored.
    unscored : str or None
        Why there is no score.
    score : Score or None
        At the last timestep (at its own exit for early exit); None where `unscored` says why.
    by_timestep : tuple of float
        The score at each answer of the netlist; empty likewise, for early exit, and for digits, whose answer is the
        last.
    ann : Score or None
        Of the network that it was converted from, on the same samples, where that was measured.
    """

    task: TaskName | None = None
    classes: tuple[str, ...] | None = None
    readout: str | None = None
    unscored: str | None = None
    score: Score | None = None
    by_timestep: tuple[float, ...] = ()
    ann: Score | None = None

    @property
    def measure(self) -> str:
        """What the score is called; "accuracy" where there is none."""
        return "accuracy" if self.score is None else self.score.measure

    @property
    def accuracy(self) -> float | None:
        """The score, where it is an accuracy."""
        return None if self.score is None or self.measure != "accuracy" else self.score.value

    @classmethod
    def of_stages(cls, record: TaskRecord | None, stages: StageScores | None) -> Outcome:
        """Return what a conversion measured of its netlist, beside the ANN."""
        known = cls() if record is None else cls(record.name, record.classes)
        if stages is None:
            return known
        return replace(known, score=stages.integer_snn, by_timestep=stages.by_timestep, ann=stages.ann)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values; `accuracy` and what belongs to it only of accuracies."""
        score, ends = self.score, score_interval(self.score)
        return {
            "task": self.task,
            "measure": None if score is None else score.measure,
            "score": None if score is None else score.value,
            "scores": {} if score is None else _all(score),
            "score_by_timestep": list(self.by_timestep),
            "ann_score": None if self.ann is None else self.ann.value,
            "ann_scores": {} if self.ann is None else _all(self.ann),
            "per_class": {} if score is None else {name: list(v) for name, v in score.per_class.items()},
            "classes": None if self.classes is None else list(self.classes),
            "interval": None if ends is None else list(ends),
            "readout": self.readout,
            "unscored": self.unscored,
            "accuracy": self.accuracy,
            "accuracy_by_timestep": list(self.by_timestep) if self.accuracy is not None else [],
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the lines of a table: what it is, and how much."""
        of = "" if self.readout is None else f" of {self.readout}"
        yield f"{self.measure}{of}", self.unscored or "not measured" if self.score is None else score_text(self.score)
        if self.score is None:
            return
        for name, value in self.score.further.items():
            yield measure_text(name), f"{value:.2%}"
        for t, value in enumerate(self.by_timestep, start=1):
            yield f"  at timestep {t}", f"{value:.2%}"
        if self.ann is not None:
            yield f"{self.measure} of the ANN", f"{self.ann.value:.2%}"
        yield from self.class_rows()

    def class_rows(self) -> Iterator[tuple[str, str]]:
        """Yield a line per class that occurs, of the first measure per class, where they are not too many."""
        for measure, values in [*(self.score.per_class if self.score is not None else {}).items()][:1]:
            found = [(n, v) for n, v in enumerate(values) if v is not None]
            if len(found) <= _SHOWN_CLASSES:
                yield from ((f"  {measure_text(measure)} of {self.class_name(n)}", f"{v:.2%}") for n, v in found)

    def class_name(self, label: int) -> str:
        """Return what a class is called."""
        known = self.classes or ()
        return known[label] if label < len(known) else f"class {label}"
