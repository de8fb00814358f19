"""Scores against cases worked by hand, and against their definitions on anything."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.data import VOID, Boxes
from toolchain.netlist import Score
from toolchain.report.scores import score_tables
from toolchain.tasks import Confusion, Detected, Detections, Hits, Outcome, Parts, Tallies, score_interval

# Two pictures of 2 x 3 pixels, three classes; one pixel is not counted.
TRUE = np.array([[[0, 0, 1], [1, 2, VOID]], [[0, 1, 1], [1, 1, 0]]], np.uint8)
PREDICTED = np.array([[[0, 1, 1], [1, 1, 2]], [[0, 1, 1], [0, 1, 0]]])


def test_accuracy_of_one_and_of_five_guesses():
    logits = np.zeros((4, 7))
    logits[0, 3] = 1.0
    logits[1, :5] = 1.0  # of equal logits the first is the larger
    logits[2, 1:7] = [6, 5, 4, 3, 2, 1]
    logits[3, 0] = -1.0
    found = Hits.count(logits, np.array([3, 1, 6, 6])).score()
    # Right at once: the first sample. Class 6 is sixth of sample 2; of sample 3 it is sixth of six equal ones.
    assert (found.measure, found.value, found.further, found.samples) == ("accuracy", 0.25, {"top5": 0.5}, 4)
    assert score_interval(found) == pytest.approx((0.0456, 0.6994), abs=1e-4)


def test_one_logit_and_few_classes_have_no_five_guesses():
    found = Hits.count(np.array([[-2.0], [0.0], [3.0]]), np.array([0, 1, 1])).score()
    assert (found.value, found.further) == (2 / 3, {})


@given(st.integers(1, 40), st.integers(6, 12), st.integers(0, 2**32 - 1))
def test_five_guesses_are_the_first_five_of_a_stable_sort(samples, classes, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.integers(0, 4, (samples, classes)).astype(float), rng.integers(0, classes, samples)
    order = np.argsort(-logits, axis=1, kind="stable")
    found = Hits.count(logits, labels)
    assert found.first == (order[:, 0] == labels).sum()
    assert found.among == (order[:, :5] == labels[:, None]).any(1).sum()


def test_pixels_by_hand():
    found = Confusion.count(PREDICTED, TRUE, 3)
    assert found.matrix.tolist() == [[3, 1, 0], [1, 5, 0], [0, 1, 0]]
    score = found.score()
    # Class 0: 3 right, 1 missed, 1 wrong; class 1: 5, 1, 2; class 2: 0, 1, 0.
    assert score.per_class == {"IoU": (3 / 5, 5 / 8, 0.0), "dice": (6 / 8, 10 / 13, 0.0)}
    assert score.value == pytest.approx((3 / 5 + 5 / 8) / 3)
    assert score.further["pixel_accuracy"] == 8 / 11
    assert score.further["dice"] == pytest.approx((6 / 8 + 10 / 13) / 3)
    assert score.samples is None
    assert score_interval(score) is None


def test_a_class_that_does_not_occur_is_not_averaged():
    score = Confusion.count(PREDICTED, TRUE, 5).score()
    assert score.per_class["IoU"][3:] == (None, None)
    assert score.value == Confusion.count(PREDICTED, TRUE, 3).score().value


def test_parts_by_hand():
    """A part that is empty in both is 1 (ShapeNet); one that is only said to be there is 0."""
    true = np.array([[0, 0, 1, 1], [0, 0, 0, VOID]])
    predicted = np.array([[0, 1, 1, 1], [0, 0, 2, 1]])
    score = Parts.count(predicted, true, 3, None).score()
    first = (1 / 2 + 2 / 3 + 1) / 3
    second = (2 / 3 + 1 + 0) / 3
    assert score.further["part_mIoU"] == pytest.approx((first + second) / 2)
    assert score.further["point_accuracy"] == 5 / 7
    # Points of all clouds together: class 0 is right 3 times of 5, class 1 twice of 3, class 2 never.
    assert score.value == pytest.approx((3 / 5 + 2 / 3 + 0) / 3)


def test_parts_of_a_category_are_those_that_its_clouds_have():
    true = np.array([[0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 2, 2]])
    predicted = np.array([[0, 1, 1, 1], [2, 2, 3, 3], [2, 2, 2, 0]])
    score = Parts.count(predicted, true, 4, np.array([7, 9, 9])).score()
    # The first cloud has parts 0 and 1; the others 2 and 3, of which the last one has only 2: 3 is empty in both.
    assert score.further["part_mIoU"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 + (3 / 4 + 1) / 2) / 3)


def boxes(*found):
    """Boxes of (sample, label, x0, y0, x1, y1)."""
    array = np.array(found, float).reshape(-1, 6)
    return Boxes(array[:, 2:].astype(np.float32), array[:, 1].astype(np.int64), array[:, 0].astype(np.int64))


def detected(*found):
    """What is detected in a picture: (score, label, x0, y0, x1, y1)."""
    array = np.array(found, float).reshape(-1, 6)
    return Detected(array[:, 2:], array[:, 0], array[:, 1].astype(np.int64))


def test_boxes_by_hand():
    """One class, two objects. The surest box is right, the second misses, the third is right at an IoU of 0.6."""
    true = boxes((0, 1, 0, 0, 10, 10), (1, 1, 20, 20, 30, 30))
    found = Detections.collect(
        [detected((0.9, 1, 0, 0, 10, 10), (0.8, 1, 50, 50, 60, 60)), detected((0.7, 1, 20, 20, 30, 26))], true
    ).score()
    # Precision is 1 up to a recall of 1/2 (51 of 101 recalls), then 2/3. From an IoU of 0.65 on, 1/2 is all.
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert found.measure == "mAP50"
    assert found.value == pytest.approx(both)
    # An IoU of exactly 0.6 counts as one at the threshold 0.6.
    assert found.further["mAP50_95"] == pytest.approx((3 * both + 7 * one) / 10)
    assert found.per_class["AP50"] == (None, pytest.approx(both))


def test_a_second_box_on_an_object_is_wrong_and_a_missed_class_is_zero():
    true = boxes((0, 0, 0, 0, 10, 10), (0, 2, 40, 40, 50, 50))
    twice = detected((0.9, 0, 0, 0, 10, 10), (0.8, 0, 0, 0, 10, 10), (0.7, 1, 0, 0, 10, 10))
    found = Detections.collect([twice], true).score()
    # Class 1 occurs nowhere in the truth: it is not averaged, and what is said of it does not count.
    assert found.per_class["AP50"] == (1.0, None, 0.0)
    assert found.value == 0.5


def test_nothing_detected_is_zero():
    found = Detections.collect([detected()], boxes((0, 0, 0, 0, 10, 10))).score()
    assert (found.value, found.further) == (0.0, {"mAP50_95": 0.0})


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_batches_add_up_to_the_whole(cut, seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 4, (8, 10)), rng.integers(0, 4, (8, 10))
    logits, labels = rng.normal(size=(8, 7)), rng.integers(0, 7, 8)
    pictures = [detected((s, rng.integers(3), 0, 0, *rng.integers(1, 9, 2))) for s in rng.random(8)]
    objects = boxes(*((n, rng.integers(3), 0, 0, *rng.integers(1, 9, 2)) for n in range(8)))

    def tallies(part):
        return Tallies(
            (
                Hits.count(logits[part], labels[part]),
                Confusion.count(predicted[part], true[part], 4),
                Parts.count(predicted[part], true[part], 4, labels[part]),
                Detections.collect(pictures[part], objects.select(np.arange(8)[part])),
            )
        )

    whole = tallies(slice(0, 8)).scores()
    assert (tallies(slice(0, cut)) + tallies(slice(cut, 8))).scores() == whole
    assert len(whole) == 4


def test_tables_show_the_classes_that_occur_however_many_there_are():
    names = tuple(f"thing {n}" for n in range(80))
    score = Score("mAP50", 0.5, {}, {"AP50": (None,) * 60 + (0.5,) + (None,) * 18 + (0.0,)})
    found = Outcome("detection", names, score=score, ann=score)
    assert list(found.class_rows()) == [("  AP50 of thing 60", "50.00%"), ("  AP50 of thing 79", "0.00%")]
    shown = score_tables(SimpleNamespace(outcome=found))["classes"]
    assert shown == [("thing 60", "50.00%", "50.00%"), ("thing 79", "0.00%", "0.00%")]
