"""One long recording, sample after sample: each goes on from the state that the one before it left.

Semantics, section 4. One sample's payloads are held at a time, however long the recording is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sim.lines import Lines, run_group
from sim.processor import exact_arithmetic
from sim.reference import BatchResult, Recorder, Simulator, compile_netlist
from toolchain.netlist import InputError, MaxPool, Netlist, Readout, bound_current, check_payloads

#: What the sum of payloads of a max-pooling neuron stays within: 32 bits (`sim.scan.grow_maxima`).
SUM_LIMIT = 2**31 - 1


@dataclass(eq=False)
class Recording:
    """A netlist in the middle of a recording: see `compile_recording`.

    Parameters
    ----------
    simulator : Simulator
    states : dict of str to Tensor (1, *current shape)
        What the populations have kept, as `Layer.run` takes it; empty before the first sample.
    past : dict of str to Tensor (D, 1, *shape)
        What is under way on connections with a delay.
    samples : int
        Samples that have passed.
    """

    simulator: Simulator
    states: dict[str, Tensor] = field(default_factory=dict)
    past: dict[str, Tensor] = field(default_factory=dict)
    samples: int = 0

    def run(self, payloads: np.ndarray, *, record: Collection[str] = (), activity: bool = False) -> BatchResult:
        """Run the samples that follow.

        Parameters
        ----------
        payloads : ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; integer
            Samples in the order of time.
        record, activity
            As for `Simulator.run`.

        Returns
        -------
        BatchResult
            Of T timesteps of each sample. A `Readout` has the running sum since the sample's first timestep: what
            this sample decides. A `LeakyReadout` has its potential, which remembers those before.

        Raises
        ------
        InputError
            When the payloads are not what the input takes, frames would be left out, or the sums of a max-pooling may
            leave their type.
        """
        simulator = self.simulator
        source = simulator.netlist.input
        given = torch.from_numpy(np.ascontiguousarray(check_payloads(source, payloads, simulator.timesteps)))
        if source.coding == "frames" and payloads.shape[0] != simulator.timesteps:
            raise InputError(
                source.name,
                f"{payloads.shape[0]} frames per sample found, expected {simulator.timesteps}: "
                "of a recording none may be left out",
                "cut the recording into samples of as many frames as the netlist has timesteps",
            )
        self._check_sums(given.shape[1])
        recorder = Recorder(simulator, given.shape[1], record, activity)
        with exact_arithmetic():
            for place in range(given.shape[1]):
                part = slice(place, place + 1)
                self._run_sample(given[:, part].to(simulator.device), part, recorder)
        return recorder.batch()

    def restart(self) -> None:
        """Begin another recording."""
        self.states, self.past, self.samples = {}, {}, 0

    def _run_sample(self, payloads: Tensor, part: slice, recorder: Recorder) -> None:
        netlist = self.simulator.netlist
        lines = Lines(self.simulator.timesteps, {netlist.input.name: payloads}, self.past)
        recorder.spikes(netlist.input.name, payloads, part)
        for group in self.simulator.groups:
            for layer, result in run_group(group, lines, self.states, keep_state=True):
                recorder.done(layer.population, result, part)
        for readout in netlist.readouts:
            if isinstance(readout, Readout):
                del self.states[readout.name]
        self.past = lines.longest_past(netlist.connections)
        self.samples += 1

    def _check_sums(self, following: int) -> None:
        """Raise where a max-pooling's sums over the whole recording may leave their type."""
        netlist = self.simulator.netlist
        steps = (self.samples + following) * self.simulator.timesteps
        for population in netlist.populations:
            if isinstance(population, MaxPool):
                payload = sum(bound_current(c, netlist[c.source]).magnitude for c in netlist.inputs(population.name))
                if payload * steps > SUM_LIMIT:
                    raise InputError(
                        population.name,
                        f"sums of {steps} timesteps of payloads up to {payload} may exceed {SUM_LIMIT}",
                        "cut the recording in two",
                    )


def compile_recording(netlist: Netlist, *, device: str | torch.device = "cpu") -> Recording:
    """Prepare a netlist to run one recording whose samples go on from each other.

    Potentials, currents, what is under way with a delay, and the sums of max-pooling are kept from sample to sample:
    every payload is that of one run of all timesteps, whatever the recording's length. Membranes are clipped at the
    netlist's limit, so that no length leaves their type.

    Parameters
    ----------
    netlist : Netlist
        In rate code.
    device : str or torch.device

    Raises
    ------
    InputError
        When the netlist's bursts are digits.
    """
    if netlist.radix is not None:
        raise InputError("keep_state", "the netlist's bursts are digits: a number is over with its window")
    return Recording(compile_netlist(netlist, device=device, endless=True))
