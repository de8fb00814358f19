"""The trace file (HDF5): payloads and readouts of a run, written batch by batch (docs/formats.md).

The file depends on what was run only: the same samples give the same bytes whatever the batches
were, because whole chunks of a fixed number of samples are written, in the netlist's order.
"""

from __future__ import annotations

import io
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from toolchain.files.atomic import replacing
from toolchain.files.guarded_hdf5 import Guarded, open_guarded, translated
from toolchain.files.hdf5_chunks import read_chunked
from toolchain.files.hdf5_new import create_hdf5
from toolchain.netlist.errors import FormatError, InputError
from toolchain.netlist.trace import Trace, concatenate

#: Bytes of trace (all populations together) that are held back until they are written as one chunk.
CHUNK_BYTES = 1 << 23
MAX_CHUNK_SAMPLES = 256
#: Largest part of a trace that is read at once.
MAX_READ = 1 << 34


class _Sink(io.FileIO):
    """A file that keeps a failure to itself until it is asked.

    The HDF5 library does not survive a write that fails: a full disk crashes it when it closes the
    file. So it is told that all went well, and the writer asks here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+")
        self._failure: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self._failure is None and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self._failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return size or 0

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self._failure is not None:
            raise self._failure


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back while the HDF5 library works: it crashes where a write of `_Sink` is interrupted."""
    if current_thread() is not main_thread():  # which alone receives signals
        yield
        return
    pressed: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        if pressed:
            signal.raise_signal(signal.SIGINT)


class TraceWriter:
    """Writes a trace in batches, in flat memory; the file appears when the writer closes.

    Parameters
    ----------
    path : path

    Raises
    ------
    InputError
        When the file cannot be written, or batches do not belong together.

    Examples
    --------
    >>> with TraceWriter("trace.h5") as writer:
    ...     for batch in batches:
    ...         writer.append(simulate(netlist, batch))
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._replacing = replacing(path)
        self._sink: _Sink
        self._file: h5py.File
        self._held: list[Trace] = []
        self._first: Trace | None = None
        self._chunk = 0
        self._written = 0
        self._saturations: dict[str, int] = {}

    def __enter__(self) -> TraceWriter:
        self._sink = _Sink(self._replacing.__enter__())
        with _uninterrupted():
            self._file = create_hdf5(self._sink)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with _uninterrupted():
                    self._finish()
        except BaseException as failure:
            self._replacing.__exit__(type(failure), failure, failure.__traceback__)
            raise
        else:
            self._replacing.__exit__(kind, error, traceback)
        finally:
            with _uninterrupted():
                self._file.close()
                self._sink.close()

    def append(self, batch: Trace) -> None:
        """Add the samples of a batch after those before."""
        with _uninterrupted():
            self._append(batch)

    def _append(self, batch: Trace) -> None:
        if self._first is None:
            self._first = batch
            self._create(batch)
        elif list(batch.populations) != list(self._first.populations) or batch.timesteps != self._first.timesteps:
            raise InputError(str(self._path), "batches have different populations or timesteps")
        for name, count in batch.saturations.items():
            self._saturations[name] = self._saturations.get(name, 0) + count
        self._held.append(batch)
        if sum(b.samples for b in self._held) >= self._chunk:
            self._flush()

    def _create(self, batch: Trace) -> None:
        per_sample = sum(a.nbytes // max(batch.samples, 1) for a in batch.populations.values())
        self._chunk = max(1, min(MAX_CHUNK_SAMPLES, CHUNK_BYTES // max(per_sample, 1)))
        self._file.attrs["netlist_hash"] = batch.netlist_hash
        self._file.attrs["backend"] = batch.backend
        self._file.attrs["timesteps"] = np.int64(batch.timesteps)
        for position, (place, array) in enumerate(self._places(batch)):
            # The links of a group are sorted by name: the order of the netlist is kept beside it.
            self._create_dataset(place, array).attrs["position"] = np.int64(position)
        if len(batch.readouts) == 1:
            self._file["readout"].attrs["population"] = next(iter(batch.readouts))

    def _create_dataset(self, place: str, array: np.ndarray) -> h5py.Dataset:
        timesteps, shape = array.shape[0], array.shape[2:]
        whole_run = timesteps * self._chunk * math.prod(shape) * array.itemsize <= 2 * CHUNK_BYTES
        return self._file.create_dataset(
            place,
            shape=(timesteps, 0, *shape),
            maxshape=(timesteps, None, *shape),
            dtype=array.dtype,
            chunks=(timesteps if whole_run else 1, self._chunk, *shape),
            compression="gzip",
            compression_opts=1,
        )

    def _flush(self, *, everything: bool = False) -> None:
        held = concatenate(self._held)
        ready = held.samples if everything else held.samples - held.samples % self._chunk
        for start in range(0, ready, self._chunk):
            stop = min(start + self._chunk, ready)
            for place, array in self._places(held):
                dataset = self._file[place]
                dataset.resize(self._written + stop - start, axis=1)
                dataset[:, self._written :] = array[:, start:stop]
            self._written += stop - start
            self._sink.check()
        self._held = [_samples(held, ready, held.samples)] if ready < held.samples else []

    def _places(self, trace: Trace) -> Iterator[tuple[str, np.ndarray]]:
        for name, array in trace.spikes.items():
            yield f"spikes/{name}", array
        for name, array in trace.readouts.items():
            yield "readout" if len(trace.readouts) == 1 else f"readout/{name}", array

    def _finish(self) -> None:
        if self._first is None:
            raise InputError(str(self._path), "there are no samples to write")
        if self._held:
            self._flush(everything=True)
        for name, count in self._saturations.items():
            if name in self._first.spikes:
                self._file[f"spikes/{name}"].attrs["saturations"] = np.int64(count)
        self._file.close()
        self._sink.flush()
        self._sink.check()


def _samples(trace: Trace, start: int, stop: int) -> Trace:
    return Trace(
        trace.netlist_hash,
        trace.backend,
        {k: v[:, start:stop] for k, v in trace.spikes.items()},
        {k: v[:, start:stop] for k, v in trace.readouts.items()},
    )


def write_trace(trace: Trace, path: Path | str) -> None:
    """Write a trace, whole or not at all."""
    with TraceWriter(path) as writer:
        writer.append(trace)


@dataclass(frozen=True)
class TraceReader:
    """An open trace file; see `open_trace`.

    Parameters
    ----------
    netlist_hash, backend : str
    timesteps, samples : int
    """

    netlist_hash: str
    backend: str
    timesteps: int
    samples: int
    _spikes: dict[str, tuple[str, Any]]
    _readouts: dict[str, tuple[str, Any]]
    _saturations: dict[str, int]

    def read(self, start: int = 0, stop: int | None = None) -> Trace:
        """Read samples `start` to `stop`; `saturations` are those of the whole run."""
        stop = self.samples if stop is None else min(stop, self.samples)
        both = [*self._spikes.values(), *self._readouts.values()]
        size = sum(d.dtype.itemsize * math.prod(d.shape) // max(self.samples, 1) for _, d in both) * (stop - start)
        if size > MAX_READ:
            raise InputError(both[0][0], f"{size} bytes asked for at once", "read fewer samples at a time")
        return Trace(
            self.netlist_hash,
            self.backend,
            {name: _read(*place, start, stop) for name, place in self._spikes.items()},
            {name: _read(*place, start, stop) for name, place in self._readouts.items()},
            dict(self._saturations),
        )

    def batches(self, size: int) -> Iterator[Trace]:
        """Read the whole file, `size` samples at a time."""
        for start in range(0, self.samples, size):
            yield self.read(start, start + size)


def _read(where: str, dataset: Any, start: int, stop: int) -> np.ndarray:
    with translated(where):
        return read_chunked(where, dataset, start, stop, axis=1)


@contextmanager
def open_trace(path: Path | str) -> Iterator[TraceReader]:
    """Open a trace file to read it in parts.

    Parameters
    ----------
    path : path

    Yields
    ------
    TraceReader

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is no trace, damaged, or contradicts itself.
    """
    with open_guarded(path, "a trace (.h5)", limit=1 << 40, claims=1 << 20) as root:
        names = root.attribute_names()
        if not {"netlist_hash", "backend", "timesteps"} <= names or "spikes" not in root or "readout" not in root:
            raise FormatError(root.file, "is an HDF5 file, but no trace of adafire")
        text = {name: root.attribute(name, variable=True) for name in ("netlist_hash", "backend")}
        timesteps = root.attribute("timesteps")
        if not all(isinstance(v, str) for v in text.values()) or type(timesteps) is not int:
            raise FormatError(root.where, "netlist_hash and backend must be texts, timesteps an integer")
        spikes = _in_order(root.child("spikes"), 1)
        if root.is_group("readout"):
            readouts = _in_order(root.child("readout"), 8)
        else:
            dataset = _dataset(root, "readout", 8)
            name = _attribute(root.at("readout"), dataset, "population", "readout")
            readouts = {str(name): (root.at("readout"), dataset)}
        counts = {name: _attribute(*place, "saturations", None) for name, place in spikes.items()}
        saturations = {name: int(count) for name, count in counts.items() if isinstance(count, np.integer)}
        leads = {d.shape[:2] for _, d in (*spikes.values(), *readouts.values())}
        if len(leads) != 1 or next(iter(leads))[0] != timesteps:
            raise FormatError(root.file, f"timesteps and samples {sorted(leads)} found, expected ({timesteps}, N)")
        samples = next(iter(leads))[1]
        yield TraceReader(text["netlist_hash"], text["backend"], timesteps, samples, spikes, readouts, saturations)


def _attribute(where: str, dataset: Any, name: str, default: Any) -> Any:
    with translated(where):
        if not h5py.h5a.exists(dataset, name.encode()):
            return default
        opened = h5py.h5a.open(dataset, name.encode())
        if opened.shape != () or opened.get_type().get_size() > 64:
            raise FormatError(f"{where}@{name}", "is no number and no text")
        return h5py.Dataset(dataset).attrs[name]


def _in_order(group: Guarded, size: int) -> dict[str, tuple[str, Any]]:
    """Open all datasets of a group, in the order of the netlist."""
    places = {name: (group.at(name), _dataset(group, name, size)) for name in group.names()}
    positions = {name: _attribute(*place, "position", 0) for name, place in places.items()}
    if not all(isinstance(p, int | np.integer) for p in positions.values()):
        raise FormatError(group.where, "positions are no integers")
    return {name: places[name] for name in sorted(places, key=lambda n: (int(positions[n]), n))}


def _dataset(group: Guarded, name: str, size: int) -> Any:
    dataset = group.dataset(name)
    with translated(group.at(name)):
        if len(dataset.shape) < 3 or dataset.dtype.kind not in "iu" or dataset.dtype.itemsize != size:
            raise FormatError(
                group.at(name),
                f"{dataset.dtype} of shape {dataset.shape} found, expected {8 * size}-bit integers (T, N, ...)",
            )
        if dataset.get_create_plist().get_layout() != h5py.h5d.CHUNKED:
            raise FormatError(group.at(name), "is not chunked")
    return dataset


def read_trace(path: Path | str) -> Trace:
    """Read a whole trace.

    Raises
    ------
    InputError
        When there is no such file.
    FormatError
        When the file is no trace, damaged, or contradicts itself.
    """
    with open_trace(path) as reader:
        return reader.read()
