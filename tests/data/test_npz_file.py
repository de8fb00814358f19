"""The data file: read lazily, without pickle, each fault named."""

import io
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from toolchain.data import Dataset, check_data, read_data
from toolchain.data.npz_file import IN_MEMORY
from toolchain.netlist import FormatError, InputError


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez_compressed(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


def test_pictures_turn_channels_first_and_to_the_unit_range(save):
    images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    data = read_data(save(images=images, labels=np.array([1, 0])))
    assert (len(data), data.shape) == (2, (3, 3, 4))
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])
    expected = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.normalized(mean, std), expected)
    np.testing.assert_array_equal(data.labels, [1, 0])


def test_pictures_without_a_channel_axis_have_one_channel(save):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    data = read_data(save(images=images))
    assert data.shape == (1, 3, 4)
    np.testing.assert_array_equal(data.values[:, 0], images)
    assert read_data(save(images=images.reshape(2, 12))).shape == (12,)
    assert read_data(save(images=images.astype(np.float32))).shape == (3, 4)


@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_are_taken_as_they_are(save, order):
    images = np.random.default_rng(0).normal(size=(5, 3, 4, 2)).astype(np.float32)
    data = read_data(save(images=np.array(images, order=order)), limit=3)
    np.testing.assert_array_equal(data.normalized(np.ones(3), np.ones(3)), images[:3])
    assert data.labels is None


def test_frames_put_time_first(save, make):
    netlist = make("concat")
    frames = np.random.default_rng(0).integers(0, 2, (3, 5, 2, 6, 6)).astype(np.uint8)
    data = read_data(save(frames=frames))
    check_data(data, netlist.input, timesteps=5)
    assert data.payloads(netlist.input).shape == (5, 3, 2, 6, 6)
    with pytest.raises(InputError, match="5 frames per sample found, expected at least 6"):
        check_data(data, netlist.input, timesteps=6)


def test_batches_make_the_same_payloads(save, make):
    netlist = make("cnn")
    data = read_data(save(images=np.random.default_rng(0).integers(0, 256, (11, 8, 8, 2)).astype(np.uint8)))
    whole = data.payloads(netlist.input)
    assert whole.dtype == np.int8
    np.testing.assert_array_equal(np.concatenate(list(data.batches(netlist.input, 4))), whole)


def test_a_limit_reads_no_more(save):
    path = save(images=np.zeros((4000, 64, 64, 3), np.uint8), labels=np.arange(4000))
    tracemalloc.start()
    data = read_data(path, limit=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) == len(data.labels) == 10
    assert peak < 5_000_000


SAMPLES = {
    "pictures": {"images": np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3)).astype(np.uint8)},
    "grey": {"images": np.random.default_rng(1).integers(0, 256, (9, 4, 5)).astype(np.uint8)},
    "volumes": {"images": np.random.default_rng(2).integers(0, 256, (9, 4, 5, 6, 2)).astype(np.uint8)},
    "floats": {"images": np.random.default_rng(3).normal(size=(9, 3, 4)).astype(">f4")},
    "frames": {"frames": np.random.default_rng(4).integers(0, 9, (9, 2, 1, 4, 4)).astype(">i2")},
    "points": {"points": np.random.default_rng(5).normal(size=(9, 3, 4))},
}


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("arrays", SAMPLES.values(), ids=SAMPLES)
def test_what_stays_on_the_disk_is_the_same(arrays, write, limit, monkeypatch, tmp_path):
    write(tmp_path / "data.npz", labels=np.arange(9), **arrays)
    held = read_data(tmp_path / "data.npz", limit=limit)
    monkeypatch.setattr("toolchain.data.npz_file.IN_MEMORY", 0)
    read = read_data(tmp_path / "data.npz", limit=limit)
    assert not isinstance(read.values, np.ndarray)
    assert (read.values.shape, read.values.dtype) == (held.values.shape, held.values.dtype)
    assert read.sha256_with_truth == held.sha256_with_truth
    for samples in (slice(None), slice(1, 4), slice(4, 0, -2), slice(3, 3), np.array([4, 0, 1, 2, 2])):
        np.testing.assert_array_equal(read.values[samples], held.values[samples])
    np.testing.assert_array_equal(read.select(np.array([3, 1])).values[:], held.values[[3, 1]])


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_what_stays_on_the_disk_takes_no_memory(write, tmp_path):
    write(tmp_path / "data.npz", images=np.zeros((1100, 512, 512), np.uint8))
    assert IN_MEMORY < 1100 * 512 * 512
    tracemalloc.start()
    data = read_data(tmp_path / "data.npz")
    data.sha256  # noqa: B018  # goes through all of it
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < IN_MEMORY


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_damage_is_found_on_the_disk_too(write, monkeypatch, tmp_path):
    monkeypatch.setattr("toolchain.data.npz_file.IN_MEMORY", 0)
    path = tmp_path / "data.npz"
    write(path, images=np.random.default_rng(0).integers(0, 256, (9, 8, 8, 2)).astype(np.uint8))
    whole = bytearray(path.read_bytes())
    whole[400] ^= 1
    path.write_bytes(whole)
    with pytest.raises(FormatError, match=r"data\.npz: is no \.npz file or a damaged one \(Bad CRC-32"):
        read_data(path)
    write(path, images=np.full((3, 1, 2, 2), np.nan))
    with pytest.raises(InputError, match=r"data\.npz: images holds NaN"):
        read_data(path)


def test_a_file_that_is_cut_while_it_is_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("toolchain.data.npz_file.IN_MEMORY", 0)
    path = tmp_path / "data.npz"
    np.savez(path, images=np.zeros((9, 8, 8, 2), np.uint8))
    data = read_data(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"data\.npz:images: became shorter while it was read"):
        data.values[:]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(3)}, "holds pictures; expected one of 'images', 'frames' and 'points'"),
        ({"images": np.zeros((3, 2, 2, 1), np.uint8), "frames": np.zeros(3)}, "expected one of"),
        (
            {"images": np.zeros((3, 2, 2, 1), np.uint8), "labels": np.zeros(4, np.int64)},
            r"\(4,\) found, expected \(3,\)",
        ),
        ({"images": np.zeros((3, 2, 2, 1), np.uint8), "labels": np.zeros(3)}, "labels: float64 found"),
        ({"images": np.full((3, 1, 2, 2), np.nan)}, "NaN"),
        ({"images": np.zeros((3, 2, 2, 1), np.int64)}, "images: int64 found"),
        ({"images": np.zeros((0, 2, 2, 1), np.uint8)}, "no samples"),
        ({"images": np.zeros((), np.uint8)}, "shape"),
        ({"images": np.array([{"a": 1}], dtype=object)}, "images: object found"),
        ({"frames": np.zeros((3, 2), np.uint8)}, "frames of shape"),
    ],
)
def test_a_fault_is_refused_by_name(save, arrays, message):
    with pytest.raises((InputError, FormatError), match=message) as caught:
        read_data(save(**arrays))
    assert "data.npz" in str(caught.value)


def test_data_that_do_not_fit_the_network_are_named(save, make):
    netlist = make("cnn")
    data = read_data(save(images=np.zeros((2, 9, 9, 2), np.uint8), labels=np.array([0, 7])))
    with pytest.raises(InputError, match=r"data\.npz: samples of shape \(2, 9, 9\) found, expected \(2, 8, 8\)"):
        check_data(data, netlist.input)
    data = read_data(save(images=np.zeros((2, 8, 8, 2), np.uint8), labels=np.array([0, 7])))
    grey = Dataset("grey", np.zeros((2, 1, 8, 8), np.uint8))
    with pytest.raises(InputError, match=r"expected \(3, 8, 8\) \(channels first\); make the pictures RGB"):
        check_data(grey, replace(make("cnn").input, shape=(3, 8, 8), mean=np.zeros(3), std=np.ones(3)))
    with pytest.raises(InputError, match="images found, expected frames"):
        check_data(data, make("concat").input)


def claim(path, shape, data=b"", declared=None):
    """A .npz whose header claims a shape that its data do not have."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + data)
    return path


@pytest.mark.parametrize("shape", [(1 << 40, 32, 32, 3), (10, 1 << 62, 1 << 62, 4), (2, 2, 2, 1)])
def test_a_header_that_lies_allocates_nothing(shape, tmp_path):
    with pytest.raises(FormatError, match="bytes stored, expected"):
        read_data(claim(tmp_path / "data.npz", shape, b"1234"))


def test_damaged_archives_are_refused(save, tmp_path):
    path = save(images=np.random.default_rng(0).integers(0, 256, (9, 8, 8, 2)).astype(np.uint8))
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"data\.npz"):
            read_data(path)
    with pytest.raises(InputError, match="no such file"):
        read_data(tmp_path / "other.npz")
