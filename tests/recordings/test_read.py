"""Recordings in the formats of others: written here by their descriptions, and real ones where there are some."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from toolchain.netlist import AdafireError, FormatError, InputError
from toolchain.recordings import read_events

#: (x, y, t, p) of a few events, in order.
EVENTS = [(3, 5, 10, 1), (127, 0, 10, 0), (0, 127, 250, 1), (64, 64, 70_000, 0)]


def written(folder: Path, kind: str, events=EVENTS) -> Path:
    path = folder / f"events.{kind.split(' ')[0]}"
    match kind:
        case "aedat dvs128":
            pairs = [((127 - y) << 8 | x << 1 | p, t) for x, y, t, p in events]
            pairs.insert(1, (1 << 15, 10))  # an external event, which is no pixel's
            head = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
            path.write_bytes(head + b"".join(struct.pack(">II", *pair) for pair in pairs))
        case "aedat davis":
            pairs = [((179 - y) << 22 | x << 12 | p << 11, t) for x, y, t, p in events]
            pairs.insert(2, (1 << 31, 10))  # a picture's sample
            head = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
            path.write_bytes(head + b"".join(struct.pack(">II", *pair) for pair in pairs))
        case "bin":
            words = (bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, t, p in events)
            path.write_bytes(b"".join(words))
        case "dat 2":
            words = b"".join(struct.pack("<II", t, p << 28 | y << 14 | x) for x, y, t, p in events)
            path.write_bytes(b"% Version 2\n% Height 130\n% Width 140\n\x0c\x08" + words)
        case "dat 1":
            words = b"".join(struct.pack("<II", t, p << 17 | y << 9 | x) for x, y, t, p in events)
            path.write_bytes(b"% an older one\n\x00\x08" + words)
        case "npy columns":
            np.save(path, np.array(events))
        case "npy fields":
            kinds = [("t", np.uint64), ("x", np.uint16), ("y", np.uint16), ("p", bool)]
            np.save(path, np.array([(t, x, y, p) for x, y, t, p in events], kinds))
        case "h5" | "hdf5":
            with h5py.File(path, "w") as file:
                group = file if kind == "h5" else file.create_group("events")
                for name, column in zip("xytp", np.array(events).T, strict=True):
                    group.create_dataset(name, data=column, compression="gzip" if kind == "h5" else None)
    return path


SIZES = {"aedat dvs128": (128, 128), "aedat davis": (180, 240), "dat 2": (130, 140)}


@pytest.mark.parametrize("kind", [*SIZES, "bin", "dat 1", "npy columns", "npy fields", "h5", "hdf5"])
def test_every_format_gives_the_events_that_it_holds(kind, tmp_path):
    found = read_events(written(tmp_path, kind))
    assert list(zip(found.x, found.y, found.t, found.p, strict=True)) == EVENTS
    assert (found.height, found.width) == SIZES.get(kind, (128, 128))
    assert found.duration == 69_991


def test_a_tactile_recording_has_its_taxels(tmp_path):
    train = np.zeros((101, 3))
    train[100] = [0.5, 0.25, 0.75]
    train[37, 0], train[99, 1], train[0, 2] = 1, -1, 1
    savemat(tmp_path / "touch.mat", {"spiketrain": train})
    found = read_events(tmp_path / "touch.mat")
    assert list(zip(found.x, found.y, found.t, found.p, strict=True)) == [
        (9, 9, 250_000, 0),
        (7, 3, 500_000, 1),
        (0, 0, 750_000, 1),
    ]
    assert (found.height, found.width) == (10, 10)


def test_small_recordings_are_of_the_data_set_that_is_small(tmp_path):
    found = read_events(written(tmp_path, "bin", [(3, 4, 1, 0)]))
    assert (found.height, found.width) == (34, 34)
    assert read_events(written(tmp_path, "bin", [(3, 4, 1, 0)]), sensor=(28, 30)).width == 30


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.bin", b"", "no events"),
        ("cut.bin", b"123456", "multiple of 5"),
        ("cut.aedat", b"#!AER-DAT2.0\r\n12345", "multiple of 8"),
        ("new.aedat", b"#!AER-DAT3.1\r\n", "expected '#!AER-DAT2.0'"),
        ("endless.aedat", b"#!AER-DAT2.0", "header does not end"),
        (
            "cochlea.aedat",
            b"#!AER-DAT2.0\n# AEChip: ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c\n12345678",
            "CochleaAMS1c",
        ),
        ("four.aedat4", b"#!AER-DAT4.0\r\nnothing", "AEDAT 4"),
        ("plain.dat", b"12345678", "no header"),
        ("later.dat", b"% Version 3\n\x0c\x08", "version 3"),
        ("wide.dat", b"% Version 2\n\x0c\x10", "events of 16 bytes"),
        ("no.mat", b"nothing", "MATLAB"),
        ("no.h5", b"nothing", "no.h5"),
        ("no.npy", b"nothing", "no.npy"),
        ("film.avi", b"", "ending '.avi'"),
    ],
)
def test_what_is_no_recording_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((InputError, FormatError), match=message):
        read_events(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 5)), "expected columns"),
        (np.array([[0, 0, np.nan, 1]]), "no coordinates or times"),
        (np.array([[-1, 0, 0, 1]]), "x from -1"),
        (np.array([[0, 70_000, 0, 1]]), "1 x 70001 found"),
        (np.array([[3, 4, 0.25, 1]]), "t of 0.25 found, expected whole numbers; give whole microseconds"),
        (np.array([[0.5, 4, 7, 1]]), "x of 0.5 found, expected whole numbers; give whole pixels"),
        (np.array([[0, 0, 0, 2]]), "polarities from 2"),
        (np.array([["a", "b", "c", "d"]]), "expected columns"),
        (np.array([None]), "damaged"),
    ],
)
def test_arrays_that_hold_no_events_are_refused(array, message, tmp_path):
    np.save(tmp_path / "events.npy", array, allow_pickle=True)
    with pytest.raises((InputError, FormatError), match=message):
        read_events(tmp_path / "events.npy")


def test_hdf5_without_one_of_the_four_is_refused(tmp_path):
    with h5py.File(tmp_path / "events.h5", "w") as file:
        for name in "xyp":
            file[name] = np.zeros(3, np.int64)
    with pytest.raises(FormatError, match="no t found"):
        read_events(tmp_path / "events.h5")


@settings(max_examples=60)
@given(kind=st.sampled_from([*SIZES, "bin", "dat 1", "npy columns", "h5"]), data=st.data())
def test_a_damaged_file_is_read_or_refused(kind, data, tmp_path_factory):
    """Whatever is in it: events within the sensor, or one clear error."""
    path = written(tmp_path_factory.mktemp("damaged"), kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_events(path)
    except AdafireError:
        return
    assert (np.diff(found.t) >= 0).all()
    assert found.x.max() < found.width
    assert found.y.max() < found.height


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("sample.aedat4", (240, 320)),
        ("dv_sample_data.aedat4", (260, 346)),
        ("dv_test_minimal.aedat4", (480, 640)),
        ("sample_ncars.dat", None),
        ("sample_nmnist.bin", (34, 34)),
        ("sample_stmnist.mat", (10, 10)),
    ],
)
def test_real_recordings(name, size, adafire_data):
    found = read_events(adafire_data / "events" / "readers" / name)
    assert len(found) > 1000
    assert size is None or (found.height, found.width) == size
    assert set(np.unique(found.p)) <= {0, 1}
    assert 0 < found.duration < 60_000_000
