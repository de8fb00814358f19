"""A run on Lava as a folder: what the worker reads, and what its processes leave behind.

Big arrays travel as files that both sides map: the netlist (.h5), the payloads and everything that is
recorded (.npy). Nothing big passes through Lava's ports except the payloads between populations.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from hw_targets.schedule import Schedule
from toolchain.files import netlist_bytes, read_netlist
from toolchain.netlist import BackendError, Input, LeakyReadout, Netlist, Readout, Shape

#: What to do when there is no room for a run's files.
MAKE_ROOM = (
    "free some space for temporary files, or name another folder in TMPDIR; what processes share lies in /dev/shm, "
    "whatever TMPDIR says"
)

#: What each process counts: clipped membrane potentials, and nanoseconds per activity.
COUNTERS = ("clips", "send_ns", "receive_ns", "compute_ns", "record_ns")


@dataclass(frozen=True)
class LavaBatch:
    """How the samples of a run pass through the pipeline.

    Parameters
    ----------
    samples : int
        N.
    lanes : int
        Samples that travel side by side, as the leading axis of every payload.
    """

    samples: int
    lanes: int

    @property
    def rounds(self) -> int:
        """Groups of `lanes` samples that follow each other through the pipeline."""
        return -(-self.samples // self.lanes)

    def occupied(self, position: int) -> slice:
        """Return the samples of one round; the last one may fill only some of its lanes."""
        return slice(position * self.lanes, min((position + 1) * self.lanes, self.samples))


@dataclass(frozen=True)
class Job:
    """The files of a run."""

    folder: Path

    @property
    def errors(self) -> Path:
        """Folder of one text file per process that raised."""
        return self.folder / "errors"

    @property
    def log(self) -> Path:
        """What the worker and Lava print."""
        return self.folder / "log.txt"

    def record(self, name: str) -> Path:
        """Return the .npy file that a population's payload or running sum is recorded in."""
        return self.folder / "record" / f"{name}.npy"

    @property
    def counters(self) -> Path:
        """The .npy file of `COUNTERS` per population, in the netlist's order."""
        return self.folder / "counters.npy"

    def write(self, netlist: Netlist, payloads: np.ndarray, batch: LavaBatch) -> None:
        """Write what the worker needs."""
        with disk_errors():
            self.errors.mkdir()
            (self.folder / "record").mkdir()
            (self.folder / "netlist.h5").write_bytes(netlist_bytes(netlist))
            np.save(self.folder / "payloads.npy", payloads, allow_pickle=False)
            (self.folder / "batch.json").write_text(json.dumps(asdict(batch)))

    def read(self) -> tuple[Netlist, np.ndarray, LavaBatch]:
        """Read what `write` wrote; the payloads are mapped, not loaded."""
        payloads = np.load(self.folder / "payloads.npy", mmap_mode="r", allow_pickle=False)
        batch = LavaBatch(**json.loads((self.folder / "batch.json").read_text()))
        return read_netlist(self.folder / "netlist.h5"), payloads, batch

    def create_records(self, netlist: Netlist, schedule: Schedule, batch: LavaBatch) -> dict[str, np.ndarray]:
        """Create the files that populations record into; return them mapped, (T, N, *shape)."""
        records: dict[str, np.ndarray] = {}
        for population in netlist.populations:
            dtype: DTypeLike = np.uint8
            if isinstance(population, Input):
                dtype = population.payload_dtype
            elif isinstance(population, Readout | LeakyReadout):
                dtype = np.int64
            shape = (schedule.timesteps, batch.samples, *population.shape)
            records[population.name] = _create_mapped(self.record(population.name), dtype, shape)
        return records

    def create_counters(self, netlist: Netlist) -> np.ndarray:
        """Create the counters, mapped: (populations, len(COUNTERS)) int64."""
        return _create_mapped(self.counters, np.int64, (len(netlist.populations), len(COUNTERS)))


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what the system says of the run's files into a `BackendError`."""
    try:
        yield
    except OSError as error:
        raise BackendError(
            "lava", f"the run's files cannot be written or read: {error.strerror or error}", MAKE_ROOM
        ) from error


@contextmanager
def job_folder() -> Iterator[Job]:
    """Give a folder for a run, and remove it at the end."""
    with disk_errors():
        folder = tempfile.TemporaryDirectory(prefix="adafire-lava-")
    with folder as path:
        yield Job(Path(path))


def _create_mapped(path: Path, dtype: DTypeLike, shape: Shape) -> np.ndarray:
    """Create a .npy file of zeros, mapped and shared by all processes that are forked later."""
    array: np.ndarray = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    # Now, as an error, rather than later, as the death of a process that writes to a full disk.
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
