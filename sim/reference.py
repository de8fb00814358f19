"""The reference simulator: a batch of samples through all timesteps, one layer after the other.

Equal to `sim.golden` bit for bit. Layers run for all timesteps in one call, so that weights are
read once and a held input is convolved once. Every core takes a chunk of samples through the whole
network: there is nothing to wait for between layers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from sim import gpu
from sim.activity import Activity, Counter
from sim.codes import Code, code_of
from sim.compilation import compile_layer
from sim.layer import Layer, LayerResult
from sim.lines import LayerGroup, Lines, group_layers
from sim.processor import exact_arithmetic, find_device
from sim.threads import for_each, workers
from toolchain.netlist import (
    AnyReadout,
    Input,
    InputError,
    Netlist,
    Spiking,
    Trace,
    can_limit,
    check_payloads,
    last_reads,
)
from toolchain.netlist.shapes import size

#: Payloads of all populations of one chunk of samples, in bytes: bounds the memory of a run, core by core.
CHUNK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class BatchResult:
    """What a netlist did on one batch.

    Parameters
    ----------
    readouts : mapping of str to ndarray (T, N, *shape), int64
        Running sum of every readout.
    spikes : mapping of str to ndarray (T, N, *shape), int8 or uint8
        Payloads of the populations that were to be recorded.
    saturations : mapping of str to int
        How often the membrane potential of a population was clipped.
    activity : Activity or None
        Where it was asked for.
    """

    readouts: Mapping[str, np.ndarray]
    spikes: Mapping[str, np.ndarray]
    saturations: Mapping[str, int]
    activity: Activity | None

    @property
    def readout(self) -> np.ndarray:
        """Running sum of the only readout, (T, N, classes) int64."""
        if len(self.readouts) != 1:
            raise InputError("batch", f"there are {len(self.readouts)} readouts: name one of {sorted(self.readouts)}")
        return next(iter(self.readouts.values()))


@dataclass(frozen=True, eq=False)
class Simulator:
    """A netlist compiled for this machine: see `compile_netlist`.

    Parameters
    ----------
    netlist : Netlist
    layers : tuple of Layer
        In topological order.
    timesteps : int
        T.
    code : Code
        What payloads mean: how layers run for T timesteps.
    chunk : int
        Samples that one core takes through the network together, at most.
    device : torch.device
    """

    netlist: Netlist
    layers: tuple[Layer, ...]
    timesteps: int
    code: Code
    chunk: int
    device: torch.device

    def run(self, payloads: np.ndarray, *, record: Collection[str] = (), activity: bool = False) -> BatchResult:
        """Run one batch.

        Parameters
        ----------
        payloads : ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; integer
        record : collection of str
            Populations whose payloads are kept.
        activity : bool
            Whether to sum up payloads and events per neuron.

        Raises
        ------
        InputError
            When the payloads are not what the input takes, or `record` names an unknown population.
        """
        given = torch.from_numpy(np.ascontiguousarray(check_payloads(self.netlist.input, payloads, self.timesteps)))
        samples = given.shape[1]
        recorder = Recorder(self, samples, record, activity)
        # Layers see to it themselves; around all of them torch's switches are turned once, not once a layer.
        with exact_arithmetic():
            for_each(lambda part: self._run_chunk(given[:, part].to(self.device), part, recorder), self.parts(samples))
        return recorder.batch()

    def parts(self, samples: int) -> list[slice]:
        """Cut a batch into parts of even size, at most `chunk`, as many for each core."""
        cores = workers() if self.device.type == "cpu" else 1
        count = -(-samples // self.chunk)
        size = max(1, -(-samples // max(1, -(-count // cores) * cores)))
        return [slice(start, min(start + size, samples)) for start in range(0, samples, size)]

    def _run_chunk(self, payloads: Tensor, part: slice, recorder: Recorder) -> None:
        lines = Lines(self.code.steps, {self.netlist.input.name: payloads})
        recorder.spikes(self.netlist.input.name, payloads, part)
        for group in self.groups:
            for layer, result in list(self.code.run(group, lines)):
                recorder.done(layer.population, result, part)
                # Readouts are in the list as well: they emit nothing.
                for done in self._last_reads[layer.population.name]:
                    lines.spikes.pop(done, None)

    @cached_property
    def groups(self) -> tuple[LayerGroup, ...]:
        """The layers as they run."""
        return group_layers(self.netlist, self.layers)

    @cached_property
    def _last_reads(self) -> dict[str, tuple[str, ...]]:
        return last_reads((p.name for p in self.netlist.populations), self.netlist.connections)


class Recorder:
    """Collects what the chunks of a batch deliver, from any thread; parameters and errors as of `Simulator.run`."""

    def __init__(self, simulator: Simulator, samples: int, record: Collection[str], activity: bool) -> None:
        self._simulator = simulator
        self._samples = samples
        netlist, lead = simulator.netlist, (simulator.timesteps, samples)
        known = {netlist.input.name, *(p.name for p in netlist.spiking)}
        if unknown := set(record) - known:
            raise InputError("record", f"no spiking population {sorted(unknown)}; there are {sorted(known)}")
        self._spikes = {
            p.name: np.empty((*lead, *p.shape), p.payload_dtype if isinstance(p, Input) else np.uint8)
            for p in (netlist.input, *netlist.spiking)
            if p.name in record
        }
        self._readouts = {p.name: np.empty((*lead, *p.shape), np.int64) for p in netlist.readouts}
        self._saturations = {p.name: 0 for p in netlist.populations if can_limit(p)}
        self._activity = Counter() if activity else None
        self._lock = Lock()

    def spikes(self, name: str, values: Tensor, part: slice) -> None:
        """Take what a population emitted, as layers pass it on (T or 1, n, *shape)."""
        if name in self._spikes:
            self._spikes[name][:, part] = self._simulator.code.sent(name, values).cpu().numpy()
        if self._activity is not None:
            self._simulator.code.count(self._activity, name, values)

    def done(self, population: Spiking | AnyReadout, result: LayerResult, part: slice) -> None:
        """Take what a layer did with some samples."""
        name = population.name
        if population.emits:
            self.spikes(name, result.output, part)
        else:
            self._readouts[name][:, part] = result.output.cpu().numpy()
        if result.saturations:
            with self._lock:
                self._saturations[name] += result.saturations

    def batch(self) -> BatchResult:
        """Return the whole batch."""
        activity = None
        if self._activity is not None:
            steps = self._samples * self._simulator.timesteps
            activity = self._activity.activity(self._samples, steps, self._saturations)
        return BatchResult(self._readouts, self._spikes, self._saturations, activity)


def compile_netlist(
    netlist: Netlist,
    *,
    timesteps: int | None = None,
    chunk: int | None = None,
    device: str | torch.device = "cpu",
    endless: bool = False,
) -> Simulator:
    """Prepare a netlist to run any number of batches.

    Parameters
    ----------
    netlist : Netlist
    timesteps : int, optional
        T; the netlist's own by default, in radix code no other.
    chunk : int, optional
        Samples that one core takes through the network together, which bounds the memory of a run; by
        default as many as keep their payloads within `CHUNK_BYTES`, or within a share of a GPU's memory.
    device : str or torch.device
    endless : bool
        Whether layers are to go on from run to run (`sim.recording`).

    Raises
    ------
    InputError
        When `timesteps` or `chunk` is not positive, a window of digits would be cut, or there is no such device.
    """
    length, place = netlist.length(timesteps), find_device(device)
    code = code_of(netlist, length)
    if chunk is not None and chunk < 1:
        raise InputError("chunk", f"{chunk} found, expected at least 1")
    whole = netlist.numbers
    sources = {p.name: p for p in whole.populations}
    layers = tuple(
        compile_layer(p, whole.inputs(p.name), sources, whole.membrane_limit, code.steps, place, endless=endless)
        for p in whole.populations[1:]
    )
    # One call of a GPU must be worth its launch, and its memory holds more than a core's cache.
    samples = chunk or chunk_of(netlist, code.steps, gpu.chunk_bytes(place, CHUNK_BYTES))
    return Simulator(netlist, layers, length, code, samples, place)


def chunk_of(netlist: Netlist, timesteps: int, limit: int = CHUNK_BYTES) -> int:
    """Return as many samples as keep their payloads of some timesteps within a limit in bytes, at least one."""
    return max(1, limit // (timesteps * sum(size(p.shape) for p in netlist.populations)))


def simulate(
    netlist: Netlist,
    payloads: np.ndarray,
    *,
    timesteps: int | None = None,
    chunk: int | None = None,
    device: str | torch.device = "cpu",
) -> Trace:
    """Run a netlist on a batch and record everything.

    Parameters
    ----------
    netlist : Netlist
    payloads : ndarray (N, *shape) for direct coding, (T, N, *shape) for frames; integer
    timesteps, chunk, device
        As for `compile_netlist`.

    Returns
    -------
    Trace
        `backend` is "reference".

    Raises
    ------
    InputError
        When the payloads are not what the input takes.
    """
    simulator = compile_netlist(netlist, timesteps=timesteps, chunk=chunk, device=device)
    names = [netlist.input.name, *(p.name for p in netlist.spiking)]
    batch = simulator.run(payloads, record=names)
    return Trace(
        netlist_hash=netlist.content_hash,
        backend="reference",
        spikes={name: batch.spikes[name] for name in names},
        readouts=batch.readouts,
        saturations=batch.saturations,
    )


def stream(
    netlist: Netlist,
    payload_batches: Iterable[np.ndarray],
    *,
    timesteps: int | None = None,
    record: Collection[str] = (),
    activity: bool = False,
    chunk: int | None = None,
    device: str | torch.device = "cpu",
) -> Iterator[BatchResult]:
    """Run any number of samples in flat memory: one batch is held at a time.

    Parameters
    ----------
    netlist : Netlist
    payload_batches : iterable of ndarray
        Each as `simulate` takes it.
    timesteps, chunk, device
        As for `compile_netlist`.
    record, activity
        As for `Simulator.run`; by default readouts only.

    Yields
    ------
    BatchResult
    """
    simulator = compile_netlist(netlist, timesteps=timesteps, chunk=chunk, device=device)
    for payloads in payload_batches:
        yield simulator.run(payloads, record=record, activity=activity)
