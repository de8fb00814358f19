"""What a netlist is scored by, and what it reads out in the network's own units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.data import Dataset
from toolchain.evaluate.stream import BatchRun, Seen
from toolchain.netlist import Netlist, Readout, Score, TaskName, per_channel
from toolchain.tasks import Decoder, Outcome, ScoredTask, Tallies, choose_task, why_unscored


@dataclass(frozen=True, eq=False)
class Scoring:
    """An observer that holds what a netlist reads out at each of its answers against what is true.

    Parameters
    ----------
    netlist : Netlist
    name : TaskName or None
        What the netlist is for; None where nothing says so.
    task : ScoredTask or None
        None where nothing is scored.
    unscored : str or None
        Why that is so.
    """

    netlist: Netlist
    name: TaskName | None
    task: ScoredTask | None
    unscored: str | None

    def __call__(self, run: BatchRun) -> Tallies:
        """Return a tally per answer: per timestep, or window of digits; at the exit with early exit."""
        task, rows = self.task, len(next(iter(run.readouts.values())))
        if task is None:
            return Tallies()
        answers = range(max(0, rows - len(run.netlist.answers)), rows)
        return Tallies(tuple(task.tally(own_units(run, row, task.readout), run.samples.truth) for row in answers))

    def outcome(self, seen: Seen, *, by_timestep: bool = True, ann: Score | None = None) -> Outcome:
        """Return what was seen in a run.

        Parameters
        ----------
        seen : Seen
        by_timestep : bool
            Whether its answers are those of timesteps.
        ann : Score, optional
            The ANN's, on the same data.
        """
        scores, record = seen[self].scores(), self.netlist.provenance.task
        return Outcome(
            task=self.name,
            classes=None if record is None else record.classes,
            readout=None if self.task is None else self.task.readout,
            unscored=self.unscored,
            score=scores[-1] if scores else None,
            by_timestep=tuple(found.value for found in scores) if by_timestep else (),
            ann=ann,
        )


def scoring(
    netlist: Netlist,
    data: Dataset,
    *,
    readout: str | None = None,
    decode: Decoder | None = None,
    name: TaskName | None = None,
) -> Scoring:
    """Return the observer that scores a netlist on data by its task: the one that it was converted for.

    Parameters
    ----------
    netlist : Netlist
    data : Dataset
    readout : str, optional
        Name of the readout that is scored; by default the only one.
    decode : Decoder, optional
        Makes boxes of the outputs; the netlist knows its name alone, since no file says which code is run.
    name : TaskName, optional
        Of another task than the one that it was converted for.

    Raises
    ------
    InputError
        When there is no such readout, it is none that the task has, `decode` has nothing to do, or what is true of the
        data does not fit what is read out.
    """
    found, shapes = netlist.provenance, {r.name: r.shape for r in netlist.readouts}
    if name is None and found.task is not None:
        name = found.task.name
    task = choose_task(name, shapes, input_shape=netlist.input.shape, tail=found.tail, readout=readout, decode=decode)
    name = name if task is None else task.name
    if task is None or not task.is_known(data.truth):
        return Scoring(netlist, name, None, why_unscored(task, name, shapes, data.truth))
    task.check(data.name, data.truth)
    return Scoring(netlist, name, task, None)


def own_units(run: BatchRun, row: int = -1, readout: str | None = None) -> dict[str, np.ndarray]:
    """Return what readouts say of the ANN's values, (N, *shape) float64 by name.

    Parameters
    ----------
    run : BatchRun
    row : int
        Of the running sums: timestep `row` + 1, or the end of a window.
    readout : str, optional
        This one only.
    """
    netlist, found = run.netlist, {}
    for population in netlist.readouts:
        if readout is not None and population.name != readout:
            continue
        sums = run.readouts[population.name]
        # A leaky one's value is no sum, nor is that of a window of digits; at an exit the sum is as good as its mean.
        summed = isinstance(population, Readout) and netlist.radix is None
        steps = range(netlist.timesteps)[row if row < 0 else row - len(sums)] + 1 if summed else 1
        found[population.name] = sums[row] * (per_channel(population.scale, population.shape) / steps)
    return found
