"""What pieces cost a netlist: their error once they spike, their neurons and operations, values beyond their range."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import numpy as np
import torch
from torch import Tensor

from sim import compile_netlist
from sim.threads import one_thread
from toolchain.netlist import CurveRecord, Netlist, fan_outs
from toolchain.netlist.shapes import size
from toolchain.network import Curve, SampleTensor, arguments, iterate
from toolchain.pieces.substitute import Substituted

#: Samples that errors and operations are measured on: means over all neurons of a layer.
SAMPLES = 64
#: Samples that run at once, fewer where their payloads would be more bytes than this.
_PART, _MEMORY = 8, 2**25


@one_thread()
@torch.inference_mode()
def measure_curves(
    made: Substituted, netlist: Netlist, x: SampleTensor, payloads: Callable[[slice], np.ndarray]
) -> tuple[CurveRecord, ...]:
    """Measure what the pieces of every curve do in a netlist.

    Parameters
    ----------
    made : Substituted
        What the netlist was made of.
    netlist : Netlist
    x : SampleTensor (N, *source shape), float32
        Normalised data, as the ANN sees them.
    payloads : callable
        Some of the same samples, as the netlist sees them: (n, *source shape), or (T, n, *source shape) for frames.

    Returns
    -------
    tuple of CurveRecord
        In topological order. Errors compare averages over a run, of `SAMPLES` samples, with the curve in the float
        network, earlier layers' errors included.
    """
    if not made.pieces:
        return ()
    populations = {p.name: p for p in netlist.populations}
    synapses = fan_outs(netlist.connections, {p.name: p.shape for p in netlist.populations})
    simulator = compile_netlist(netlist)
    # What a spike of each timestep adds to the average over a run: of digits, its place is worth.
    radix, steps = netlist.radix, netlist.timesteps
    worth = np.full(steps, 1 / steps) if radix is None else float(radix.base) ** np.arange(steps - 1, -1, -1)
    recorded = [n for units in made.units.values() for n in units]
    sums = {name: np.zeros(4) for name in made.pieces}
    samples, payloads_each = min(SAMPLES, x.shape[0]), steps * sum(size(p.shape) for p in netlist.populations)
    step = max(1, min(_PART, _MEMORY // payloads_each))
    for start in range(0, samples, step):
        part = slice(start, min(start + step, samples))
        spikes = simulator.run(payloads(part), record=recorded).spikes
        for name, value in iterate(made.frozen, x[part]):
            if name not in sums:
                continue
            wanted, got = value.double().numpy(), np.full(value.shape, made.pieces[name].constant)
            for unit, piece in zip(made.units[name], made.pieces[name].pieces, strict=True):
                count = np.tensordot(worth, spikes[unit].astype(np.int64), 1)
                emitted = spikes[unit].sum(0, dtype=np.int64)
                amplitude = populations[unit].threshold * populations[unit].scale  # type: ignore[union-attr]
                got += piece.gain * (count * _along_channels(amplitude, count)).reshape(value.shape)
                sums[name][3] += float((emitted * synapses[unit]).sum())
            sums[name] += (((wanted - got) ** 2).sum(), (wanted**2).sum(), wanted.sum(), 0.0)
    return tuple(_record(made, name, total, samples) for name, total in sums.items())


def _along_channels(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *(1 for _ in range(like.ndim - 2)))


def _record(made: Substituted, name: str, total: np.ndarray, samples: int) -> CurveRecord:
    curve, pieces = made.frozen[name], made.pieces[name]
    assert isinstance(curve, Curve)
    neurons = prod(curve.shape)
    count = samples * neurons
    variance = total[1] / count - (total[2] / count) ** 2
    return CurveRecord(
        unit=name,
        function=str(curve.function),
        pieces=len(made.units[name]),
        extra_neurons=(len(made.units[name]) - 1) * neurons,
        error=pieces.error,
        spiking_error=float(np.sqrt(total[0] / count / variance)) if variance > 0 else 0.0,
        operations=float(total[3] / samples),
    )


@one_thread()
@torch.inference_mode()
def beyond(made: Substituted, parts: Iterable[Tensor]) -> dict[str, float]:
    """Return the share of each curve's values that lie beyond those of the calibration data.

    Parameters
    ----------
    made : Substituted
    parts : iterable of Tensor (n, *source shape), float32
        Other data, as many samples together as run together.
    """
    if not made.ranges:
        return {}
    outside = dict.fromkeys(made.ranges, 0)
    values = dict.fromkeys(made.ranges, 0)
    for x in parts:
        for name, value in arguments(made.frozen, x):
            low, high = made.ranges[name]
            outside[name] += int(((value < low) | (value > high)).sum())
            values[name] += value.numel()
    return {name: outside[name] / max(values[name], 1) for name in outside}
