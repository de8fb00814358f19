"""Accuracy at every stage of a conversion: the ANN, the float SNN, the integer SNN, on the same labelled samples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sim.threads import one_thread
from toolchain.data import Dataset, check_data
from toolchain.display import Progress, silent
from toolchain.evaluate.evaluation import evaluate
from toolchain.netlist import Input, InputError, Netlist
from toolchain.network import FloatNetwork, Output, SpikingNetwork, outputs, simulate_float

#: Samples in memory at a time.
BATCH = 32


@dataclass(frozen=True)
class Stages:
    """What is right at each stage: spikes come with the second, rounding with the third.

    Calibration works on the rounded network, and its corrections are in the float SNN too. With 8-bit weights that is
    of no account; with few bits they make up for a rounding that the float SNN does not have, and it may do worse than
    the netlist.

    Parameters
    ----------
    data : str
        The file's name.
    data_sha256 : str
        Of the samples that were used, as stored, and their labels as int64.
    samples : int
    ann : float
        Share of right decisions of the original network.
    float_snn : float
        Of the spiking network at the last timestep, in real numbers (`toolchain.network.float_snn`).
    integer_snn : float
        Of the netlist at the last timestep.
    """

    data: str
    data_sha256: str
    samples: int
    ann: float
    float_snn: float
    integer_snn: float

    def to_json(self) -> dict[str, Any]:
        """Return what the netlist's provenance holds under "evaluation"."""
        return {
            "data": self.data,
            "data_sha256": self.data_sha256,
            "samples": self.samples,
            "accuracy": {"ann": self.ann, "float_snn": self.float_snn, "integer_snn": self.integer_snn},
        }

    def __str__(self) -> str:
        return (
            f"accuracy on {self.samples:,} samples of {self.data}: ANN {self.ann:.2%}, "
            f"float SNN {self.float_snn:.2%}, integer SNN {self.integer_snn:.2%}"
        )


def read_stages(provenance: Mapping[str, Any]) -> Stages | None:
    """Read what a conversion measured; None where it measured nothing, or a file says something else."""
    found = provenance.get("evaluation")
    accuracy = found.get("accuracy") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(accuracy, dict):
        return None
    try:
        stages = Stages(
            str(found["data"]),
            str(found["data_sha256"]),
            int(found["samples"]),
            *(float(accuracy[stage]) for stage in ("ann", "float_snn", "integer_snn")),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return stages if all(math.isfinite(a) for a in (stages.ann, stages.float_snn, stages.integer_snn)) else None


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
    readouts = [u for u in network.units if isinstance(u, Output)]
    if len(readouts) != 1 or len(readouts[0].shape) != 1:
        shapes = ", ".join(str(u.shape) for u in readouts)
        raise InputError(data.name, f"outputs of shape {shapes} found, accuracy needs a single list of classes")
    check_data(data, source, readouts[0].shape[0], timesteps)


def measure_stages(
    network: FloatNetwork, spiking: SpikingNetwork, netlist: Netlist, data: Dataset, *, progress: Progress = silent
) -> Stages:
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
    Stages
        Float sums run on one thread, in float32: the same shares however many cores there are.
    """
    assert data.labels is not None
    source = netlist.input
    ann = spikes = 0
    with one_thread(), progress("float SNN", -(-len(data) // BATCH)) as advance:
        for start in range(0, len(data), BATCH):
            labels = torch.from_numpy(data.labels[start : start + BATCH])
            x = torch.from_numpy(data.normalized(source.mean, source.std, start, start + BATCH)).float()
            still = x[:, : netlist.timesteps].mean(dim=1) if data.is_frames else x
            (logits,) = outputs(network, still)
            ann += int((logits.argmax(1) == labels).sum())
            for values in simulate_float(spiking, x):
                last = values
            spikes += int((last[netlist.readouts[0].name].argmax(1) == labels).sum())
            advance()
    integers = evaluate(netlist, data, progress=progress).accuracy
    assert integers is not None
    sha = hashlib.sha256(np.ascontiguousarray(data.values).tobytes() + data.labels.tobytes())
    return Stages(data.name, sha.hexdigest(), len(data), ann / len(data), spikes / len(data), integers)
