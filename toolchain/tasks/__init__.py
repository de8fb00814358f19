"""What networks are for: classes of samples, of pixels and of points, boxes, and values; and how well they do it."""

from toolchain.tasks.choose import choose_task, why_unscored
from toolchain.tasks.confusion import Confusion
from toolchain.tasks.decoder import Decoder
from toolchain.tasks.detections import Detected, Detections
from toolchain.tasks.divergence import same_decisions, symmetric_divergence
from toolchain.tasks.explained import Explained
from toolchain.tasks.hits import Hits, decide
from toolchain.tasks.interval import interval, interval_text, score_interval, score_text
from toolchain.tasks.outcome import Outcome, measure_text
from toolchain.tasks.parts import Parts
from toolchain.tasks.scored_task import (
    Classification,
    DenseClasses,
    Detection,
    Outputs,
    PointClasses,
    Regression,
    ScoredTask,
    Segmentation,
)
from toolchain.tasks.tally import Tallies, Tally

__all__ = [
    "Classification",
    "Confusion",
    "Decoder",
    "DenseClasses",
    "Detected",
    "Detection",
    "Detections",
    "Explained",
    "Hits",
    "Outcome",
    "Outputs",
    "Parts",
    "PointClasses",
    "Regression",
    "ScoredTask",
    "Segmentation",
    "Tallies",
    "Tally",
    "choose_task",
    "decide",
    "interval",
    "interval_text",
    "measure_text",
    "same_decisions",
    "score_interval",
    "score_text",
    "symmetric_divergence",
    "why_unscored",
]
