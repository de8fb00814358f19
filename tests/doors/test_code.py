"""Data that code makes: each sample asked for once, never all held, truth in the forms that people have it."""

import itertools
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from toolchain.data import Dataset, Truth
from toolchain.doors import open_data
from toolchain.netlist import InputError

X = torch.arange(5 * 2 * 3, dtype=torch.float32).reshape(5, 2, 3)


class Asked(torch.utils.data.Dataset):
    """A torch Dataset that notes what it was asked for."""

    def __init__(self, y=lambda index: index % 3):
        self.y, self.asked = y, []

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        self.asked.append(index)
        return X[index] + len(self.asked) * 1000, self.y(index)  # another one each time it is asked for


def test_a_torch_dataset_is_asked_once_for_each_sample():
    source = Asked()
    data = open_data(source)
    assert source.asked == [0, 1, 2, 3, 4]
    assert data.labels.tolist() == [0, 1, 2, 0, 1]
    first = data.values[:]
    assert np.array_equal(first % 1000, X.numpy())
    assert np.array_equal(data.select(np.array([3, 1])).values[:], first[[3, 1]])
    assert data.sha256 == Dataset("d", first).sha256
    assert len(source.asked) == 5
    assert open_data(Asked(), limit=2).labels.tolist() == [0, 1]


def test_calibration_asks_for_what_it_draws_only():
    source = Asked()
    data = open_data(source, labelled=False)
    assert (len(data), data.shape, data.labels, source.asked) == (5, (2, 3), None, [0])
    drawn = data.select(np.array([1, 4]))
    assert np.array_equal(drawn.values[:] % 1000, X[[1, 4]].numpy())
    assert np.array_equal(drawn.values[1:], drawn.values[np.array([1])])
    assert source.asked == [0, 1, 4]


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return ((np.full((1, 4), index, np.float32), np.int64(index)) for index in itertools.count())


def test_an_iterable_is_gone_through_once():
    data = open_data(((x, y) for x, y in zip(X, torch.arange(5), strict=True)))
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    for _ in range(2):
        assert np.array_equal(data.values[np.array([4, 0])], X[[4, 0]].numpy())
    assert open_data(Endless(), limit=3).labels.tolist() == [0, 1, 2]


def test_an_endless_one_ends_in_an_error(monkeypatch):
    monkeypatch.setattr("toolchain.data.on_disk.MAX_BYTES", 1 << 10)
    with pytest.raises(InputError, match="sample 64: more than 1024 bytes of samples found; end the data, or use"):
        open_data(Endless())


def test_an_endless_one_leaves_room_on_the_disk(monkeypatch):
    monkeypatch.setattr("toolchain.files.scratch._LOOK", 1 << 10)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=99))
    with pytest.raises(InputError, match=r"sample 63: 99 bytes left in .* found, expected at least 1073741824"):
        open_data(Endless())
    assert len(open_data(Endless(), limit=63)) == 63


def test_a_full_disk_is_one_clear_error(monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(InputError, match=r"sample 0: cannot be kept in .* \(No space left on device\); set TMPDIR"):
        open_data(Endless(), limit=3)


def test_pictures_have_the_channel_axis_where_their_kind_has_it():
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    for x in (picture, tensor, Image.fromarray(picture)):
        data = open_data([x, x], labelled=False)
        assert data.is_pictures
        assert np.array_equal(data.values[:][1], tensor.numpy())
    for whole in (np.stack([picture] * 2), torch.stack([tensor] * 2)):
        assert np.array_equal(open_data(whole).values[1:][0], tensor.numpy())
    assert open_data([picture[..., 0]]).shape == (1, 4, 5)
    assert open_data([X[0].bfloat16()]).values.dtype == np.float32
    assert open_data(TensorDataset(X)).labels is None
    assert open_data((X, torch.arange(5))).labels.tolist() == [0, 1, 2, 3, 4]


def test_truth_in_the_forms_people_have_it():
    mask = np.arange(6, dtype=np.int64).reshape(2, 3)
    for y in (mask, torch.from_numpy(mask)[None], Image.fromarray(mask.astype(np.uint8), "P")):
        found = open_data([(X[0], y), (X[1], y)]).truth
        assert found.masks.dtype == np.uint8
        assert np.array_equal(found.masks, [mask, mask])
    assert open_data([(X[0], torch.arange(3)), (X[1], torch.arange(3))]).truth.point_labels.tolist() == [[0, 1, 2]] * 2
    assert open_data([(X[0], torch.tensor([4])), (X[1], [5])]).labels.tolist() == [4, 5]
    boxes = [
        {"boxes": torch.tensor([[0.0, 1, 2, 3], [1, 1, 2, 2]]), "labels": torch.tensor([3, 1]), "image_id": 7},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
        {"boxes": np.array([[0, 0, 1, 1]]), "labels": [2]},
    ]
    found = open_data(list(zip(X[:3], boxes, strict=True))).truth.boxes
    assert (found.samples.tolist(), found.labels.tolist()) == ([0, 0, 2], [3, 1, 2])
    assert found.boxes.tolist() == [[0, 1, 2, 3], [1, 1, 2, 2], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (5, "int found, expected a torch Dataset or an iterable"),
        ([], "holds no samples"),
        (iter([]), "holds no samples"),
        (DataLoader(TensorDataset(X)), "a DataLoader found, which gives batches; give its `dataset`"),
        ([(X[0], 1), (X[0, 0], 1)], r"sample 1: float32 of shape \(3,\) found, those before are float32 of \(2, 3\)"),
        ([X[0], X[1].double()], "sample 1: float64 of shape"),
        ([X[0] * torch.nan], "sample 0: holds NaN"),
        ([(X[0], 1, 2)], "sample 0: 3 things found, expected x, or"),
        ([{"image": 1, "label": 2}], "picture; return the sample and what is true of it, of image, label"),
        ([{}], "sample 0: dict found, expected an array of numbers"),
        ([("cat", 1)], "sample 0: str found, expected an array"),
        ([(X[0], "cat")], "sample 0: y of str found, expected a whole number"),
        ([(X[0], 1j)], "sample 0: y of complex found, expected a whole number"),
        ([(X[0], 1), (X[0], 0.5)], "sample 1: y of float64 found, those before are int64"),
        ([(X[0], 1), (X[0], None)], "sample 1: y of NoneType found"),
        ([(X[0], 1), (X[0], torch.arange(3))], r"sample 1: y of shape \(3,\) found"),
        ([(X[0], np.full((2, 2), 256))], "masks from 256 to 256 found"),
        ([(X[0], {"boxes": torch.zeros(1, 4)})], "sample 0: y of dict found, expected a mapping with boxes and labels"),
        ([(X[0], {"boxes": torch.zeros(2, 4), "labels": [1]})], r"boxes \(2, 4\) and labels \(1,\) found"),
        ([(X[0], {"boxes": [[3, 0, 1, 1]], "labels": [1]})], "expected x0 <= x1"),
        ([Image.new("RGBA", (2, 2))], "a PIL picture of mode RGBA found"),
        (Asked(lambda index: 1 // (index - 2)), "sample 2 failed: ZeroDivisionError"),
        ((1 / x for x in (1, 0)), "sample 0: float found"),
        ((X[int(1 / x)] for x in (1, 0)), "sample 1 failed: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_used_is_named(made, message):
    with pytest.raises(InputError, match=f"^data.*{message}"):
        open_data(made)


CODE = """
import neighbour
import torch

def tensors():
    print("loading")
    return torch.utils.data.TensorDataset(torch.zeros(3, 1, 2), torch.tensor(neighbour.LABELS))

def pairs():
    for label in neighbour.LABELS:
        import neighbour as again
        yield torch.zeros(1, 2), label + again.LABELS[0]

def path():
    return "data.npz"

def held():
    import numpy as np
    from adafire import Dataset, Truth
    return Dataset("events", np.zeros((2, 4, 1, 2), np.float32), Truth(np.array([1, 0])), is_frames=True)

def broken():
    raise RuntimeError("no network")
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "neighbour.py").write_text("LABELS = [0, 2, 1]\n")
    return tmp_path / "mine.py"


def test_code_is_named_by_its_path(code, capsys):
    for name in ("tensors", "pairs"):
        data = open_data(f"{code}:{name}")
        assert (data.labels.tolist(), data.shape, data.name) == ([0, 2, 1], (1, 2), f"{code}:{name}")
    assert open_data(f"{code}:held").frames == 4
    assert open_data(f"{code}:held", limit=1).truth.labels.tolist() == [1]
    said = capsys.readouterr()
    assert said.out == ""
    assert "loading" in said.err
    with pytest.raises(InputError, match=r"broken\(\) failed: RuntimeError: no network"):
        open_data(f"{code}:broken")
    with pytest.raises(InputError, match=r"path\(\) returned a path, expected the data; give 'data.npz' itself"):
        open_data(f"{code}:path")
    with pytest.raises(InputError, match="has no callable 'pears'"):
        open_data(f"{code}:pears")


def test_a_data_set_is_taken_as_it_is():
    data = Dataset("d", X.numpy(), Truth(np.arange(5)))
    assert open_data(data) is data
    assert open_data(data, limit=2).labels.tolist() == [0, 1]
    with pytest.raises(InputError, match="limit: 0 found"):
        open_data(data, limit=0)
