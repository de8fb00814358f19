"""What populations emitted, summed up exactly without keeping the spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

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
        self._lock = Lock()
        # Of payloads and events, (2, spatial..., C) int64: as payloads lie in memory, and where they are.
        self._sums: dict[str, Tensor] = {}

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
            self._add(name, sums_on_device(values, steps))
            return
        # As they lie in memory, channels-last: no copy.
        flat = np.ascontiguousarray(values.transpose(0, 1).movedim(2, -1).cpu().numpy())
        samples, length, *shape = flat.shape
        sums = np.zeros((2, *shape), np.int32)
        payloads, events = sums.reshape(2, -1)
        if digits is None:
            ran = np.broadcast_to(steps, samples)
            # A held payload counts as often as the sample ran.
            places = np.arange(samples * length).reshape(samples, length)
            rows = np.repeat(places, ran) if length == 1 else places[np.arange(length) < ran[:, np.newaxis]]
            counting.count(flat.reshape(samples * length, -1), rows, payloads, events)
        else:
            counting.count_digits(flat.reshape(samples * length, -1), *digits, payloads, events)
        self._add(name, torch.from_numpy(sums))

    def _add(self, name: str, sums: Tensor) -> None:
        with self._lock:
            if name in self._sums:
                self._sums[name] += sums
            else:
                self._sums[name] = sums.to(torch.int64)

    def activity(self, samples: int, steps: int, saturations: Mapping[str, int]) -> Activity:
        """Return the sums."""
        payloads, events = (
            {name: sums[kind].movedim(-1, 0).contiguous().cpu().numpy() for name, sums in self._sums.items()}
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
