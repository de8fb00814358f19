"""A few samples of a run, and what ANN and SNN say of each after some timesteps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.data import Dataset, Truth
from toolchain.evaluate import BatchRun, network_values, own_units
from toolchain.network import FloatNetwork
from toolchain.tasks import Detected, Detection, Outputs, Regression, ScoredTask

#: Samples that a page shows.
SHOWN = 4


@dataclass(frozen=True, eq=False)
class Said:
    """What a network says of one sample: one of both.

    Parameters
    ----------
    classes : ndarray () or (H, W) or (P,), int64, or None
        Of the sample, of its pixels, of its points.
    detected : Detected or None
    """

    classes: np.ndarray | None = None
    detected: Detected | None = None


@dataclass(frozen=True, eq=False)
class Shown:
    """One sample, what is true of it, and what is said.

    Parameters
    ----------
    position : int
        In the data set.
    values : ndarray (C, ...) or (T, C, ...) of frames
        As it is stored.
    truth : Truth
        Of this sample alone.
    ann : Said or None
    snn : mapping of int to Said
        By timestep.
    is_frames : bool
    """

    position: int
    values: np.ndarray
    truth: Truth
    ann: Said | None
    snn: dict[int, Said]
    is_frames: bool = False


@dataclass(frozen=True, eq=False)
class Gallery:
    """Observer that keeps samples, evenly from the data, and what is said of them.

    Parameters
    ----------
    data : Dataset
        That runs.
    task : ScoredTask or None
        Nothing is kept without.
    ann : FloatNetwork or None
    """

    data: Dataset
    task: ScoredTask | None
    ann: FloatNetwork | None

    def __call__(self, run: BatchRun) -> tuple[Shown, ...]:
        """Return those of the samples that are in this batch."""
        if self.task is None or isinstance(self.task, Regression):  # values are told by their score
            return ()
        wanted = np.unique(np.linspace(0, len(self.data) - 1, SHOWN).astype(int))
        part, rows = run.part, timesteps_shown(run.netlist.answers)
        here = wanted[(wanted >= part.start) & (wanted < part.stop)]
        if not here.size:
            return ()
        by_timestep = {t: self._said(_rows(own_units(run, row), here - part.start)) for t, row in rows.items()}
        chosen = self.data.select(here)
        ann = [None] * here.size if self.ann is None else self._of_ann(run, chosen)
        return tuple(
            Shown(
                int(position),
                np.asarray(chosen.values[n : n + 1])[0],
                chosen.truth.part(n, n + 1),
                ann[n],
                {t: said[n] for t, said in by_timestep.items()},
                self.data.is_frames,
            )
            for n, position in enumerate(here)
        )

    def _of_ann(self, run: BatchRun, chosen: Dataset) -> list[Said]:
        assert self.ann is not None
        return [said for part in network_values(self.ann, run.netlist, chosen) for said in self._said(part)]

    def _said(self, values: Outputs) -> list[Said]:
        if isinstance(self.task, Detection):
            return [Said(detected=found) for found in self.task.detect(values)]
        assert self.task is not None
        decisions = self.task.decisions(values)
        return [] if decisions is None else [Said(classes=np.asarray(found)) for found in decisions]


def _rows(values: Outputs, samples: np.ndarray) -> Outputs:
    return {name: value[samples] for name, value in values.items()}


def timesteps_shown(answers: tuple[int, ...]) -> dict[int, int]:
    """Choose the timesteps to show, a quarter, half and all of them, each with its row of the running sums."""
    last = answers[-1]
    return {t: t - 1 - last for t in sorted({last // 4, last // 2, last}) if t in answers}
