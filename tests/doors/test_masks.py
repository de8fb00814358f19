"""Pictures and masks: which belong together, which values are classes."""

import json

import numpy as np
import pytest
from PIL import Image

from toolchain.cli import run
from toolchain.data import read_data
from toolchain.doors.colours import read_colours
from toolchain.doors.masks import read_masks
from toolchain.netlist import FormatError, InputError


@pytest.fixture
def folder(tmp_path):
    """Three pictures; masks of the same name, with an ending, and of another picture whose name begins alike."""
    rng = np.random.default_rng(0)
    for name, mask in (("a", "a"), ("a_1", "a_1_L"), ("b.c", "b.c-mask")):
        for place in ("images", "masks"):
            (tmp_path / place).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)).save(tmp_path / f"images/{name}.png")
        values = rng.integers(0, 4, (6, 8)).astype(np.uint8)
        Image.fromarray(values, "P" if mask == "a" else "L").save(tmp_path / f"masks/{mask}.png")
    return tmp_path


def values(folder, name):
    return np.asarray(Image.open(folder / f"masks/{name}.png"))


def test_masks_are_found_by_their_names(folder):
    made = read_masks(folder / "images", folder / "masks", void=[3])
    expected = np.stack([values(folder, name) for name in ("a", "a_1_L", "b.c-mask")])
    assert np.array_equal(made.arrays["masks"], np.where(expected == 3, 255, expected))
    assert made.counts == {str(c): int((expected == c).sum()) for c in range(3)}
    assert made.notes == (f"{(expected == 3).mean():.2%} of the pixels are not counted",)
    binary = read_masks(folder / "images", folder / "masks", binary=True, limit=1)
    assert np.array_equal(binary.arrays["masks"][0], expected[0] > 0)


def test_masks_are_stretched_without_new_classes(folder):
    made = read_masks(folder / "images", folder / "masks", size=(3, 4))
    assert made.arrays["images"].shape == (3, 3, 4, 3)
    assert np.array_equal(made.arrays["masks"][0], values(folder, "a")[1::2, 1::2])


def test_the_command_writes_what_others_read(folder, capsys):
    words = ["data", "masks", str(folder), "--void", "3", "--void", "2", "-o", str(folder / "d.npz")]
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    data = read_data(folder / "d.npz")
    assert (found["samples"], found["shape"], set(found["classes"])) == (3, [6, 8, 3], {"0", "1"})
    assert data.shape == (3, 6, 8)
    assert set(np.unique(data.truth.masks)) == {0, 1, 255}
    assert run(["data", "masks", str(folder), "--masks", "nowhere", "-o", str(folder / "e.npz")]) == 2
    assert "nowhere: no such folder; name the folder of --masks" in capsys.readouterr().err


def colours(folder):
    Image.new("RGB", (8, 6)).save(folder / "masks/a.png")


def two_values(folder):
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.where(np.asarray(Image.open(path)) > 1, 255, 0).astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (colours, r"a\.png: a mask of mode RGB found, expected a class per pixel"),
        (two_values, "only 0 and 255 found, of which 255 is not counted; use `binary`, or `void` 255"),
        (
            lambda f: Image.new("L", (8, 7)).save(f / "masks/a.png"),
            r"a\.png: 7 x 8 pixels found, its picture has",
        ),
        (lambda f: (f / "masks/a.png").write_bytes(b"no"), r"a\.png: is no picture"),
        (lambda f: (f / "masks/a.png").unlink(), r"a\.png: no mask found in"),
        (lambda f: Image.new("L", (8, 6)).save(f / "masks/b.c_2.png"), "b.c-mask.png, b.c_2.png found in"),
    ],
)
def test_what_cannot_be_used_is_named(folder, make, message):
    make(folder)
    with pytest.raises((InputError, FormatError), match=message):
        read_masks(folder / "images", folder / "masks")


PALETTE = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 64], [224, 224, 192]], np.uint8)


@pytest.fixture
def painted(folder):
    """The masks in colours, in files with and without a palette of their own, and the colours' file."""
    for name in ("a", "a_1_L", "b.c-mask"):
        image = Image.fromarray(PALETTE[values(folder, name)])
        (image if name == "a" else image.quantize(8)).save(folder / f"masks/{name}.png")
    (folder / "colours.txt").write_text(
        "# CamVid's form\n0 0 0\tVoid\nroad 128,0,0\n\n0 128 64  tree_2\n224, 224, 192\n"
    )
    return folder


def test_painted_masks_are_classes_in_the_order_of_their_colours(folder, painted, capsys):
    words = ["data", "masks", str(painted), "--colours", str(painted / "colours.txt"), "-o", str(painted / "d.npz")]
    shown = [np.asarray(Image.open(painted / f"masks/{n}.png").convert("RGB")) for n in ("a", "a_1_L", "b.c-mask")]
    expected = (np.stack(shown)[..., None, :] == PALETTE).all(-1).argmax(-1)
    assert run([*words, "--void", "0"]) == 0, capsys.readouterr().err
    found = read_data(painted / "d.npz").truth.masks
    assert np.array_equal(found, np.where(expected == 0, 255, expected))
    (painted / "colours.txt").write_text("0 0 0\n128 0 0\n")
    capsys.readouterr()
    assert run(words) == 2
    assert "which is no class; give it a line in --colours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0\n", "line 1: '0 0' found, expected red, green and blue"),
        ("0 0 0\n1 2 300\n", "line 2: '1 2 300' found"),
        ("0 0 0\n1 2 3\n0,0,0\n", "line 3: the colour of class 0 found again"),
        ("# nothing\n", "0 colours found, expected 1 to 255"),
        ("0 0 0\n" * 20_000, "bytes found, expected a line for each class"),
    ],
)
def test_a_file_that_holds_no_colours_is_refused(text, message, tmp_path):
    (tmp_path / "c.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_colours(tmp_path / "c.txt")
