"""Provenance of what a network is for, and of how well it does that at each stage of a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from toolchain.netlist.json_records import dump, load, load_fields

#: What a network can be for.
TaskName = Literal["classification", "segmentation", "detection", "points", "regression"]


@dataclass(frozen=True)
class TaskRecord:
    """What a network is for, as it was said when it was converted.

    Parameters
    ----------
    name : {"classification", "segmentation", "detection", "points", "regression"}
    classes : tuple of str or None
        What its classes are called.
    decode : str or None
        Which code of the user's made boxes of its outputs. It is told, and never run unless it is named again.
    """

    name: TaskName
    classes: tuple[str, ...] | None = None
    decode: str | None = None


@dataclass(frozen=True)
class Score:
    """How good predictions are (`toolchain.tasks` defines the measures).

    Parameters
    ----------
    measure : str
        "accuracy", "mIoU", "mAP50" or "R2": what `value` is.
    value : float
        0 to 1; R2 may be negative.
    further : mapping of str to float
        Other measures of the same predictions.
    per_class : mapping of str to tuple of float or None
        By measure, one per class; None for a class that does not occur.
    samples : int or None
        Of how many independent samples `value` is a share; None where it is none.
    """

    measure: str
    value: float
    further: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    samples: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; what a class lacks is null."""
        own = {"measure": self.measure, "value": self.value, "samples": self.samples}
        return {**own, "further": dict(self.further), "per_class": {k: list(v) for k, v in self.per_class.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Score:
        """Read `to_json`; raise ValueError where it is something else."""
        found: Score = load_fields(cls, value)
        return found


@dataclass(frozen=True)
class StageScores:
    """The score at each stage of a conversion: spikes come with the second, rounding with the third.

    Calibration works on the rounded network, and its corrections are in the float SNN too. With 8-bit weights that is
    of no account; with few bits they make up for a rounding that the float SNN does not have, and it may do worse than
    the netlist.

    Parameters
    ----------
    data : str
        The file's name.
    data_sha256 : str
        Of the samples that were used, as stored, and what is true of them.
    samples : int
    ann : Score
        Of the original network.
    float_snn : Score
        Of the spiking network at the last timestep, in real numbers (`toolchain.network.float_snn`).
    integer_snn : Score
        Of the netlist at the last timestep.
    by_timestep : tuple of float
        Of the netlist at each of its answers; older versions did not keep them.
    input_clips : int or None
        Values that left the input's range and were clipped; older versions did not count.
    """

    data: str
    data_sha256: str
    samples: int
    ann: Score
    float_snn: Score
    integer_snn: Score
    by_timestep: tuple[float, ...] = ()
    input_clips: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; accuracies also, or, where that says all, only as ever."""
        stages = self.stages
        plain = all(score == Score("accuracy", score.value, samples=self.samples) for score in stages.values())
        scores = {
            "scores": {name: dump(score) for name, score in stages.items()},
            "by_timestep": list(self.by_timestep),
        }
        counted = {} if self.input_clips is None else {"input_clips": self.input_clips}
        shares = {} if self.ann.measure != "accuracy" else {"accuracy": {k: s.value for k, s in stages.items()}}
        return {
            **counted,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "samples": self.samples,
            **shares,
            **({} if plain and not self.by_timestep else scores),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageScores:
        """Read `to_json` of this version or an older one; raise ValueError where it is something else."""
        rest = {name: part for name, part in value.items() if name not in ("accuracy", "scores")}
        if "scores" in value:
            stages = load(Mapping[str, Score], value["scores"])
        else:
            shares, samples = load(Mapping[str, float], value["accuracy"]), load(int, value["samples"])
            stages = {name: Score("accuracy", share, samples=samples) for name, share in shares.items()}
        if stages.keys() != {"ann", "float_snn", "integer_snn"}:
            raise ValueError(f"stages {sorted(stages)} found")
        plain = {name: load(hint, rest.pop(name)) for name, hint in _PLAIN.items() if name in rest}
        if rest:
            raise ValueError(f"{sorted(rest)} found, expected {sorted(_PLAIN)}")
        return cls(**plain, **stages)

    @property
    def stages(self) -> dict[str, Score]:
        """The scores by stage, in order."""
        return {"ann": self.ann, "float_snn": self.float_snn, "integer_snn": self.integer_snn}

    def __str__(self) -> str:
        return (
            f"{self.ann.measure} on {self.samples:,} samples of {self.data}: ANN {self.ann.value:.2%}, "
            f"float SNN {self.float_snn.value:.2%}, integer SNN {self.integer_snn.value:.2%}"
        )


#: Fields of `StageScores` that are no scores.
_PLAIN: Mapping[str, Any] = {
    "data": str,
    "data_sha256": str,
    "samples": int,
    "by_timestep": tuple[float, ...],
    "input_clips": int | None,
}
