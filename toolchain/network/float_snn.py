"""The float SNN: a spiking network run in real numbers, before anything is rounded.

It fires as semantics, section 2, says, with real weights, biases, thresholds and potentials, on the normalised data
themselves instead of their 8-bit payloads. Beside the ANN it shows what spikes cost; beside the netlist, what
rounding to integers costs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sim.kernels import tensor_like
from toolchain.netlist import InputError, per_channel
from toolchain.network.ann import current, respond
from toolchain.network.float_network import Activation, MaxUnit, Output
from toolchain.network.spiking_network import SpikingNetwork


def simulate_float(spiking: SpikingNetwork, x: Tensor) -> Iterator[dict[str, Tensor]]:
    """Run a spiking network in real numbers.

    Parameters
    ----------
    spiking : SpikingNetwork
    x : Tensor (N, *source shape) for direct coding, (N, at least T, *source shape) for frames; floating point
        Normalised data, held at every timestep for direct coding; its dtype is the one computed in.

    Yields
    ------
    dict of str to Tensor (N, *unit shape)
        At each of the T timesteps, what every unit stands for: the source the data, an activation its burst times
        ``rho * Vth``, a maximum its growth, an output the sum of its currents so far.

    Raises
    ------
    InputError
        When `x` does not have the source's shape.

    Notes
    -----
    Source: semantics, sections 2 and 6, and eqs. 5-7 of the appendix of Wang et al. (AAAI 2025) with bursts. The
    membrane potential has no width here, and so does not saturate.
    """
    network, frames = spiking.network, spiking.source.coding == "frames"
    sample = x.shape[2:] if frames else x.shape[1:]
    if tuple(sample) != network.source.shape or (frames and x.shape[1] < spiking.timesteps):
        expected = f"(N, {spiking.timesteps} or more, " if frames else "(N, "
        raise InputError(
            network.source.name, f"data of shape {tuple(x.shape)} found, expected {expected}{network.source.shape})"
        )
    neurons = {u.name: _Neurons(spiking, u, x) for u in network.activations}
    sums = {u.name: x.new_zeros(len(x), *u.current_shape) for u in network.units if isinstance(u, MaxUnit | Output)}
    for t in range(spiking.timesteps):
        values = {network.source.name: x[:, t] if frames else x}
        for unit in network.units[1:]:
            arriving = current(network, unit, values)
            match unit:
                case Activation():
                    values[unit.name] = neurons[unit.name].fire(arriving)
                case MaxUnit():
                    before = respond(unit, sums[unit.name])
                    sums[unit.name] = sums[unit.name] + arriving
                    values[unit.name] = respond(unit, sums[unit.name]) - before
                case Output():
                    sums[unit.name] = sums[unit.name] + respond(unit, arriving)
                    values[unit.name] = sums[unit.name]
        yield values


class _Neurons:
    """The membrane potentials of one activation, N samples at once."""

    def __init__(self, spiking: SpikingNetwork, unit: Activation, x: Tensor) -> None:
        firing = spiking.firing[unit.name]
        theta = per_channel(firing.amplitude, unit.shape)
        self._phi = firing.phi
        self._theta = tensor_like(theta, x)
        self._bias = tensor_like(per_channel(unit.bias, unit.shape) + firing.drift * theta, x)
        initial = per_channel(firing.initial, unit.shape) * theta
        self._potential = tensor_like(initial, x).expand(len(x), *unit.shape)

    def fire(self, arriving: Tensor) -> Tensor:
        """Integrate a current (N, *shape), fire, reset by subtraction, and return burst times threshold."""
        potential = self._potential + arriving + self._bias
        emitted = torch.floor(potential / self._theta).clamp(0, self._phi) * self._theta
        self._potential = potential - emitted
        return emitted
