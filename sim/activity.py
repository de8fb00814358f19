"""What populations emitted, summed up exactly without keeping the spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import get_ident

import numpy as np
import torch
from torch import Tensor

from sim import counting, gpu


@dataclass(frozen=True, eq=False)
class Activity:
    """Sums over samples and timesteps, per neuron and exact: what operation counts need.

    Parameters
    ----------
    samples : int
        N.
    steps : int
        Timesteps run, summed over samples: N * T without early exit.
    payloads : mapping of str to ndarray (*shape), int64
        Sum of |payload| of each neuron of the input and of every spiking population.
    events : mapping of str to ndarray (*shape), int64
        Number of non-zero payloads of each neuron.
    saturations : mapping of str to int
        How often the membrane potential of a population was clipped.

    Notes
    -----
    Synaptic operations of a connection are ``(payloads[source] * fan_out(...)).sum()``, its events
    ``(events[source] * fan_out(...)).sum()``; neuron updates are ``steps`` times the number of
    neurons (semantics, section 9).
    """

    samples: int
    steps: int
    payloads: Mapping[str, np.ndarray]
    events: Mapping[str, np.ndarray]
    saturations: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Activity) -> Activity:
        """Join the activity of two batches of one netlist."""
        return Activity(
            self.samples + other.samples,
            self.steps + other.steps,
            {k: v + other.payloads[k] for k, v in self.payloads.items()},
            {k: v + other.events[k] for k, v in self.events.items()},
            {k: v + other.saturations[k] for k, v in self.saturations.items()},
        )


class Counter:
    """Adds payloads up, one population and one chunk of samples at a time, from any thread."""

    def __init__(self) -> None:
        # Of payloads and events, (2, spatial..., C) int64: as payloads lie in memory, and where they are: nobody waits
        # for a GPU. Every thread has sums of its own.
        self._sums: dict[tuple[str, int], Tensor] = {}

    def count(
        self,
        name: str,
        values: Tensor,
        steps: np.ndarray | int,
        *,
        digits: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Add payloads.

        Parameters
        ----------
        name : str
        values : Tensor (T or 1, N, *shape)
            With a first axis of 1 held, the same at every timestep.
        steps : ndarray (N,), integer, or int
            How many of the timesteps each sample ran; the others do not count.
        digits : pair of ndarray (numbers,), int32, optional
            Payloads are numbers that were sent digit by digit: for each number the sum of its digits, and how many of
            them are not zero.
        """
        if values.device.type != "cpu" and digits is None:
            sums = sums_on_device(values, steps)
            self._of(name, tuple(sums.shape[1:]), sums.device).add_(sums)
            return
        # As they lie in memory, channels-last: no copy.
        flat = np.ascontiguousarray(values.cpu().numpy().transpose(1, 0, *range(3, values.ndim), 2))
        samples, length, *shape = flat.shape
        payloads, events = self._of(name, tuple(shape)).numpy().reshape(2, -1)
        if digits is None:
            ran = steps if isinstance(steps, np.ndarray) else np.full(samples, steps)
            counting.count(flat.reshape(samples, length, -1), ran, payloads, events)
        else:
            counting.count_digits(flat.reshape(samples * length, -1), *digits, payloads, events)

    def _of(self, name: str, shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
        """Return this thread's sums of a population."""
        key = name, get_ident()
        if key not in self._sums:
            self._sums[key] = torch.zeros((2, *shape), dtype=torch.int64, device=device)
        return self._sums[key]

    def activity(self, samples: int, steps: int, saturations: Mapping[str, int]) -> Activity:
        """Return the sums."""
        whole: dict[str, Tensor] = {}
        for (name, _), sums in self._sums.items():
            whole[name] = whole[name] + sums if name in whole else sums
        payloads, events = (
            {name: sums[kind].movedim(-1, 0).contiguous().cpu().numpy() for name, sums in whole.items()}
            for kind in (0, 1)
        )
        return Activity(samples, steps, payloads, events, dict(saturations))


def sums_on_device(values: Tensor, steps: np.ndarray | int) -> Tensor:
    """Return the sums of |payload| and of events where the payloads are: only these travel.

    Parameters
    ----------
    values, steps
        As of `Counter.count`.

    Returns
    -------
    Tensor (2, spatial..., C), int64
    """
    length, samples = values.shape[:2]
    ran = torch.as_tensor(steps, device=values.device).expand(samples)
    # A held payload counts as often as the sample ran.
    times = ran[None] if length == 1 else ran > torch.arange(length, device=values.device)[:, None]
    if gpu.has_kernels(values.device) and (length > 1 or np.max(steps, initial=0) <= gpu.MOST_TIMES):
        return gpu.count(values, times.to(torch.int32))
    times = times.reshape(length, samples, *(1,) * (values.ndim - 2))
    # -128 has its magnitude in 32 bits.
    kinds = (values.to(torch.int32).abs(), (values != 0).to(torch.int32))
    return torch.stack([(kind * times).sum((0, 1), dtype=torch.int64).movedim(0, -1) for kind in kinds])
