"""Accuracy at every stage of a conversion: the ANN, the float SNN, the integer SNN, on the same labelled samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np
import torch

from sim.threads import one_thread
from toolchain.data import Dataset, check_data
from toolchain.display import Progress, silent
from toolchain.evaluate import classes, decide, evaluate, interval
from toolchain.netlist import Accuracies, CurveRecord, FrozenGates, Input, InputError, Netlist
from toolchain.network import FloatNetwork, SpikingNetwork, chunks, outputs, simulate_float
from toolchain.pieces import Substituted, beyond


def check_labelled(network: FloatNetwork, data: Dataset, source: Input, timesteps: int) -> None:
    """Raise unless a network's decisions on the data can be right or wrong.

    Parameters
    ----------
    network : FloatNetwork
    data : Dataset
    source : Input
        The netlist's input, as it will be.
    timesteps : int

    Raises
    ------
    InputError
        When there are no labels, the network does not decide on classes, or the samples do not fit it.
    """
    if data.labels is None:
        raise InputError(data.name, "no labels found, accuracy needs them", "add an array 'labels' (N,) to the file")
    if network.classifier is None:
        shapes = ", ".join(str(u.shape) for u in network.outputs)
        raise InputError(data.name, f"outputs of shape {shapes} found, accuracy needs a single list of classes")
    check_data(data, source, classes(network.classifier.shape), timesteps)


def guess_note(measured: Accuracies, network: FloatNetwork, data: Dataset, normalize: str) -> str | None:
    """Say that an ANN cannot be told from guessing, and what the likely cause is; None where it can.

    Parameters
    ----------
    measured : Accuracies
    network : FloatNetwork
    data : Dataset
        What was measured on.
    normalize : str
        As the recipe has it.

    Returns
    -------
    str or None
        A note where the 95 % interval of the ANN's accuracy holds, or lies below, one in as many as there are classes.
    """
    assert network.classifier is not None
    low, high = interval(measured.ann, measured.samples)
    guessed = 1 / classes(network.classifier.shape)
    if low > guessed:
        return None
    cause = (
        f"pictures are normalised by {normalize!r}: name with `normalize` what the network was trained on"
        if data.is_pictures
        else "numbers that are no uint8 pictures are taken as they are: give them as the network was trained on them"
    )
    return (
        f"the ANN is right on {measured.ann:.2%} of {measured.samples:,} samples of {measured.data} "
        f"(95 % interval {low:.2%} to {high:.2%}), where guessing gives {guessed:.2%}; the likely cause: {cause}"
    )


def measure_stages(
    network: FloatNetwork, spiking: SpikingNetwork, netlist: Netlist, data: Dataset, *, progress: Progress = silent
) -> Accuracies:
    """Decide on the same samples with the ANN, the float SNN and the netlist.

    Parameters
    ----------
    network : FloatNetwork
        The ANN. Of frames it sees the mean.
    spiking : SpikingNetwork
        Calibrated, not yet rounded.
    netlist : Netlist
        What `spiking` was quantised to.
    data : Dataset
        That `check_labelled` took.
    progress : Progress

    Returns
    -------
    Accuracies
        Float sums run on one thread, in float32: the same shares however many cores there are.
    """
    classifier = netlist.classifier
    assert data.labels is not None
    assert classifier is not None
    ann = spikes = 0
    # The float SNN keeps the potentials of all units, and as much again of what they emit.
    parts = chunks(len(data), 2 * sum(prod(u.shape) for u in network.units))
    with one_thread(), progress("float SNN", len(parts)) as advance:
        for part in parts:
            labels = data.labels[part]
            x = _normalized(data, part, netlist)
            (logits,) = outputs(network, _still(x, data, netlist))
            ann += int((decide(logits.numpy()) == labels).sum())
            for values in simulate_float(spiking, x):
                last = values
            spikes += int((decide(last[classifier.name].numpy()) == labels).sum())
            advance()
    integers = evaluate(netlist, data, progress=progress)
    assert integers.accuracy is not None
    return Accuracies(
        data=data.name,
        data_sha256=data.sha256_with_truth,
        samples=len(data),
        ann=ann / len(data),
        float_snn=spikes / len(data),
        integer_snn=integers.accuracy,
        input_clips=integers.input_clips.clipped,
    )


def _normalized(data: Dataset, part: slice, netlist: Netlist) -> torch.Tensor:
    return torch.from_numpy(data.normalized(netlist.input.mean, netlist.input.std, part.start, part.stop)).float()


def _still(x: torch.Tensor, data: Dataset, netlist: Netlist) -> torch.Tensor:
    """Return what the ANN sees of samples: of frames, their mean."""
    return x[:, : netlist.timesteps].mean(dim=1) if data.is_frames else x


@torch.inference_mode()
def measure_substituted(
    substituted: Substituted, curves: tuple[CurveRecord, ...], netlist: Netlist, data: Dataset
) -> tuple[tuple[CurveRecord, ...], FrozenGates | None]:
    """Say on labelled samples how far values leave the range of the calibration, and what frozen gates decide.

    Parameters
    ----------
    substituted : Substituted
    curves : tuple of CurveRecord
        Of its pieces.
    netlist : Netlist
    data : Dataset
        That `check_labelled` took.
    """
    gates, frozen = substituted.gates, substituted.frozen
    parts = chunks(len(data), frozen.widest)

    def seen() -> Iterator[torch.Tensor]:
        return (_still(_normalized(data, part, netlist), data, netlist) for part in parts)

    shares = beyond(substituted, seen())
    if gates is not None:
        with one_thread():
            logits = np.concatenate([outputs(frozen, x)[0].numpy() for x in seen()])
        gates = replace(gates, accuracy=float((decide(logits) == data.labels).mean()))
    return tuple(replace(c, beyond=shares[c.unit]) for c in curves), gates
