"""How much an error in an activation moves the network's outputs, to first order.

It is what makes errors of different channels and layers comparable: a search spends operations where an error would
reach the outputs.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from sim.threads import one_thread
from toolchain.network import FloatNetwork, Output, iterate

#: Samples whose gradients are computed at once, fewer where that would keep more activations than this in memory.
_BATCH, _NUMBERS = 64, 2**24


@one_thread()
def influences(network: FloatNetwork, x: Tensor, *, probes: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the mean squared derivative of the outputs by the neurons of each channel.

    With r drawn from a standard normal distribution and centred over the classes (softmax does not
    see a common shift), the expectation of the squared derivative of r . outputs by an activation a
    is the sum over outputs of their squared derivatives. An independent error of variance v in each
    neuron of a channel then adds about ``v * influence`` per neuron to the squared error of the
    outputs.

    Parameters
    ----------
    network : FloatNetwork
    x : Tensor (N, *source shape), float32
    probes : int
        Draws of r per sample.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to ndarray (C,), float64
        One per `Activation`.
    """
    generator = torch.Generator().manual_seed(seed)
    names = [u.name for u in network.activations]
    total = {u.name: np.zeros(u.shape[0]) for u in network.activations}
    batch = max(1, min(_BATCH, _NUMBERS // sum(prod(u.shape) for u in network.units)))
    for start in range(0, x.shape[0], batch):
        with torch.enable_grad():
            values = dict(iterate(network, x[start : start + batch].clone().requires_grad_(True), keep=True))
            # One backward pass per draw and not per output: its expectation is the sum over all outputs.
            outputs = [v for n, v in values.items() if isinstance(network[n], Output)]
            for _ in range(probes):
                mixed = torch.zeros(())
                for output in outputs:
                    r = torch.randn(output.shape, generator=generator)
                    mixed = mixed + (output * (r - r.mean(1, keepdim=True))).sum()
                for name, gradient in zip(
                    names, torch.autograd.grad(mixed, [values[n] for n in names], retain_graph=True), strict=True
                ):
                    # Samples do not mix, so the gradient of their sum holds each one's own.
                    squares = gradient.double().square().transpose(0, 1).flatten(1)
                    total[name] += squares.sum(1).numpy() / squares.shape[1] * gradient.shape[0]
    return {name: value / (probes * x.shape[0]) for name, value in total.items()}
