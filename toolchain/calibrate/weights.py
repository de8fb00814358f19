"""Weight calibration: the weights that make the best of what spikes really say.

Earlier layers reach this one with errors that depend on what they stand for: coarse levels, bursts
that came too early, means that drift. A least-squares fit of the weights to the ANN's current takes
back whatever of these errors is linear in the input, layer by layer, in closed form (the goal is that
of the weight calibration of Li et al., "A free lunch from ANN", ICML 2021, which descends on it).

With X the average input of the spiking layer (patches of it for a convolution, and a 1 for the bias)
and R the error of its current, where either network is active, the change of the weights is

    D = (X'X + r * m * I)^-1 X'R          m: mean of the diagonal of X'X

`r` is chosen on samples that the fit has not seen; no change at all is one of the choices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sim.kernels import apply_chain
from sim.threads import one_thread
from toolchain.calibrate.spiking_walk import Walk
from toolchain.netlist import Connection, Conv, Linear, per_channel
from toolchain.network import Activation, Output, SpikingNetwork

#: Ridge penalties that are tried, relative to the mean energy of an input.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
#: One sample in this many decides on the penalty.
_HELD_OUT = 4
#: Samples whose patches are laid out at once.
_CHUNK = 16
#: Rows of the fit per weight of a neuron: more positions of the same pictures say little that is new.
_ROWS_PER_WEIGHT = 256


@dataclass(eq=False)
class _Normal:
    """Normal equations of one group of channels after another: X'X, X'R and the number of rows."""

    gram: Tensor
    moment: Tensor
    rows: int = 0

    def add(self, inputs: Tensor, errors: Tensor) -> None:
        """Add rows: inputs (G, R, K), errors (G, R, C)."""
        self.gram += (inputs.transpose(1, 2) @ inputs).double()
        self.moment += (inputs.transpose(1, 2) @ errors).double()
        self.rows += inputs.shape[1]

    def solve(self, ridge: float) -> Tensor:
        """Return the change of the weights (G, K, C)."""
        energy = self.gram.diagonal(dim1=1, dim2=2)[:, :-1].mean(1)
        penalty = torch.zeros_like(self.gram)
        penalty.diagonal(dim1=1, dim2=2)[:] = (ridge * energy).clamp(min=1e-12)[:, None]
        penalty[:, -1, -1] = 1e-12
        return torch.linalg.solve(self.gram + penalty, self.moment)

    def gain(self, change: Tensor) -> float:
        """Return by how much a change lowers the squared error on these rows."""
        lowered = 2 * (change * self.moment).sum() - (change * (self.gram @ change)).sum()
        return float(lowered)


def _equations(operator: Conv | Linear) -> _Normal:
    groups = operator.groups if isinstance(operator, Conv) else 1
    outputs, inputs = operator.weight.shape[0] // groups, operator.weight[0].size + 1
    return _Normal(
        torch.zeros(groups, inputs, inputs, dtype=torch.float64),
        torch.zeros(groups, inputs, outputs, dtype=torch.float64),
    )


def _rows(operator: Conv | Linear, x: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Lay out inputs (G, R, K) and errors (G, R, C) of a batch."""
    if isinstance(operator, Linear):
        inputs, wanted = x.unsqueeze(0), errors.unsqueeze(0)
    else:
        groups, kernel = operator.groups, operator.weight.shape[2:]
        if len(kernel) == 1:
            x, errors = x.unsqueeze(2), errors.unsqueeze(2)
        pad = [n for pair in reversed(operator.padding) for n in pair]
        two = (lambda values: (1, *values)) if len(kernel) == 1 else tuple
        patches = F.unfold(F.pad(x, pad), two(kernel), dilation=two(operator.dilation), stride=two(operator.stride))
        features = operator.weight[0].size
        inputs = patches.reshape(x.shape[0], groups, features, -1).permute(1, 0, 3, 2).reshape(groups, -1, features)
        wanted = errors.reshape(x.shape[0], groups, errors.shape[1] // groups, -1).permute(1, 0, 3, 2)
        wanted = wanted.reshape(groups, -1, errors.shape[1] // groups)
    return inputs, wanted


def _sample(inputs: Tensor, errors: Tensor, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rows, and add the input of the bias."""
    if inputs.shape[1] > rows:
        chosen = torch.randperm(inputs.shape[1], generator=generator)[:rows]
        inputs, errors = inputs[:, chosen], errors[:, chosen]
    return torch.cat([inputs, torch.ones(*inputs.shape[:2], 1)], 2), errors


def _fitted_connection(spiking: SpikingNetwork, name: str) -> Connection | None:
    """Return the connection with the most weights, if they are the last of its operators."""

    def size(connection: Connection) -> int:
        last = connection.operators[-1] if connection.operators else None
        fits = isinstance(last, Linear) or (isinstance(last, Conv) and last.weight.ndim <= 4)
        return last.weight.size if fits and isinstance(last, Conv | Linear) else 0

    best = max(spiking.network.inputs(name), key=size)
    return best if size(best) else None


@one_thread()
def fit_weights(walk: Walk, name: str) -> SpikingNetwork:
    """Return the walk's network with the weights and the bias of one unit fitted.

    Parameters
    ----------
    walk : Walk
        Standing at this unit.
    name : str
        An `Activation` or `Output`.
    """
    spiking, unit = walk.spiking, walk.spiking.network[name]
    chosen = _fitted_connection(spiking, name)
    if chosen is None or not isinstance(unit, Activation | Output) or unit.bias.shape != (unit.shape[0],):
        return spiking
    sources = {c.source: walk.average(c.source) for c in spiking.network.inputs(name)}
    wanted = walk.current(name)
    operator = chosen.operators[-1]
    assert isinstance(operator, Conv | Linear)
    fit, check = _equations(operator), _equations(operator)
    generator = torch.Generator().manual_seed(0)
    rows_per_chunk = -(-_ROWS_PER_WEIGHT * operator.weight[0].size * _CHUNK // wanted.shape[0])
    for index, start in enumerate(range(0, wanted.shape[0], _CHUNK)):
        part = slice(start, start + _CHUNK)
        got = sum(
            (apply_chain(c.operators, sources[c.source][part]) for c in spiking.network.inputs(name)),
            start=torch.from_numpy(per_channel(unit.bias, unit.shape)).float(),
        )
        error = wanted[part] - got
        if isinstance(unit, Activation):
            silent = ((wanted[part] < 0) & (got < 0)) | ((wanted[part] > unit.upper) & (got > unit.upper))
            error = error.masked_fill(silent, 0.0)
        rows = _rows(operator, apply_chain(chosen.operators[:-1], sources[chosen.source][part]), error)
        (check if index % _HELD_OUT == _HELD_OUT - 1 else fit).add(*_sample(*rows, rows_per_chunk, generator))
    if check.rows == 0:
        return spiking
    gains = {ridge: check.gain(fit.solve(ridge)) for ridge in RIDGES}
    ridge = max(gains, key=lambda r: gains[r])
    if gains[ridge] <= 0:
        return spiking
    whole = _Normal(fit.gram + check.gram, fit.moment + check.moment)
    change = whole.solve(ridge).transpose(1, 2).reshape(operator.weight.shape[0], -1).numpy()
    weight = operator.weight + change[:, :-1].reshape(operator.weight.shape)
    fitted = replace(chosen, operators=(*chosen.operators[:-1], replace(operator, weight=weight)))
    network = replace(
        spiking.network,
        connections=tuple(fitted if c is chosen else c for c in spiking.network.connections),
        units=tuple(
            replace(unit, bias=unit.bias + np.asarray(change[:, -1])) if u.name == name else u
            for u in spiking.network.units
        ),
    )
    return replace(spiking, network=network)
