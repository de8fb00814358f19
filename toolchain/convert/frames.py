"""What an ANN says of frames, read in either way that networks are trained on them."""

from __future__ import annotations

from functools import reduce
from operator import add

import torch

from sim.threads import one_thread
from toolchain.data import Dataset
from toolchain.netlist import Netlist, StageScores
from toolchain.network import FloatNetwork, outputs
from toolchain.tasks import ScoredTask, score_text

#: Samples in memory at a time.
_BATCH = 32


def frames_note(
    network: FloatNetwork, measured: StageScores, netlist: Netlist, data: Dataset, task: ScoredTask
) -> str | None:
    """Say how good the ANN is on the mean of a sample's frames, and frame by frame; None of data without frames.

    A conversion holds the netlist against the first: a neuron that integrates adds up what its frames bring before it
    fires. Many networks are trained for the second, each frame by itself and their outputs averaged (W. Fang et al.,
    "Incorporating learnable membrane time constant to enhance learning of spiking neural networks", ICCV 2021).

    Parameters
    ----------
    network : FloatNetwork
        The ANN.
    measured : StageScores
        Of the same data.
    netlist : Netlist
        It knows how many frames count.
    data : Dataset
        That `check_scored` took.
    task : ScoredTask
    """
    if not data.is_frames:
        return None
    source, names, tallies = netlist.input, [u.name for u in network.outputs], []
    with one_thread(), torch.inference_mode():
        for start in range(0, len(data), _BATCH):
            stop = min(start + _BATCH, len(data))
            x = torch.from_numpy(data.normalized(source.mean, source.std, start, stop)[:, : netlist.timesteps]).float()
            frames = [outputs(network, frame) for frame in x.unbind(1)]
            averaged = [torch.stack(each).mean(0).numpy() for each in zip(*frames, strict=True)]
            values = dict(zip(names, averaged, strict=True))
            tallies.append(task.tally(values, data.truth.part(start, stop)))
    each = reduce(add, tallies).score()
    return (
        f"what spikes are held against is the ANN on the mean of {netlist.timesteps} frames, {each.measure} "
        f"{score_text(measured.ann)}; its outputs for each frame, averaged, have {score_text(each)}"
    )
