"""Boxes of COCO and of VOC: whose numbers, which corners, what is left out; hostile files end in one line."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from toolchain.cli import run
from toolchain.data import read_data
from toolchain.doors.coco import read_coco
from toolchain.doors.voc import read_voc
from toolchain.netlist import AdafireError, FormatError, InputError
from toolchain.specs import parse_names

COCO = {
    "images": [
        {"id": 7, "file_name": "in/7.png", "height": 6, "width": 8},
        {"id": 3, "file_name": "3.png", "height": 6, "width": 8},
    ],
    "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}],
    "annotations": [
        {"image_id": 3, "category_id": 9, "bbox": [1, 2, 3, 4], "iscrowd": 0},
        {"image_id": 7, "category_id": 2, "bbox": [0.5, 0, 2, 1]},
        {"image_id": 3, "category_id": 2, "bbox": [6, 4, 9, 9]},
        {"image_id": 3, "category_id": 2, "bbox": [0, 0, 8, 6], "iscrowd": 1},
        {"image_id": 3, "category_id": 2, "bbox": [1, 1, 0, 6]},
    ],
}

VOC = """<annotation><filename>ignored.png</filename><size><width>8</width><height>6</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4</xmax><ymax>6</ymax></bndbox>
</object><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8.5</xmax><ymax>1</ymax></bndbox></object>
<object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8</xmax><ymax>6</ymax></bndbox>
</object></annotation>"""


@pytest.fixture
def coco(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("in/7.png", "3.png"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    (tmp_path / "notes.json").write_text(json.dumps(COCO))
    return tmp_path / "notes.json"


@pytest.fixture
def voc(tmp_path):
    for place in ("Annotations", "JPEGImages"):
        (tmp_path / place).mkdir()
    for name in ("0", "1"):
        Image.new("RGB", (8, 6)).save(tmp_path / f"JPEGImages/{name}.jpg")
        (tmp_path / f"Annotations/{name}.xml").write_text(VOC)
    return tmp_path


def test_coco(coco):
    made = read_coco(coco)
    assert made.arrays["images"].shape == (2, 6, 8, 3)
    assert made.arrays["boxes"].tolist() == [[0.5, 0, 2.5, 1], [1, 2, 4, 6], [6, 4, 8, 6]]
    assert made.arrays["box_labels"].tolist() == [0, 1, 0]  # by the numbers of categories: cat, dog
    assert made.arrays["box_samples"].tolist() == [0, 1, 1]
    assert made.counts == {"cat": 2, "dog": 1}
    assert made.notes == ("1 boxes left out: crowds", "1 boxes left out: without area")
    some = read_coco(coco, classes=("dog",), size=(12, 8))
    assert some.arrays["boxes"].tolist() == [[1, 4, 4, 12]]
    assert "3 boxes left out: of other classes" in some.notes


def test_coco_of_polygons_alone(coco):
    document = json.loads(coco.read_text())
    for marked in document["annotations"]:
        x, y, width, height = marked.pop("bbox")
        half = [x, y, x + width / 2, y + height, x, y + height]
        marked["segmentation"] = [half, [x + width / 2, y, x + width, y, x + width, y + height]]
    boxes = read_coco(coco).arrays["boxes"]
    (coco.parent / "polygons.json").write_text(json.dumps(document))
    assert np.array_equal(read_coco(coco.parent / "polygons.json").arrays["boxes"], boxes)


def test_voc(voc):
    made = read_voc(voc)
    assert made.arrays["boxes"].tolist() == [[1, 2, 4, 6], [0, 0, 8, 1]] * 2
    assert made.arrays["box_labels"].tolist() == [1, 0, 1, 0]
    assert made.arrays["box_samples"].tolist() == [0, 0, 1, 1]
    assert made.notes == ("2 boxes left out: difficult",)
    assert len(read_voc(voc, limit=1).arrays["images"]) == 1


def test_the_commands_write_what_others_read(voc, coco, capsys):
    out = str(voc / "d.npz")
    assert run(["data", "voc", str(voc), "--classes", "dog,cat", "--size", "3,4", "-o", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"dog": 2, "cat": 2}
    boxes = read_data(out).truth.boxes
    assert (boxes.boxes.tolist()[0], boxes.labels.tolist()) == ([0.5, 1, 2, 3], [0, 1, 0, 1])
    (voc / "names.txt").write_text("cat\n\ndog\n")
    words = ["data", "coco", str(coco), "--pictures", str(coco.parent), "--classes", str(voc / "names.txt")]
    assert run([*words, "-o", out]) == 0
    assert "1 boxes left out: crowds" in capsys.readouterr().out
    assert read_data(out).truth.boxes.labels.tolist() == [0, 1, 0]


def test_names():
    assert parse_names("a, b") == ("a", "b")
    for text in ("a,a", ",", ""):
        with pytest.raises(InputError, match=r"^classes: "):
            parse_names(text)


def changed(**keys):
    return lambda document: document | keys


def entry(key, **keys):
    return lambda document: document | {key: [document[key][0] | keys, *document[key][1:]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(images=None), "no list of images found"),
        (changed(images=[]), "no images found"),
        (changed(categories=[1]), "no list of categories"),
        (entry("images", file_name="../3.png"), "file_name '../3.png' found, expected one within the folder"),
        (entry("images", file_name="/3.png"), "expected one within the folder"),
        (entry("images", file_name="4.png"), r"4\.png is not there; name the folder of `pictures`"),
        (entry("images", file_name="a\0b"), "expected a name"),
        (entry("images", height=7), "7 x 8 pixels stated, .*png has 6 x 8"),
        (entry("images", id="7"), "id '7' found, expected a whole number"),
        (entry("annotations", bbox=None, segmentation={"counts": [1, 2], "size": [1, 3]}), "bbox None found"),
        (entry("annotations", bbox=[1, 2, 3]), r"bbox \[1, 2, 3\] found, expected"),
        (entry("annotations", bbox=[1, 2, 3, 10**400]), "a bbox of endless numbers"),
        (entry("annotations", bbox=[1, 2, 3, 1e999]), "is no JSON|expected numbers"),
        (entry("annotations", category_id=1), "category_id 1 found, which is none"),
        (entry("annotations", category_id=[1]), r"category_id \[1\] found"),
    ],
)
def test_what_is_wrong_in_coco_is_named(coco, change, message):
    coco.write_text(json.dumps(change(COCO)))
    with pytest.raises((InputError, FormatError), match=message):
        read_coco(coco)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b"\xff\xfe", b'{"images": NaN}'])
def test_what_is_no_coco_is_refused(coco, content):
    coco.write_bytes(content)
    with pytest.raises(FormatError, match=r"notes\.json: "):
        read_coco(coco)


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no XML"),
        (VOC[:200], "is no XML"),
        (BOMB, "a document type or entities found"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "a document type"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "is no XML"),
        ("<a/>", "no <annotation> found"),
        (VOC.replace("<xmin>2<", "<xmin>two<"), "xmin 'two' found, expected a number"),
        (VOC.replace("<xmin>2<", "<xmin>nan<"), "expected numbers"),
        (VOC.replace("<xmin>2<", "<xmin>1e999<"), "expected numbers"),
        (VOC.replace("<xmin>2</xmin>", ""), "xmin None found"),
        (VOC.replace("<name>dog</name>", ""), "an object without name or bndbox"),
        (VOC.replace("<height>6", "<height>7"), "7 x 8 pixels stated"),
    ],
)
def test_what_is_wrong_in_voc_is_named(voc, content, message, capsys):
    (voc / "Annotations/1.xml").write_text(content)
    with pytest.raises((InputError, FormatError), match=rf"1\.xml: .*{message}"):
        read_voc(voc)
    assert run(["data", "voc", str(voc), "-o", str(voc / "d.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (voc / "d.npz").exists()


def test_a_missing_picture_is_named(voc):
    (voc / "JPEGImages/1.jpg").unlink()
    with pytest.raises(InputError, match=r"1\.xml: no picture 1 found in"):
        read_voc(voc)


@settings(max_examples=60)
@given(st.data())
def test_torn_annotations_end_in_one_clear_error(tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("torn")
    Image.new("RGB", (8, 6)).save(folder / "0.png")
    for name, text, read in (("0.xml", VOC, lambda: read_voc(folder)), ("0.json", json.dumps(COCO), None)):
        body = bytearray(text.encode())
        for _ in range(draw.draw(st.integers(1, 4))):
            body[draw.draw(st.integers(0, len(body) - 1))] = draw.draw(st.integers(0, 255))
        (folder / name).write_bytes(bytes(body))
        with contextlib.suppress(AdafireError):  # anything else is a fault of ours
            read() if read else read_coco(folder / name)


def test_bccd(adafire_data):
    made = read_voc(adafire_data / "bccd", size=(60, 80), limit=40)
    assert made.arrays["images"].shape == (40, 60, 80, 3)
    assert set(made.counts) == {"Platelets", "RBC", "WBC"}
    assert np.all(made.arrays["boxes"] <= [80, 60, 80, 60])
