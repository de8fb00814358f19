"""Pictures of samples: what is painted where, and that the words beside them are what the networks said."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from builder import Builder
from PIL import Image
from random_netlists import FullRange

from sim import simulate
from toolchain.data import Boxes, Dataset, Truth
from toolchain.netlist import Provenance, TaskRecord
from toolchain.report import measure, to_html
from toolchain.report.pictures import draw
from toolchain.report.pictures.paint import address, boxed, colour, covered, photograph, scattered
from toolchain.tasks import Decoder

T = 8


def rgb(label: int) -> tuple[int, ...]:
    return tuple(int(colour(label)[i : i + 2], 16) for i in (1, 3, 5))


def opened(picture: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))


def netlist_for(task, shape, *operators, **source):
    b = Builder(FullRange(), 0, 4, shape, **source)
    b.fire("a", b.conv(4, 3 if len(shape) == 3 else 1))
    chosen = {"conv": lambda: b.conv(3, 1), "linear": lambda: b.linear(3)}
    found = b.read("output", *(chosen[o]() for o in operators)).netlist(T)
    return replace(found, provenance=Provenance(task=TaskRecord(task, ("road", "car", "tree"))))


def test_masks_are_laid_over_the_picture_and_say_how_much_is_right():
    netlist = netlist_for("segmentation", (3, 8, 8), "conv")
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (10, 8, 8)).astype(np.uint8)
    masks[:, :2] = 255
    data = Dataset("d", rng.integers(0, 256, (10, 3, 8, 8)).astype(np.uint8), Truth(masks=masks))
    m = measure(netlist, data, name="net")
    assert [shown.position for shown in m.gallery] == [0, 3, 6, 9]
    pictures = draw(m.gallery, m.outcome.classes)
    assert pictures.headings == ("truth", "SNN, t = 2", "SNN, t = 4", "SNN, t = 8")
    assert {name for name, _ in pictures.legend} <= {"road", "car", "tree"}
    readout = simulate(netlist, data.payloads(netlist.input)).readout * netlist.readouts[0].scale.reshape(3, 1, 1)
    for shown, (title, cells) in zip(m.gallery, pictures.rows, strict=True):
        assert title == f"sample {shown.position}"
        for t, cell in zip((2, 4, 8), cells[1:], strict=True):
            said = readout[t - 1, shown.position].argmax(0)
            np.testing.assert_array_equal(shown.snn[t].classes, said)
            right = (said == masks[shown.position])[2:].mean()
            assert cell.text == f"{right:.1%} right"
            assert f"SNN, timestep {t}: " in cell.alt
    page = to_html(m)
    assert 'id="pictures"' in page
    assert page.count('<img src="data:image/') == 4 * 4
    assert all(f'alt="{cell.alt}"' in page for _, cells in pictures.rows for cell in cells)


def test_boxes_of_some_confidence_are_drawn():
    netlist = netlist_for("detection", (3, 8, 8), "conv")
    true = Boxes(np.array([[1, 1, 4, 4]], np.float32), np.array([2]), np.array([0]))
    data = Dataset("d", np.zeros((1, 3, 8, 8), np.uint8), Truth(boxes=true))

    def decode(outputs, shape):
        assert shape == (3, 8, 8)
        boxes, scores = np.array([[2, 2, 6, 6], [0, 0, 8, 8.0]]), np.array([0.31, 0.29])
        return [(boxes, scores, np.array([1, 0]))] * len(outputs["output"])

    m = measure(netlist, data, name="net", decode=Decoder(decode))
    pictures = draw(m.gallery, m.outcome.classes)
    ((_, cells),) = pictures.rows
    assert [cell.text for cell in cells] == ["1 × tree", "1 × car", "1 × car", "1 × car"]
    assert pictures.legend == (("car", colour(1)), ("tree", colour(2)))
    assert "30%" in pictures.note
    found = np.asarray(opened(cells[1].picture).convert("RGB"))
    assert tuple(found[2, 3]) == rgb(1)
    assert tuple(found[4, 4]) == (0, 0, 0)


def test_points_are_coloured_by_class():
    netlist = netlist_for("points", (3, 12), "conv")
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (2, 12))
    labels[:, 0] = 255
    data = Dataset("d", rng.normal(size=(2, 3, 12)), Truth(point_labels=labels))
    pictures = draw(measure(netlist, data, name="net").gallery)
    (_, cells), _ = pictures.rows
    found = np.asarray(opened(cells[0].picture))
    shown = {tuple(int(v) for v in pixel[:3]) for pixel in found.reshape(-1, 4) if pixel[3]}
    assert shown == {rgb(label) for label in np.unique(labels[0, 1:])}


def test_events_are_shown_as_far_as_they_have_come():
    netlist = netlist_for("classification", (2, 8, 8), "linear", bits=4, signed=False, coding="frames")
    rng = np.random.default_rng(2)
    frames, labels = rng.integers(0, 2, (3, T, 2, 8, 8)).astype(np.uint8), np.array([0, 1, 2])
    m = measure(netlist, Dataset("d", frames, Truth(labels=labels), is_frames=True), name="net")
    pictures = draw(m.gallery, m.outcome.classes)
    assert "by then" in pictures.note
    decisions = (simulate(netlist, frames.swapaxes(0, 1)).readout * netlist.readouts[0].scale).argmax(-1)
    for n, (_, cells) in enumerate(pictures.rows):
        assert cells[0].text == ("road", "car", "tree")[n]
        assert [cell.right for cell in cells[1:]] == [bool(decisions[t - 1, n] == n) for t in (2, 4, 8)]
        assert len({cell.picture for cell in cells}) == 3  # those of the truth and of the last timestep are one
    page = to_html(m)
    assert page.count('<span class="hidden">right: ') + page.count('<span class="hidden">wrong: ') == 9


def test_nothing_is_shown_of_a_network_without_a_task(make_netlist):
    netlist = make_netlist("upsampling")
    m = measure(netlist, Dataset("d", np.zeros((2, *netlist.input.shape))), name="net")
    assert m.gallery == ()
    assert 'id="pictures"' not in to_html(m)


def test_a_mask_covers_what_it_counts():
    picture = photograph(np.full((3, 4, 4), 100, np.uint8))
    drawn = covered(picture, np.array([[0, 255], [255, 255]]))
    mixed = np.rint(0.4 * 100 + 0.6 * np.array(rgb(0)))
    np.testing.assert_array_equal(drawn[0, 0], [*mixed, 255])
    np.testing.assert_array_equal(drawn[2:, 2:], picture[2:, 2:])


def test_boxes_keep_to_the_picture():
    picture = photograph(np.zeros((1, 10, 20), np.uint8))
    drawn = boxed(picture, np.array([[-5, -5, 100, 100.0]]), np.array([3]), (20, 40))
    assert tuple(drawn[0, 0, :3]) == tuple(drawn[9, 19, :3]) == rgb(3)
    assert not drawn[1:9, 1:19, :3].any()


def test_large_pictures_are_averaged_to_a_size_that_a_page_bears():
    values = np.zeros((3, 600, 300), np.uint8)
    values[:, ::3] = 90
    assert photograph(values).shape == (200, 100, 4)
    assert set(np.unique(photograph(values)[..., :3])) == {30}


def test_of_events_the_polarity_that_prevails_is_seen():
    counts = np.zeros((2, 2, 2))
    counts[0, 0, 0], counts[1, 1, 1] = 3, 1
    drawn = photograph(counts)
    assert tuple(drawn[0, 0, :3]) != tuple(drawn[1, 1, :3])
    assert drawn[0, 0, 3] > drawn[1, 1, 3] > 0
    assert drawn[0, 1, 3] == 0


def test_near_points_cover_far_ones():
    """Both fall on one place of the picture; what is seen is the one that has less depth."""
    turn = np.deg2rad(35)
    behind = np.array([np.sin(turn), np.cos(turn), 0.0])
    line = np.stack([behind, -behind], 1) - np.array([[0], [0], [1]]) * np.tan(np.deg2rad(25)) * [1, -1]
    aside = np.array([np.cos(turn), -np.sin(turn), 0.0])
    drawn = scattered(np.column_stack([line, aside, -aside]), np.array([0, 1, 2, 2]))
    assert tuple(drawn[drawn.shape[0] // 2, drawn.shape[1] // 2, :3]) == rgb(1)


@pytest.mark.parametrize("label", [0, 10, 11, 200])
def test_every_class_has_a_colour(label):
    assert len(rgb(label)) == 3


def test_photographs_are_webp_and_what_has_few_colours_png():
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    assert address(photograph(noise)).startswith("data:image/webp;base64,")
    assert address(photograph(np.zeros((3, 32, 32), np.uint8))).startswith("data:image/png;base64,")
    assert opened(address(photograph(noise))).size == (32, 32)
