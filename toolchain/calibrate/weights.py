"""Weight calibration: the weights that make the best of what spikes really say.

Earlier layers reach this one with errors that depend on what they stand for: coarse levels, bursts
that came too early, means that drift. A least-squares fit of the weights to the ANN's current takes
back whatever of these errors is linear in the input, layer by layer, in closed form (the goal is that
of the weight calibration of Li et al., "A free lunch from ANN", ICML 2021, which descends on it).

With X the average input of the spiking layer (patches of it for a convolution, and a 1 for the bias)
and R the error of its current, where either network is active, the change of the weights is

    D = (X'X + r * m * I)^-1 X'R          m: mean of the diagonal of X'X

where the bias is left out of m and penalty. `r` is chosen on samples that the fit has not seen; no change at all is
one of the choices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sim.kernels import apply_chain
from sim.threads import one_thread
from toolchain.calibrate.walk import CalibrationWalk, replace_unit
from toolchain.netlist import Connection, Conv, Linear, per_channel
from toolchain.network import Activation, Output, SpikingNetwork

#: Ridge penalties that are tried, relative to the mean energy of an input.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
#: One chunk of samples in this many decides on the penalty.
_HELD_OUT = 4
#: Samples whose patches are laid out at once: what bounds the memory.
_CHUNK = 16
#: Rows of the fit per weight of a neuron: more positions of the same pictures say little that is new.
_ROWS_PER_WEIGHT = 256
#: Penalty that a bias gets, and channels whose input is always 0: just enough for a solution to exist.
_LEAST_PENALTY = 1e-12


@dataclass(eq=False)
class _NormalEquations:
    """What a least-squares fit needs of its rows, summed up in float64, per group of channels (G).

    Parameters
    ----------
    gram : Tensor (G, K, K), float64
        X'X of K inputs, the last one the bias's.
    moment : Tensor (G, K, C), float64
        X'R of C outputs.
    rows : int
        How many rows were added.
    """

    gram: Tensor
    moment: Tensor
    rows: int = 0

    @classmethod
    def of(cls, operator: Conv | Linear) -> _NormalEquations:
        """Return the equations of an operator's weights and bias, without rows yet."""
        groups = operator.groups if isinstance(operator, Conv) else 1
        outputs, inputs = operator.weight.shape[0] // groups, operator.weight[0].size + 1
        gram = torch.zeros(groups, inputs, inputs, dtype=torch.float64)
        return cls(gram, torch.zeros(groups, inputs, outputs, dtype=torch.float64))

    def add(self, inputs: Tensor, errors: Tensor) -> None:
        """Add rows: inputs (G, R, K), errors (G, R, C)."""
        self.gram += (inputs.transpose(1, 2) @ inputs).double()
        self.moment += (inputs.transpose(1, 2) @ errors).double()
        self.rows += inputs.shape[1]

    def solve(self, ridge: float) -> Tensor:
        """Return the change of the weights (G, K, C)."""
        energy = self.gram.diagonal(dim1=1, dim2=2)[:, :-1].mean(1)
        penalty = torch.zeros_like(self.gram)
        penalty.diagonal(dim1=1, dim2=2)[:] = (ridge * energy).clamp(min=_LEAST_PENALTY)[:, None]
        penalty[:, -1, -1] = _LEAST_PENALTY
        return torch.linalg.solve(self.gram + penalty, self.moment)

    def gain(self, change: Tensor) -> float:
        """Return by how much a change lowers the squared error on these rows."""
        # |R|^2 - |R - X D|^2, which needs no rows.
        lowered = 2 * (change * self.moment).sum() - (change * (self.gram @ change)).sum()
        return float(lowered)

    def __add__(self, other: _NormalEquations) -> _NormalEquations:
        return _NormalEquations(self.gram + other.gram, self.moment + other.moment, self.rows + other.rows)


def _rows(operator: Conv | Linear, x: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Lay out inputs (G, R, K) and errors (G, R, C) of a batch: a row per sample and position."""
    if isinstance(operator, Linear):
        return x.unsqueeze(0), errors.unsqueeze(0)
    groups, kernel = operator.groups, operator.weight.shape[2:]
    one_axis = len(kernel) == 1
    if one_axis:
        # `unfold` knows pictures only: a signal is one of height 1.
        x, errors = x.unsqueeze(2), errors.unsqueeze(2)
    pad = [n for pair in reversed(operator.padding) for n in pair]
    two = (lambda values: (1, *values)) if one_axis else tuple
    patches = F.unfold(F.pad(x, pad), two(kernel), dilation=two(operator.dilation), stride=two(operator.stride))
    features = operator.weight[0].size
    inputs = patches.reshape(x.shape[0], groups, features, -1).permute(1, 0, 3, 2).reshape(groups, -1, features)
    wanted = errors.reshape(x.shape[0], groups, errors.shape[1] // groups, -1).permute(1, 0, 3, 2)
    return inputs, wanted.reshape(groups, -1, errors.shape[1] // groups)


def _sample(inputs: Tensor, errors: Tensor, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw rows, and add the input of the bias."""
    if inputs.shape[1] > rows:
        chosen = torch.randperm(inputs.shape[1], generator=generator)[:rows]
        inputs, errors = inputs[:, chosen], errors[:, chosen]
    return torch.cat([inputs, torch.ones(*inputs.shape[:2], 1)], 2), errors


def _fitted_connection(spiking: SpikingNetwork, name: str) -> Connection | None:
    """Return the connection with the most weights, if they are the last of its operators.

    Behind its weights a connection must deliver what the unit adds up, position by position: only then is the error of
    the current the error of the weights' output.
    """

    def size(connection: Connection) -> int:
        last = connection.operators[-1] if connection.operators else None
        fits = isinstance(last, Linear) or (isinstance(last, Conv) and last.weight.ndim <= 4)
        return last.weight.size if fits and isinstance(last, Conv | Linear) else 0

    best = max(spiking.network.inputs(name), key=size)
    return best if size(best) else None


@dataclass(frozen=True, eq=False)
class _Fit:
    """The rows of one unit: most of them to fit, the others to choose the penalty on."""

    fitted: _NormalEquations
    held_out: _NormalEquations

    def change(self) -> Tensor | None:
        """Return the change of the weights (G, K, C) from all rows; None where none does good."""
        if self.held_out.rows == 0:
            return None
        gains = {ridge: self.held_out.gain(self.fitted.solve(ridge)) for ridge in RIDGES}
        ridge = max(gains, key=lambda r: gains[r])
        return (self.fitted + self.held_out).solve(ridge) if gains[ridge] > 0 else None


def _collect(walk: CalibrationWalk, unit: Activation | Output, chosen: Connection) -> _Fit:
    """Sum up the rows of the chosen connection's last operator, and the errors of the unit's current."""
    inputs = walk.spiking.network.inputs(unit.name)
    sources = {c.source: walk.average(c.source) for c in inputs}
    wanted = walk.current(unit.name)
    operator = chosen.operators[-1]
    assert isinstance(operator, Conv | Linear)
    found = _Fit(_NormalEquations.of(operator), _NormalEquations.of(operator))
    generator = torch.Generator().manual_seed(0)
    rows_per_chunk = -(-_ROWS_PER_WEIGHT * operator.weight[0].size * _CHUNK // wanted.shape[0])
    for index, start in enumerate(range(0, wanted.shape[0], _CHUNK)):
        part = slice(start, start + _CHUNK)
        got = sum(
            (apply_chain(c.operators, sources[c.source][part]) for c in inputs),
            start=torch.from_numpy(per_channel(unit.bias, unit.shape)).float(),
        )
        error = wanted[part] - got
        if isinstance(unit, Activation):
            # Where both networks are silent, or both at the upper limit, the current may err at no cost.
            silent = ((wanted[part] < 0) & (got < 0)) | ((wanted[part] > unit.upper) & (got > unit.upper))
            error = error.masked_fill(silent, 0.0)
        rows = _rows(operator, apply_chain(chosen.operators[:-1], sources[chosen.source][part]), error)
        equations = found.held_out if index % _HELD_OUT == _HELD_OUT - 1 else found.fitted
        equations.add(*_sample(*rows, rows_per_chunk, generator))
    return found


@one_thread()
def fit_weights(walk: CalibrationWalk, name: str) -> SpikingNetwork:
    """Return the walk's network with the weights and the bias of one unit fitted.

    Parameters
    ----------
    walk : CalibrationWalk
        Standing at this unit.
    name : str
        An `Activation` or `Output` with one bias per channel, whose greatest connection ends in a convolution of one or
        two axes or in a matrix; others stay as they are.
    """
    spiking, unit = walk.spiking, walk.spiking.network[name]
    chosen = _fitted_connection(spiking, name)
    if chosen is None or not isinstance(unit, Activation | Output) or unit.bias.shape != (unit.shape[0],):
        return spiking
    change = _collect(walk, unit, chosen).change()
    if change is None:
        return spiking
    operator = chosen.operators[-1]
    assert isinstance(operator, Conv | Linear)
    rows = change.transpose(1, 2).reshape(operator.weight.shape[0], -1).numpy()
    weight = operator.weight + rows[:, :-1].reshape(operator.weight.shape)
    fitted = replace(chosen, operators=(*chosen.operators[:-1], replace(operator, weight=weight)))
    connections = tuple(fitted if c is chosen else c for c in spiking.network.connections)
    network = replace_unit(spiking.network, replace(unit, bias=unit.bias + rows[:, -1]))
    return replace(spiking, network=replace(network, connections=connections))
