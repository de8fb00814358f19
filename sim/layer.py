"""One population with its incoming connections, run over all timesteps of a batch in one call.

A layer needs no netlist: calibration and search change one population at a time and run only that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from sim.currents import CompiledConnection, Diagonal
from sim.processor import exact_arithmetic
from toolchain.netlist import AnyReadout, InputError, Spiking


@dataclass(frozen=True, eq=False)
class LayerResult:
    """What a layer did.

    Parameters
    ----------
    output : Tensor (T, N, *shape)
        Bursts, uint8; of a readout its running sum or potential, int64. In memory channels-last.
    saturations : int
        How often a membrane potential was clipped, or a current wrapped around.
    state : Tensor (R, *current shape) or None
        Membrane potential, running sum or (max-pooling) summed payload after the last timestep, in
        whole numbers: pass it to `Layer.run` to go on. Of leaky populations current and potential, (R, 2, *shape).
        R is N, or what the state that the call went on from had.
        It may be None unless it was asked for.
    """

    output: Tensor
    saturations: int
    state: Tensor | None


@dataclass(frozen=True, eq=False)
class Layer(ABC):
    """A compiled population: `sim.compile_layer` makes it, for loops on a CPU or for plain torch.

    Parameters
    ----------
    population : any but Input
    currents : sequence of (line, CompiledConnection)
        Connections that deliver a current, by the line that their payloads come on (`sim.lines`).
    skip : (line, Diagonal) or None
        A connection that the neuron scan multiplies itself.
    timesteps : int
        T, of a whole run.
    limit : int or None
        Where the membrane saturates; None where the bound shows that it cannot.
    dtype : torch.dtype
        Carries the sum of all currents and the membrane potential exactly.
    device : torch.device
    """

    population: Spiking | AnyReadout
    currents: Sequence[tuple[str, CompiledConnection]]
    skip: tuple[str, Diagonal] | None
    timesteps: int
    limit: int | None
    dtype: torch.dtype
    device: torch.device

    def run(
        self,
        spikes: Mapping[str, Tensor],
        *,
        state: Tensor | None = None,
        rows: Tensor | None = None,
        timesteps: int | None = None,
        keep_state: bool = False,
    ) -> LayerResult:
        """Take a batch through the layer.

        Parameters
        ----------
        spikes : mapping of str to Tensor (T, N, *shape), uint8 or int8
            Payloads on each line. A first axis of 1 is a *held* payload, the same at every
            timestep (direct coding): its current is computed once.
        state : Tensor, optional
            As a previous call returned it; the state before the first timestep by default. It is used up: the next
            state may be written over it.
        rows : Tensor (N,), int64, optional
            Where in `state` that of each sample is, no two in one place: by default one after the other, and no others.
            The others are left as they are.
        timesteps : int, optional
            Steps to run; the layer's own number by default.
        keep_state : bool
            Whether the result holds the state.

        Returns
        -------
        LayerResult

        Raises
        ------
        InputError
            When a source's payloads have another number of timesteps.
        """
        length = timesteps or self.timesteps
        for name in self.sources:
            if spikes[name].shape[0] not in (1, length):
                raise InputError(
                    name, f"{spikes[name].shape[0]} timesteps of spikes found, expected {length}, or 1 if held"
                )
        with exact_arithmetic():
            if state is None or rows is None:
                return self._run(spikes, length, state, keep_state)
            return self._go_on(spikes, length, state, rows, keep_state)

    def _go_on(
        self, spikes: Mapping[str, Tensor], length: int, state: Tensor, rows: Tensor, keep_state: bool
    ) -> LayerResult:
        """Run checked payloads of samples whose states are some rows of `state`."""
        result = self._run(spikes, length, state[rows], keep_state)
        if result.state is not None:
            state[rows] = result.state
        return replace(result, state=state)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The lines whose payloads it reads."""
        return (*(name for name, _ in self.currents), *([self.skip[0]] if self.skip else []))

    @abstractmethod
    def _run(self, spikes: Mapping[str, Tensor], length: int, state: Tensor | None, keep_state: bool) -> LayerResult:
        """Run checked payloads for `length` timesteps."""
