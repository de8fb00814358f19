"""Read a recording, whatever wrote it: the format follows from the name's ending and the first bytes.

No format's own code runs and nothing is unpickled. Sizes are bounded by those of the file before memory is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolchain.netlist import AdafireError, FormatError, InputError
from toolchain.recordings.events import Events
from toolchain.recordings.formats import (
    read_aedat2,
    read_aedat4,
    read_array,
    read_dat,
    read_hdf5,
    read_nmnist,
    read_stmnist,
)

#: Largest recording that is read, in bytes.
MAX_BYTES = 1 << 32

#: By the name's ending.
READERS: dict[str, Callable[[Path, tuple[int, int] | None], Events]] = {
    ".aedat": read_aedat2,
    ".aedat4": read_aedat4,
    ".bin": read_nmnist,
    ".dat": read_dat,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".mat": read_stmnist,
    ".npy": read_array,
}


def read_events(path: Path | str, *, sensor: tuple[int, int] | None = None) -> Events:
    """Read one recording.

    Parameters
    ----------
    path : path
        AEDAT 2.0 (.aedat), AEDAT 4 (.aedat4), N-MNIST's .bin, Prophesee's .dat, ST-MNIST's .mat, or x, y, t, p in HDF5
        or .npy (`docs/formats.md`).
    sensor : (height, width), optional
        Of formats that do not say it; by default the sensor of the data set, or as large as the coordinates need.

    Returns
    -------
    Events

    Raises
    ------
    InputError
        When there is no such file, of no known ending, or it holds no events.
    FormatError
        When it is not what its ending says, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such file" if not path.exists() else "is no file", "name a recording")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(str(path), f"ending {path.suffix!r} found, expected one of {', '.join(READERS)}")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            str(path), f"{path.stat().st_size} bytes found, expected at most {MAX_BYTES}", "split the file"
        )
    try:
        return reader(path, sensor)
    except (OSError, ValueError, KeyError, IndexError, EOFError, OverflowError) as error:
        if isinstance(error, AdafireError):
            raise
        raise FormatError(str(path), f"is no {path.suffix} recording or a damaged one ({error})") from None
