"""Frames of recordings, by hand and held to their definition event by event."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.cli import run
from toolchain.data import read_data
from toolchain.netlist import InputError
from toolchain.recordings import Events, Framing, frames, read_frames


def recording(events, height=4, width=6):
    x, y, t, p = np.array(sorted(events, key=lambda e: e[2]), np.int64).reshape(-1, 4).T
    return Events("made.npy", x, y, t, p, width, height)


@st.composite
def recordings(draw):
    event = st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 99), st.integers(0, 1))
    return recording(draw(st.lists(event, min_size=1, max_size=40)))


def test_counts_by_hand():
    events = recording([(0, 0, 100, 1), (5, 3, 101, 0), (5, 3, 119, 0), (2, 1, 120, 1)])
    found = frames(events, Framing(timesteps=2, window=10))
    assert found.shape == (1, 2, 2, 4, 6)  # three frames: the third fills no sample
    assert found.dtype == np.uint8
    expected = np.zeros_like(found)
    expected[0, 0, 1, 0, 0] = expected[0, 0, 0, 3, 5] = expected[0, 1, 0, 3, 5] = 1
    np.testing.assert_array_equal(found, expected)


def test_surfaces_by_hand():
    events = recording([(0, 0, 100, 1), (0, 0, 104, 1), (1, 0, 109, 0)])
    found = frames(events, Framing(timesteps=1, window=10, values="surface"))
    assert found.dtype == np.float32
    assert found[0, 0, 1, 0, 0] == np.float32(0.5)
    assert found[0, 0, 0, 0, 1] == 1
    assert np.count_nonzero(found) == 2


def test_pixels_of_the_sensor_join():
    found = frames(recording([(0, 0, 0, 1), (1, 1, 0, 1), (5, 3, 0, 0)]), Framing(timesteps=1, size=(2, 3)))
    assert found[0, 0, 1].tolist() == [[2, 0, 0], [0, 0, 0]]
    assert found[0, 0, 0].tolist() == [[0, 0, 0], [0, 0, 1]]


@settings(max_examples=100)
@given(recordings(), st.integers(1, 5), st.sampled_from(["whole", "window", "count"]), st.integers(1, 30))
def test_every_event_is_in_its_frame(events, timesteps, cut, number):
    framing = Framing(timesteps, **({} if cut == "whole" else {cut: number}))
    found = frames(events, framing)
    expected = np.zeros_like(found)
    last = found.shape[0] * timesteps
    for i in range(len(events)):
        since = int(events.t[i] - events.t[0])
        frame = {"whole": since * timesteps // events.duration, "window": since // number, "count": i // number}[cut]
        if frame < last:
            expected[frame // timesteps, frame % timesteps, events.p[i], events.y[i], events.x[i]] += 1
    if cut == "count" and len(events) // number > 0:
        # An incomplete frame is none.
        expected.reshape(last, -1)[len(events) // number :] = 0
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=50)
@given(recordings(), st.integers(1, 4), st.sampled_from([{}, {"window": 7}, {"count": 3}]))
def test_surfaces_are_where_counts_are(events, timesteps, cut):
    counted = frames(events, Framing(timesteps, **cut))
    surface = frames(events, Framing(timesteps, **cut, values="surface"))
    np.testing.assert_array_equal(surface > 0, counted > 0)
    assert surface.max() <= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timesteps": 0}, "timesteps: 0 found"),
        ({"window": 0}, "window: 0 found"),
        ({"window": 5, "count": 5}, "give one of both"),
        ({"size": (0, 3)}, "positive numbers of pixels"),
    ],
)
def test_framings_that_are_none(fields, message):
    with pytest.raises(InputError, match=message):
        Framing(**fields)


def test_frames_that_no_memory_holds_are_refused():
    events = recording([(0, 0, 0, 1), (0, 0, 10**12, 1)])
    with pytest.raises(InputError, match="use `limit`"):
        frames(events, Framing(timesteps=1, window=1))
    assert frames(events, Framing(timesteps=1, window=1), limit=3).shape[0] == 3
    with pytest.raises(InputError, match="at most the sensor's 4 x 6"):
        frames(events, Framing(size=(8, 8)))


@pytest.fixture
def folder(tmp_path):
    """Two classes, of two recordings and of one."""
    for number, name in enumerate(("cat/a.npy", "cat/b.npy", "dog/c.npy")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        times = np.arange(40) * 10
        np.save(tmp_path / name, np.stack([times % 8, times % 5, times, np.full(40, number % 2)], 1))
    return tmp_path


def test_the_command_writes_what_others_read(folder, capsys):
    words = ["data", "events", str(folder), "--timesteps", "2", "--window", "100", "--sensor", "8,8", "--size", "4,4"]
    assert run([*words, "-o", str(folder / "d.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["shape"], found["classes"]) == (6, [2, 2, 4, 4], {"cat": 4, "dog": 2})
    data = read_data(folder / "d.npz")
    assert data.is_frames
    assert data.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert data.values.sum() == 3 * 40
    first = (folder / "d.npz").read_bytes()
    assert run([*words, "-o", str(folder / "d.npz")]) == 0
    assert "4 cat, 2 dog" in capsys.readouterr().out
    assert (folder / "d.npz").read_bytes() == first


def test_a_limit_takes_evenly_from_all(folder):
    made, labels, classes = read_frames(folder, Framing(2, window=100), sensor=(8, 8), limit=3)
    assert (len(made), labels.tolist(), classes) == (3, [0, 0, 1], ("cat", "dog"))


def test_recordings_side_by_side_are_a_class_each(folder):
    made, labels, classes = read_frames(folder / "cat", Framing(2, window=100), sensor=(8, 8))
    assert (len(made), labels.tolist(), classes) == (4, [0, 0, 1, 1], ("a", "b"))
    _, labels, _ = read_frames(folder / "cat" / "a.npy", Framing(2))
    assert labels is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such file"),
        (["."], "no recordings found"),
        (["cat", "--size", "9"], "--size: '9' found, expected H,W"),
        (["cat", "--window", "5", "--count", "5"], "--count: frames of a fixed time"),
        (["cat/a.npy", "--size", "900,900"], "--size 900 x 900 found"),
    ],
)
def test_bad_input_is_one_line(folder, monkeypatch, capsys, arguments, message):
    (folder / "dog" / "c.npy").unlink()
    (folder / "dog").rmdir()
    (folder / "empty").mkdir()
    monkeypatch.chdir(folder / "empty" if arguments == ["."] else folder)
    assert run(["data", "events", *arguments, "-o", "d.npz"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(folder.rglob("d.npz"))
