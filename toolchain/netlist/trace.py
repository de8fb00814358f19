"""The trace of a run: every payload of every population, and every readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolchain.netlist.errors import InputError


@dataclass(frozen=True, eq=False)
class Trace:
    """What a netlist did on a batch of samples, in reference time (no delays).

    Parameters
    ----------
    netlist_hash : str
        Content hash of the netlist that ran.
    backend : str
        Which executor ran it: golden, reference, lava or nir.
    spikes : mapping of str to ndarray (T, N, *shape)
        Payloads (int8 or uint8) of the input and of every spiking population.
    readouts : mapping of str to ndarray (T, N, *shape), int64
        Running sum of every readout.
    saturations : mapping of str to int
        How often the membrane potential of a population was clipped.
    """

    netlist_hash: str
    backend: str
    spikes: Mapping[str, np.ndarray]
    readouts: Mapping[str, np.ndarray]
    saturations: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        leads = {a.shape[:2] for a in (*self.spikes.values(), *self.readouts.values())}
        if len(leads) != 1:
            raise InputError("trace", f"timesteps and samples {sorted(leads)} found, expected the same everywhere")

    @property
    def readout(self) -> np.ndarray:
        """Running sum of the only readout, (T, N, classes) int64."""
        if len(self.readouts) != 1:
            raise InputError("trace", f"there are {len(self.readouts)} readouts: name one of {sorted(self.readouts)}")
        return next(iter(self.readouts.values()))

    @property
    def timesteps(self) -> int:
        """T."""
        return int(next(iter(self.spikes.values())).shape[0])

    @property
    def samples(self) -> int:
        """N."""
        return int(next(iter(self.spikes.values())).shape[1])

    @property
    def populations(self) -> Mapping[str, np.ndarray]:
        """Spikes and readouts together, in the order of the netlist."""
        return {**self.spikes, **self.readouts}


def concatenate(traces: Sequence[Trace]) -> Trace:
    """Join traces of the same netlist and backend along the sample axis."""
    if not traces:
        raise InputError("trace", "there are no traces to join")
    first = traces[0]
    if any((t.netlist_hash, t.backend) != (first.netlist_hash, first.backend) for t in traces):
        raise InputError("trace", "traces of different netlists or backends cannot be joined")
    return Trace(
        netlist_hash=first.netlist_hash,
        backend=first.backend,
        spikes={k: np.concatenate([t.spikes[k] for t in traces], axis=1) for k in first.spikes},
        readouts={k: np.concatenate([t.readouts[k] for t in traces], axis=1) for k in first.readouts},
        saturations={k: sum(t.saturations.get(k, 0) for t in traces) for k in first.saturations},
    )
