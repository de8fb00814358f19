"""A function per format of event recordings: (path, sensor's height and width or None) -> `Events`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.netlist import BackendError, FormatError, InputError
from toolchain.recordings.events import Events, in_order

Sensor = tuple[int, int] | None

#: Longest text in front of AEDAT 2.0 and .dat events: jAER writes its preferences there, 100 kB or so.
_MAX_HEADER = 1 << 24


def _after_header(path: Path, mark: bytes) -> tuple[bytes, bytes]:
    """Return the lines at the start of a file that begin with `mark`, and all that follows."""
    data = path.read_bytes()
    end = 0
    while data[end : end + 1] == mark:
        line = data.find(b"\n", end, _MAX_HEADER)
        if line < 0:
            raise FormatError(str(path), "its header does not end")
        end = line + 1
    return data[:end], data[end:]


def _records(path: Path, data: bytes, kind: np.dtype) -> np.ndarray:
    if len(data) % kind.itemsize:
        raise FormatError(str(path), f"{len(data)} bytes of events found, expected a multiple of {kind.itemsize}")
    return np.frombuffer(data, kind)


def read_aedat2(path: Path, sensor: Sensor) -> Events:
    """Read AEDAT 2.0, of a DVS128 or a DAVIS.

    After lines that start with #, pairs of big-endian 32-bit address and microseconds. Bits of an address, by
    iniVation's description of the format: DVS128: 15 external event, 14..8 y, 7..1 x, 0 polarity; DAVIS: 31 no
    polarity event, 30..22 y, 21..12 x, 11 polarity, 10 external event. y counts from the bottom.
    """
    header, data = _after_header(path, b"#")
    if not header.startswith(b"#!AER-DAT2.0"):
        first = header.split(b"\n")[0][:20].decode("latin-1").strip()
        raise FormatError(str(path), f"{first!r} found, expected '#!AER-DAT2.0'")
    words = _records(path, data, np.dtype([("address", ">u4"), ("t", ">i4")]))
    address, t = words["address"].astype(np.int64), words["t"]
    chip = re.search(rb"# AEChip: (\S+)", header)
    name = chip[1].decode("latin-1") if chip else "DVS128"
    if "davis" in name.lower():
        width, height = _davis_size(name)
        wanted = (address >> 31 == 0) & (address >> 10 & 1 == 0)
        y, x, p = address >> 22 & 0x1FF, address >> 12 & 0x3FF, address >> 11 & 1
    elif "DVS128" in name:
        width = height = 128
        wanted = address >> 15 & 1 == 0
        y, x, p = address >> 8 & 0x7F, address >> 1 & 0x7F, address & 1
    else:
        raise InputError(str(path), f"AEChip {name} found, expected a DVS128 or a DAVIS")
    height, width = sensor or (height, width)
    return in_order(path.name, x[wanted], height - 1 - y[wanted], t[wanted], p[wanted], (height, width))


def _davis_size(chip: str) -> tuple[int, int]:
    """Return a DAVIS's width and height by the number in its name: 240 x 180, 346 x 260, 640 x 480 pixels."""
    for width, height in ((346, 260), (640, 480)):
        if str(width) in chip:
            return width, height
    return 240, 180


def read_aedat4(path: Path, sensor: Sensor) -> Events:
    """Read AEDAT 4 with the package `aedat`: the first stream of events."""
    try:
        import aedat
    except ImportError:
        raise BackendError(
            "aedat", "reading AEDAT 4 needs the package aedat, which is not installed", "pip install adafire[events]"
        ) from None
    try:
        decoder: Any = aedat.Decoder(str(path))
        streams = [(key, s) for key, s in decoder.id_to_stream().items() if s["type"] == "events"]
        if not streams:
            raise InputError(str(path), "no stream of events found")
        number, stream = streams[0]
        packets = [packet["events"] for packet in decoder if packet["stream_id"] == number]
    except (RuntimeError, UnicodeDecodeError) as error:
        raise FormatError(str(path), f"is no AEDAT 4 recording or a damaged one ({error})") from None
    if not packets:
        raise InputError(str(path), "no events found")
    found = np.concatenate(packets)
    size = sensor or (int(stream["height"]), int(stream["width"]))
    return in_order(path.name, found["x"], found["y"], found["t"], found["on"], size)


def read_nmnist(path: Path, sensor: Sensor) -> Events:
    """Read N-MNIST's and N-Caltech101's .bin: 40 bits an event.

    G. Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades" (2015): x and
    y of 8 bits, polarity of one, microseconds of 23.
    """
    found = _records(path, path.read_bytes(), np.dtype(("u1", 5))).astype(np.int64)
    t = (found[:, 2] & 0x7F) << 16 | found[:, 3] << 8 | found[:, 4]
    # 34 x 34 pixels, unless the recording goes beyond (N-Caltech101).
    x, y = found[:, 0], found[:, 1]
    small = found.size and x.max() < 34 and y.max() < 34
    return in_order(path.name, x, y, t, found[:, 2] >> 7, sensor or ((34, 34) if small else None))


def read_dat(path: Path, sensor: Sensor) -> Events:
    """Read Prophesee's .dat, versions 1 and 2.

    After lines that start with %, two bytes (type and size of an event), then little-endian 32-bit microseconds and
    address. Version 2 of the address: x 14 bits, y 14 bits, polarity in bit 28; version 1: 9 bits, 8 bits, bit 17.
    """
    header, data = _after_header(path, b"%")
    if not header:
        raise FormatError(str(path), "no header found, expected lines that start with %")
    said = re.search(rb"% Version (\d+)", header)
    version = int(said[1]) if said else 1
    if version not in (1, 2):
        raise FormatError(str(path), f"version {version} found, expected 1 or 2")
    if data[1:2] != b"\x08":
        raise FormatError(str(path), f"events of {data[1] if len(data) > 1 else 0} bytes found, expected 8")
    words = _records(path, data[2:], np.dtype([("t", "<u4"), ("address", "<u4")]))
    address = words["address"].astype(np.int64)
    x_bits, y_bits, p_bit = (14, 14, 28) if version == 2 else (9, 8, 17)
    x, y = address & (1 << x_bits) - 1, address >> x_bits & (1 << y_bits) - 1
    sizes = [re.search(rb"% " + name + rb" (\d+)", header) for name in (b"Height", b"Width")]
    stated = (int(sizes[0][1]), int(sizes[1][1])) if sizes[0] and sizes[1] else None
    return in_order(path.name, x, y, words["t"], address >> p_bit & 1, sensor or stated)


def read_stmnist(path: Path, sensor: Sensor) -> Events:
    """Read ST-MNIST's .mat: `spiketrain` (101, E), a row of -1, 0, 1 for each of 10 x 10 taxels and one of seconds.

    H. H. See et al., "ST-MNIST - the spiking tactile MNIST neuromorphic dataset" (2020).
    """
    from scipy.io import loadmat

    try:
        found = loadmat(str(path), variable_names=["spiketrain"])
    except Exception as error:  # noqa: BLE001  # scipy raises whatever its parser hits
        raise FormatError(str(path), f"is no MATLAB file or a damaged one ({error})") from None
    train = np.asarray(found.get("spiketrain", np.empty(0)))
    if train.ndim != 2 or train.shape[0] != 101 or not np.issubdtype(train.dtype, np.number):
        raise FormatError(str(path), f"spiketrain of shape {train.shape} found, expected (101, events)")
    if not np.isfinite(train).all():
        raise FormatError(str(path), "spiketrain holds numbers that are not finite")
    taxel, column = np.nonzero(train[:100])
    t = np.rint(train[100, column] * 1e6)
    return in_order(path.name, taxel % 10, taxel // 10, t, train[taxel, column], sensor or (10, 10))


def _columns(path: Path, found: np.ndarray, sensor: Sensor) -> Events:
    """Take events from a structured array with fields x, y, t, p, or from the columns x, y, t, p of (E, 4)."""
    if found.dtype.names and {"x", "y", "t", "p"} <= set(found.dtype.names) and found.ndim == 1:
        columns = [found[name] for name in ("x", "y", "t", "p")]
    elif found.ndim == 2 and found.shape[1] == 4 and found.dtype.kind in "iuf":
        columns = list(found.T)
    else:
        raise FormatError(
            str(path),
            f"an array {found.dtype} {found.shape} found, expected columns x, y, t, p: (E, 4), or such fields",
        )
    return _checked(path, columns, sensor)


def _checked(path: Path, columns: list[np.ndarray], sensor: Sensor) -> Events:
    for name, column in zip("xytp", columns, strict=True):
        if column.dtype.kind not in "iufb" or column.ndim != 1 or column.shape != columns[0].shape:
            raise FormatError(str(path), f"{name} {column.dtype} {column.shape} found, expected numbers (E,)")
        if column.dtype.kind == "f" and not (np.isfinite(column).all() and np.abs(column).max(initial=0) < 2**53):
            raise FormatError(str(path), f"{name} holds numbers that are no coordinates or times")
    x, y, t, p = columns
    return in_order(path.name, x, y, t, p, sensor)


def read_array(path: Path, sensor: Sensor) -> Events:
    """Read .npy: (E, 4) numbers x, y, t, p, or a structured array with these fields; t in microseconds."""
    return _columns(path, np.load(path, allow_pickle=False, mmap_mode="r"), sensor)


def read_hdf5(path: Path, sensor: Sensor) -> Events:
    """Read HDF5: data sets x, y, t, p (E,) in the root or in a group `events`; t in microseconds."""
    from toolchain.files import open_guarded

    with open_guarded(path, "a recording") as root:
        group = root.child("events") if "events" in root and root.is_group("events") else root
        missing = [name for name in "xytp" if name not in group]
        if missing:
            raise FormatError(
                str(path), f"no {', '.join(missing)} found, expected data sets x, y, t, p, in the root or in 'events'"
            )
        columns = [group.array(name, compressed=True) for name in "xytp"]
    return _checked(path, columns, sensor)
