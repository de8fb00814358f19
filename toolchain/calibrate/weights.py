"""Weight calibration: the weights that make the best of what spikes really say.

Earlier layers reach this one with errors that depend on what they stand for: coarse levels, bursts
that came too early, means that drift. A least-squares fit of the weights to the ANN's current takes
back whatever of these errors is linear in the input, layer by layer, in closed form (the goal is that
of the weight calibration of Li et al., "A free lunch from ANN", ICML 2021, which descends on it).

The rows of the fit are samples and positions: the average input of the spiking layer (a patch of it for a convolution),
and the error of its current, where either network is active. `toolchain.calibrate.ridge` fits one to the other; the
penalty is chosen on samples that the fit has not seen, and no change at all is one of the choices.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from sim.jit import jit
from sim.kernels import apply_chain, pad
from sim.threads import each_alone
from toolchain.calibrate.ridge import Change, Products, Rows, best_change, equations
from toolchain.calibrate.walk import CalibrationWalk, replace_unit
from toolchain.netlist import Connection, Conv, Linear, per_channel
from toolchain.network import Activation, Output, SpikingNetwork

#: Ridge penalties that are tried, relative to the mean energy of an input.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
#: One sample in this many decides on the penalty, and is left out of the fit.
HELD_OUT = 8
#: Rows of the fit per weight of a neuron: what a fit to noise adds to the error is one part in so many.
_ROWS_PER_WEIGHT = 128
#: Rows that are enough to tell the penalties apart, and fewer where inputs of many groups would be more numbers than
#: these: all groups have one penalty, and are judged together.
_JUDGING_ROWS, _JUDGING_NUMBERS = 4096, 2**24
#: Numbers of inputs that are laid out at once, and samples at most: what bounds the memory.
_NUMBERS, _SAMPLES = 2**22, 64
#: Chunks of samples that are worked off together. Always as many, however many cores there are: they are added up in
#: order.
_WAVE = 4


def _windows(operator: Conv | Linear, x: Tensor) -> Tensor:
    """Show what every weight of a neuron meets, (N, G, inputs of a group, *positions, *kernel): a view of `x`."""
    if isinstance(operator, Linear):
        return x.unsqueeze(1)
    x = pad(x, operator.padding)
    for axis, (kernel, stride, step) in enumerate(
        zip(operator.weight.shape[2:], operator.stride, operator.dilation, strict=True), start=2
    ):
        x = x.unfold(axis, (kernel - 1) * step + 1, stride)[..., ::step]
    return x.unflatten(1, (operator.groups, -1))


def _draw(samples: Tensor, positions: int, taken: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw positions of the given samples (S,) int64: a sample and a position for every row, (R,) int64."""
    if taken >= positions:
        chosen = torch.arange(positions).expand(len(samples), -1)
    else:
        drawn = torch.rand(len(samples), positions, generator=torch.Generator().manual_seed(seed))
        chosen = drawn.topk(taken).indices
    return samples.repeat_interleave(chosen.shape[1]), chosen.flatten()


def _at(values: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
    """Return values (N, C, *positions) at samples and positions (R,), each: (R, C)."""
    index: tuple[Tensor | slice, ...] = (at[0], slice(None), *torch.unravel_index(at[1], values.shape[2:]))
    return values[index]


def _inputs(operator: Conv | Linear, x: Tensor, at: tuple[Tensor, Tensor], positions: torch.Size) -> Tensor:
    """Lay out what the weights meet at samples and positions (R,), each: (G, R, K)."""
    windows = _windows(operator, x)
    # In memory a number lies where its row begins plus what its weight adds: torch looks up six indices instead.
    leading, rows = (0, *range(3, 3 + len(positions))), torch.tensor(windows.storage_offset())
    for axis, index in zip(leading, (at[0], *torch.unravel_index(at[1], positions)), strict=True):
        rows = rows + index * windows.stride(axis)
    columns = torch.zeros(1, dtype=torch.int64)
    for axis in (a for a in range(windows.ndim) if a not in leading):
        columns = (columns[:, None] + torch.arange(windows.shape[axis]) * windows.stride(axis)).flatten()
    memory = torch.as_strided(windows, (windows.untyped_storage().nbytes() // windows.element_size(),), (1,), 0)
    found = torch.empty(len(rows), len(columns), dtype=x.dtype)
    _gather(memory.numpy(), rows.numpy(), columns.numpy(), found.numpy())
    return found.unflatten(1, (windows.shape[1], -1)).transpose(0, 1)


@jit
def _gather(memory: np.ndarray, rows: np.ndarray, columns: np.ndarray, found: np.ndarray) -> None:
    """Write the numbers of some rows (R,) and columns (K,), both int64 offsets, to (R, K)."""
    for r in range(rows.size):
        for k in range(columns.size):
            found[r, k] = memory[rows[r] + columns[k]]


def _fitted_connection(spiking: SpikingNetwork, name: str) -> Connection | None:
    """Return the connection with the most weights, if they are the last of its operators.

    Behind its weights a connection must deliver what the unit adds up, position by position: only then is the error of
    the current the error of the weights' output.
    """

    def size(connection: Connection) -> int:
        last = connection.operators[-1] if connection.operators else None
        return last.weight.size if isinstance(last, Conv | Linear) else 0

    best = max(spiking.network.inputs(name), key=size)
    return best if size(best) else None


class _Collecting:
    """Lays out the rows of one unit: inputs of the chosen connection's last operator, errors of the unit's current.

    Parameters
    ----------
    walk : CalibrationWalk
        Standing at this unit.
    unit : Activation or Output
    chosen : Connection
    """

    def __init__(self, walk: CalibrationWalk, unit: Activation | Output, chosen: Connection) -> None:
        operator = chosen.operators[-1]
        assert isinstance(operator, Conv | Linear)
        self._walk, self._unit, self._chosen, self._operator = walk, unit, chosen, operator
        self._inputs = walk.spiking.network.inputs(unit.name)
        self._samples, positions = walk.samples(unit.name), prod(unit.shape[1:])
        weights, groups = operator.weight[0].size, operator.groups if isinstance(operator, Conv) else 1
        judging = -(-self._samples // HELD_OUT)
        rows = min(_JUDGING_ROWS, _JUDGING_NUMBERS // (weights * groups))
        #: Positions that become rows, of every sample that is fitted and of every one that judges.
        self._taken = (
            min(positions, -(-_ROWS_PER_WEIGHT * weights // self._samples)),
            min(positions, max(-(-rows // judging), 1)),
        )
        numbers = max(max(self._taken) * weights * groups, *(prod(s) for s in walk.shapes(unit.name)))
        self._chunk = min(max(_NUMBERS // numbers, 1), _SAMPLES)
        fitted = self._taken[0] * (self._samples - judging)
        self._equations = equations(groups, weights, operator.weight.shape[0] // groups, fitted)

    def change(self) -> Change | None:
        """Fit all samples."""
        judging = []
        starts = range(0, self._samples, self._chunk)
        for first in range(0, len(starts), _WAVE):
            for fitted, held_out in each_alone(self._chunk_of, starts[first : first + _WAVE]):
                self._equations.add(fitted)
                judging.append(held_out)
        return best_change(self._equations.system(), Rows.join(judging), RIDGES)

    def _chunk_of(self, start: int) -> tuple[Rows | Products, Rows]:
        """Return what the equations add of one chunk of samples, and its rows that judge."""
        part = slice(start, min(start + self._chunk, self._samples))
        before = {c.source: self._walk.average(c.source, part) for c in self._inputs}
        wanted = self._walk.arriving(self._unit.name, part)
        got = sum(
            (apply_chain(c.operators, before[c.source]) for c in self._inputs),
            start=torch.from_numpy(per_channel(self._unit.bias, self._unit.shape)).float(),
        )
        x = apply_chain(self._chosen.operators[:-1], before[self._chosen.source])
        samples = torch.arange(len(wanted))
        held_out = (start + samples) % HELD_OUT == 1
        fitted, judging = (
            self._rows(x, wanted, got, _draw(samples[which], prod(wanted.shape[2:]), taken, start))
            for which, taken in zip((~held_out, held_out), self._taken, strict=True)
        )
        return self._equations.digest(fitted), judging

    def _rows(self, x: Tensor, wanted: Tensor, got: Tensor, at: tuple[Tensor, Tensor]) -> Rows:
        """Lay out inputs, and errors of the current, at samples and positions (R,), each."""
        operator = self._operator
        want, have = _at(wanted, at), _at(got, at)
        error = want - have
        if isinstance(self._unit, Activation):
            # Where both networks are silent, or both at the upper limit, the current may err at no cost.
            upper = self._unit.upper
            error = error.masked_fill(((want < 0) & (have < 0)) | ((want > upper) & (have > upper)), 0.0)
        groups = operator.groups if isinstance(operator, Conv) else 1
        inputs = _inputs(operator, x, at, wanted.shape[2:])
        return Rows(inputs, error.unflatten(1, (groups, -1)).transpose(0, 1))


def fit_weights(walk: CalibrationWalk, name: str) -> SpikingNetwork:
    """Return the walk's network with the weights and the bias of one unit fitted.

    Parameters
    ----------
    walk : CalibrationWalk
        Standing at this unit.
    name : str
        An `Activation` or `Output` with one bias per channel, whose greatest connection ends in a convolution or a
        matrix; others stay as they are.
    """
    spiking, unit = walk.spiking, walk.spiking.network[name]
    chosen = _fitted_connection(spiking, name)
    if chosen is None or not isinstance(unit, Activation | Output) or unit.bias.shape != (unit.shape[0],):
        return spiking
    change = _Collecting(walk, unit, chosen).change()
    if change is None:
        return spiking
    operator = chosen.operators[-1]
    assert isinstance(operator, Conv | Linear)
    weight = operator.weight + change.weights.transpose(1, 2).reshape(operator.weight.shape).numpy()
    fitted = replace(chosen, operators=(*chosen.operators[:-1], replace(operator, weight=weight)))
    connections = tuple(fitted if c is chosen else c for c in spiking.network.connections)
    network = replace_unit(spiking.network, replace(unit, bias=unit.bias + change.bias.flatten().numpy()))
    return replace(spiking, network=replace(network, connections=connections))
