"""How much an error in an activation moves the network's outputs, to first order.

It is what makes errors of different channels and layers comparable: a search spends operations where an error would
reach the outputs.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from toolchain.calibrate.calibration_data import add_up
from toolchain.network import FloatNetwork, Output, SampleTensor, chunks, iterate


def influences(network: FloatNetwork, x: SampleTensor, *, probes: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the mean squared derivative of the outputs by the neurons of each channel.

    With r drawn from a standard normal distribution and centred over the classes (softmax does not
    see a common shift), the expectation of the squared derivative of r . outputs by an activation a
    is the sum over outputs of their squared derivatives. An independent error of variance v in each
    neuron of a channel then adds about ``v * influence`` per neuron to the squared error of the
    outputs.

    Parameters
    ----------
    network : FloatNetwork
    x : SampleTensor (N, *source shape), float32
    probes : int
        Draws of r per sample.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to ndarray (C,), float64
        One per `Activation`.
    """
    names = [u.name for u in network.activations]

    # Chunks run without gradients, unless they ask for them.
    @torch.inference_mode(False)
    def squares(part: slice) -> np.ndarray:
        # Draws of its own, whichever thread comes first.
        generator = torch.Generator().manual_seed(seed + part.start)
        values = dict(iterate(network, x[part].clone().requires_grad_(True), keep=True))
        outputs = [v for n, v in values.items() if isinstance(network[n], Output)]
        activations = [values[n] for n in names]
        total = np.zeros(sum(v.shape[1] for v in activations))
        # One backward pass per draw and not per output: its expectation is the sum over all outputs.
        for _ in range(probes):
            mixed = torch.zeros(())
            for output in outputs:
                r = torch.randn(output.shape, generator=generator)
                mixed = mixed + (output * (r - r.mean(1, keepdim=True))).sum()
            # Samples do not mix, so the gradient of their sum holds each one's own.
            gradients = torch.autograd.grad(mixed, activations, retain_graph=True)
            total += np.concatenate([_squares(g) / prod(g.shape[2:]) for g in gradients])
        return total

    parts = chunks(x.shape[0], sum(prod(u.shape) for u in network.units))
    mean = add_up(squares, parts) / (probes * x.shape[0])
    ends = np.cumsum([network[n].shape[0] for n in names])
    return dict(zip(names, np.split(mean, ends[:-1]), strict=True))


def _squares(gradient: Tensor) -> np.ndarray:
    """Return the sum of squares of every channel of (N, C, ...), (C,) float64."""
    squares: np.ndarray = gradient.double().square().sum((0, *range(2, gradient.ndim))).numpy()
    return squares
