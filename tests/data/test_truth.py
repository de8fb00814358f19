"""What is true of samples: chosen with them, checked against them, kept in the data file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.data import Boxes, Dataset, Truth, read_data, write_data
from toolchain.data.truth import truth_of
from toolchain.data.values import Chosen, choose, parts
from toolchain.netlist import InputError


def everything(samples=4, boxes=9, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, 9, (boxes, 2, 2)), axis=1).reshape(boxes, 4).astype(np.float32)
    return Truth(
        rng.integers(0, 5, samples),
        rng.integers(0, 256, (samples, 3, 2)).astype(np.uint8),
        Boxes(corners, rng.integers(0, 3, boxes), rng.integers(0, samples, boxes)),
        rng.integers(0, 256, (samples, 6)),
    )


def of_sample(truth, sample):
    """Say what is true of one sample, by hand."""
    inside = truth.boxes.samples == sample
    return (
        truth.labels[sample],
        truth.masks[sample].tolist(),
        truth.boxes.boxes[inside].tolist(),
        truth.boxes.labels[inside].tolist(),
        truth.point_labels[sample].tolist(),
    )


@given(st.integers(1, 6), st.integers(0, 12), st.data())
def test_samples_keep_what_is_true_of_them(samples, boxes, draw):
    truth = everything(samples, boxes)
    chosen = draw.draw(st.lists(st.integers(0, samples - 1)))
    found = truth.select(np.array(chosen, np.int64))
    found.check("here", len(chosen))
    assert [of_sample(found, i) for i in range(len(chosen))] == [of_sample(truth, i) for i in chosen]
    start = draw.draw(st.integers(0, samples))
    part = truth.part(start, start + 2)
    assert [of_sample(part, i) for i in range(len(part.labels))] == [
        of_sample(truth, i) for i in range(start, min(start + 2, samples))
    ]


def test_the_data_file_keeps_it(tmp_path):
    truth, points = everything(), np.random.default_rng(0).normal(size=(4, 3, 6)).astype(np.float32)
    arrays = {"labels": truth.labels, "masks": truth.masks, "point_labels": truth.point_labels, "points": points}
    boxes = {"boxes": truth.boxes.boxes, "box_labels": truth.boxes.labels, "box_samples": truth.boxes.samples}
    write_data(tmp_path / "data.npz", **arrays, **boxes)
    data = read_data(tmp_path / "data.npz")
    assert np.array_equal(data.values, points)
    assert list(data.truth.content()) == list(truth.select(np.arange(4)).content())  # boxes by their pictures
    some = read_data(tmp_path / "data.npz", limit=2)
    assert [of_sample(some.truth, i) for i in range(2)] == [of_sample(truth, i) for i in range(2)]
    assert some.shape == (3, 6)
    assert not some.is_pictures


GOOD = {
    "images": np.zeros((2, 4, 4, 1), np.uint8),
    "boxes": np.array([[0, 0, 1, 1]], np.float32),
    "box_labels": np.array([0]),
    "box_samples": np.array([1]),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"box_samples": np.array([2])}, "box_samples from 2 to 2 found, expected 0 to 1"),
        ({"box_samples": np.array([-1])}, "box_samples from -1 to -1 found"),
        ({"box_labels": np.array([-1])}, "box_labels from -1 to -1 found"),
        ({"box_labels": np.array([0, 1])}, r"box_labels of shape \(2,\) found, expected \(1,\)"),
        ({"boxes": np.array([[2, 0, 1, 1]], np.float32)}, r"box 0 of \[2.0, 0.0, 1.0, 1.0\] found, expected x0 <= x1"),
        ({"boxes": np.array([[0, 0, 1, np.nan]], np.float32)}, "boxes hold NaN"),
        ({"boxes": np.array([[0, 0, 1, 1e300]])}, "boxes hold NaN or infinite"),
        ({"boxes": np.zeros((1, 5), np.float32)}, r"boxes of shape \(1, 5\) found, expected \(M, 4\)"),
        ({"masks": np.zeros((3, 4, 4), np.uint8)}, r"masks of shape \(3, 4, 4\) found, expected \(2, 4, 4\)"),
        ({"masks": np.zeros((2, 4), np.uint8)}, r"masks of shape \(2, 4\) found, expected \(2, H, W\)"),
        ({"masks": np.zeros((2, 4, 4), np.int64)}, "int64 found, expected one of uint8"),
        ({"labels": np.zeros((2, 4, 4), np.uint8)}, r"expected \(2,\); name classes of pixels 'masks'"),
        ({"point_labels": np.full((2, 4), 256)}, "point_labels from 256 to 256 found, expected 0 to 255"),
        ({"points": np.zeros((2, 3, 4), np.float32)}, "expected one of 'images', 'frames' and 'points'"),
    ],
)
def test_what_fits_no_sample_is_refused(tmp_path, changed, message):
    write_data(tmp_path / "data.npz", **{**GOOD, **changed})
    with pytest.raises(InputError, match=message):
        read_data(tmp_path / "data.npz")


def test_arrays_that_need_each_other_are_refused_alone(tmp_path):
    write_data(tmp_path / "data.npz", **{k: v for k, v in GOOD.items() if k != "box_labels"})
    with pytest.raises(InputError, match="boxes, box_samples found, expected all of boxes, box_labels, box_samples"):
        read_data(tmp_path / "data.npz")
    points = {"points": np.zeros((2, 3, 4), np.float32), "point_labels": np.zeros((2, 5), np.int64)}
    write_data(tmp_path / "data.npz", **points)
    with pytest.raises(InputError, match="point_labels of 5 points found, expected 4"):
        read_data(tmp_path / "data.npz")
    write_data(tmp_path / "data.npz", points=np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match=r"points of shape \(2, 3\) found, expected \(N, C, P\)"):
        read_data(tmp_path / "data.npz")


def test_a_data_set_and_its_truth_have_as_many_samples():
    values = np.zeros((3, 1, 2), np.float32)
    with pytest.raises(InputError, match=r"labels of shape \(2,\) found, expected \(3,\)"):
        Dataset("data", values, Truth(np.zeros(2, np.int64)))
    data = Dataset("data", values, Truth(np.arange(3)))
    assert data.unlabelled.labels is None
    with pytest.raises(InputError, match="bool found, expected integers"):
        truth_of("data", {"masks": np.zeros((3, 1, 2), bool)}, 3)


class Counted:
    """Samples that count how many of them lie in memory at a time."""

    def __init__(self, values):
        self.values, self.most = values, 0

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)

    def __getitem__(self, samples):
        self.most = max(self.most, len(part := self.values[samples]))
        return part


def test_samples_are_read_in_parts(monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4)).astype(np.uint8)
    monkeypatch.setattr("toolchain.data.values.PART_BYTES", 5 * 48)
    counted = Counted(values)
    stored, held = (Dataset("d", v, Truth(np.arange(20))) for v in (counted, values))
    order = np.array([7, 3, 19, 0, 3, 5, 6, 8])
    assert isinstance(stored.select(order).values, Chosen)
    assert stored.select(order).select(np.array([1, 0])).labels.tolist() == [3, 7]
    for a, b in ((stored, held), (stored.select(order), held.select(order))):
        assert (a.sha256, a.sha256_with_truth, a.shape) == (b.sha256, b.sha256_with_truth, b.shape)
        assert np.array_equal(a.normalized(np.zeros(3), np.ones(3), 2, 6), b.normalized(np.zeros(3), np.ones(3), 2, 6))
    assert counted.most == 5
    assert [len(part) for part in parts(choose(counted, order))] == [5, 3]
    assert held.sha256 != held.select(order).sha256
