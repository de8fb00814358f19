"""Pictures and masks: which belong together, which values are classes."""

import json

import numpy as np
import pytest
from PIL import Image

from toolchain.cli import run
from toolchain.data import read_data
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
