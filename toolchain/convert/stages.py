"""The score at every stage of a conversion: the ANN, the float SNN, the integer SNN, on the same samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from math import prod
from operator import add

import numpy as np
import torch

from sim.threads import one_thread
from toolchain.data import Dataset
from toolchain.display import Progress, silent
from toolchain.evaluate import evaluate
from toolchain.netlist import CurveRecord, FrozenGates, InputError, Netlist, StageScores, TaskName
from toolchain.network import FloatNetwork, SpikingNetwork, chunks, outputs, simulate_float
from toolchain.pieces import Substituted, beyond
from toolchain.tasks import Classification, Detection, ScoredTask, Tallies, interval


def check_scored(network: FloatNetwork, task: ScoredTask | None, name: TaskName | None, data: Dataset) -> None:
    """Raise unless a network's outputs on the data can be right or wrong.

    Parameters
    ----------
    network : FloatNetwork
    task : ScoredTask or None
        What it is for; None where nothing says so.
    name : TaskName or None
        As the recipe has it.
    data : Dataset

    Raises
    ------
    InputError
        When what is true of the samples is not known or does not fit the outputs, or it is open what they decide.
    """
    if name == "detection" and task is None:
        raise InputError("decode", "none found, detection scores boxes", "name the code that makes them of the outputs")
    if task is None:
        shapes = ", ".join(str(u.shape) for u in network.outputs)
        what = "accuracy needs a single list of classes" if name is None else f"{name} needs a single one"
        fix = "name the `task`, or end the network at one output with `outputs`"
        raise InputError(data.name, f"outputs of shape {shapes} found, {what}", fix)
    if not task.is_known(data.truth):
        fix = f"add an array '{task.needs}' to the file"
        if data.truth.targets is not None:
            fix = f"give {task.needs} as integers: numbers in floating point are targets, for `task` regression"
        raise InputError(data.name, f"no {task.needs} found, {task.measure} needs them", fix)
    task.check(data.name, data.truth)


def guess_note(measured: StageScores, task: ScoredTask | None, data: Dataset, normalize: str) -> str | None:
    """Say that an ANN cannot be told from guessing, and what the likely cause is; None where it can.

    Parameters
    ----------
    measured : StageScores
    task : ScoredTask or None
    data : Dataset
        What was measured on.
    normalize : str
        As the recipe has it.

    Returns
    -------
    str or None
        A note where the 95 % interval of the ANN's accuracy holds, or lies below, one in as many as there are classes;
        None also of other tasks.
    """
    if not isinstance(task, Classification):
        return None
    low, high = interval(measured.ann.value, measured.samples)
    guessed = 1 / task.classes
    if low > guessed:
        return None
    cause = (
        f"pictures are normalised by {normalize!r}: name with `normalize` what the network was trained on"
        if data.is_pictures
        else "numbers that are no uint8 pictures are taken as they are: give them as the network was trained on them"
    )
    return (
        f"the ANN is right on {measured.ann.value:.2%} of {measured.samples:,} samples of {measured.data} "
        f"(95 % interval {low:.2%} to {high:.2%}), where guessing gives {guessed:.2%}; the likely cause: {cause}"
    )


def measure_stages(
    network: FloatNetwork,
    spiking: SpikingNetwork,
    netlist: Netlist,
    data: Dataset,
    task: ScoredTask,
    *,
    progress: Progress = silent,
) -> StageScores:
    """Score the ANN, the float SNN and the netlist on the same samples.

    Parameters
    ----------
    network : FloatNetwork
        The ANN. Of frames it sees the mean.
    spiking : SpikingNetwork
        Calibrated, not yet rounded.
    netlist : Netlist
        What `spiking` was quantised to; its provenance says what it is for.
    data : Dataset
        That `check_scored` took.
    task : ScoredTask
    progress : Progress

    Returns
    -------
    StageScores
        Float sums run on one thread, in float32: the same scores however many cores there are.
    """
    tallies: list[Tallies] = []
    # The float SNN keeps the potentials of all units, and as much again of what they emit.
    parts = chunks(len(data), 2 * sum(prod(u.shape) for u in network.units))
    with one_thread(), progress("float SNN", len(parts)) as advance:
        for part in parts:
            truth = data.truth.part(part.start, part.stop)
            x = _normalized(data, part, netlist)
            ann = _by_name(network, _still(x, data, netlist))
            for fired in simulate_float(spiking, x):
                sums = fired
            floats = {name: sums[name].numpy() / spiking.timesteps for name in ann}
            tallies.append(Tallies((task.tally(ann, truth), task.tally(floats, truth))))
            advance()
    integers = evaluate(netlist, data, decode=task.decode if isinstance(task, Detection) else None, progress=progress)
    assert integers.outcome.score is not None
    ann_score, float_score = reduce(add, tallies).scores()
    return StageScores(
        data=data.name,
        data_sha256=data.sha256_with_truth,
        samples=len(data),
        ann=ann_score,
        float_snn=float_score,
        integer_snn=integers.outcome.score,
        by_timestep=integers.outcome.by_timestep,
        input_clips=integers.input_clips.clipped,
    )


def _normalized(data: Dataset, part: slice, netlist: Netlist) -> torch.Tensor:
    return torch.from_numpy(data.normalized(netlist.input.mean, netlist.input.std, part.start, part.stop)).float()


def _by_name(network: FloatNetwork, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Return what a network says of samples."""
    return {u.name: value.numpy() for u, value in zip(network.outputs, outputs(network, x), strict=True)}


def _still(x: torch.Tensor, data: Dataset, netlist: Netlist) -> torch.Tensor:
    """Return what the ANN sees of samples: of frames, their mean."""
    return x[:, : netlist.timesteps].mean(dim=1) if data.is_frames else x


@torch.inference_mode()
def measure_substituted(
    substituted: Substituted, curves: tuple[CurveRecord, ...], netlist: Netlist, data: Dataset, task: ScoredTask
) -> tuple[tuple[CurveRecord, ...], FrozenGates | None]:
    """Say on labelled samples how far values leave the range of the calibration, and what frozen gates decide.

    Parameters
    ----------
    substituted : Substituted
    curves : tuple of CurveRecord
        Of its pieces.
    netlist : Netlist
    data : Dataset
        That `check_scored` took.
    task : ScoredTask
    """
    gates, frozen = substituted.gates, substituted.frozen
    parts = chunks(len(data), frozen.widest)

    def seen() -> Iterator[torch.Tensor]:
        return (_still(_normalized(data, part, netlist), data, netlist) for part in parts)

    shares = beyond(substituted, seen())
    if gates is not None and isinstance(task, Classification):
        with one_thread():
            each = zip(parts, seen(), strict=True)
            tallies = [task.tally(_by_name(frozen, x), data.truth.part(p.start, p.stop)) for p, x in each]
        gates = replace(gates, accuracy=reduce(add, tallies).score().value)
    return tuple(replace(c, beyond=shares[c.unit]) for c in curves), gates
