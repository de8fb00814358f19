"""Folders of pictures: which files, which classes, which pixels; whatever is wrong is named."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from toolchain.cli import run
from toolchain.doors import Crop, open_data, parse_crop
from toolchain.doors.pictures import MAX_PIXELS
from toolchain.netlist import AdafireError, FormatError, InputError


def picture(height=8, width=6, seed=0, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Three classes, one of them in folders of its own, and what is no picture of theirs."""
    names = ("dog/1.png", "dog/0.PNG", "cat/b/2.bmp", "cat/a/9.ppm", "ant/x.png")
    for seed, name in enumerate(names):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed=seed).save(path)
    for name in ("ant/.hidden.png", "ant/notes.txt", ".cache/0.png", "cat/.trash/0.png"):
        path = tmp_path / "set" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no picture")
    return tmp_path / "set"


def as_channels(image):
    return np.asarray(image).transpose(2, 0, 1)


def test_classes_are_folders_by_name(folder):
    data = open_data(folder)
    assert (data.name, data.labels.tolist(), data.shape) == ("set", [0, 1, 1, 2, 2], (3, 8, 6))
    assert data.is_pictures
    for index, seed in enumerate((4, 3, 2, 1, 0)):
        assert np.array_equal(data.values[index : index + 1][0], as_channels(picture(seed=seed)))
    chosen = data.select(np.array([4, 0]))
    assert chosen.labels.tolist() == [2, 0]
    assert np.array_equal(chosen.values[:], data.values[np.array([4, 0])])


def test_a_limit_takes_from_all_classes(folder):
    assert open_data(folder, limit=3).labels.tolist() == [0, 1, 2]
    assert open_data(folder, limit=99).labels.tolist() == [0, 1, 1, 2, 2]


def test_loose_pictures_have_no_labels(folder):
    assert open_data(folder / "dog").labels is None
    picture().save(folder / "stray.png")
    with pytest.raises(InputError, match=r"stray\.png beside class folders found"):
        open_data(folder)


def test_nothing_is_held(tmp_path):
    (tmp_path / "a").mkdir()
    for index in range(24):
        picture(256, 256, index).save(tmp_path / f"a/{index}.bmp")
    tracemalloc.start()
    data = open_data(tmp_path)
    for start in range(0, len(data), 2):
        data.normalized(np.zeros(3), np.ones(3), start, start + 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 256 * 256 * 3 * 2


@pytest.mark.parametrize(
    ("height", "width", "size", "scaled", "corner"),
    [
        (40, 60, "24,24/32", (32, 48), (4, 12)),
        (77, 33, "20,28/30", (70, 30), (25, 1)),
        (50, 50, "32,32/32", (32, 32), (0, 0)),
        (41, 31, "24,25/31", (41, 31), (8, 3)),  # 8.5 rounds to even
    ],
)
def test_pixels_are_those_of_torchvision(tmp_path, height, width, size, scaled, corner):
    """Worked by hand after its documentation; the pixels of 400 random sizes were compared with torchvision 0.28."""
    crop = parse_crop(size)
    picture(height, width).save(tmp_path / "0.png")
    top, left = corner
    wanted = picture(height, width).resize(scaled[::-1], Image.Resampling.BILINEAR)
    expected = as_channels(wanted)[:, top : top + crop.height, left : left + crop.width]
    assert np.array_equal(open_data(tmp_path, crop=crop).values[:][0], expected)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (7, 5), (16, 24), (17, 24)])
def test_without_a_short_side_the_picture_covers_the_cut(tmp_path, height, width):
    picture(height, width).save(tmp_path / "0.png")
    crop = Crop(16, 24)
    assert crop._scaled(height, width)[0] == 16 or crop._scaled(height, width)[1] == 24
    assert min(np.subtract(crop._scaled(height, width), (16, 24))) == 0
    assert open_data(tmp_path, crop=crop).shape == (3, 16, 24)
    if (height, width) == (16, 24):
        assert np.array_equal(open_data(tmp_path, crop=crop).values[:][0], as_channels(picture(16, 24)))


def test_grey_pictures_have_one_channel_and_grey_ones_among_colours_three(tmp_path):
    picture(channels=1).save(tmp_path / "0.png")
    picture(channels=1).convert("1").save(tmp_path / "1.png")
    assert open_data(tmp_path).shape == (1, 8, 6)
    picture().save(tmp_path / "2.png")
    data = open_data(tmp_path)
    assert data.shape == (3, 8, 6)
    assert np.array_equal(data.values[:1][0, 0], np.asarray(picture(channels=1)))


def test_pictures_are_turned_as_the_camera_says_and_become_rgb(tmp_path):
    image = picture(8, 6)
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise
    image.save(tmp_path / "0.png", exif=exif)
    assert np.array_equal(open_data(tmp_path).values[:][0], as_channels(image.transpose(Image.Transpose.ROTATE_270)))
    for name, mode in (("1.tif", "CMYK"), ("2.png", "RGBA"), ("3.png", "P"), ("4.png", "LA")):
        image.convert("L" if mode == "LA" else "RGB").convert(mode).rotate(90, expand=True).save(tmp_path / name)
    assert open_data(tmp_path).values[:].shape == (5, 3, 6, 8)


def colour_later(folder):
    for index in range(200):
        picture(channels=1, seed=index % 3).save(folder / f"{index:03}.png")
    picture().save(folder / "001.png")


def png_that_says_it_is_huge(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def sixteen_bits(folder):
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(8, 6)).save(folder / "0.png")


def moving(folder):
    picture().save(folder / "0.webp", save_all=True, append_images=[picture(seed=1)])


def truncated(folder):
    stream = io.BytesIO()
    picture(64, 64).save(stream, "PNG")
    (folder / "0.png").write_bytes(stream.getvalue()[:3000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (colour_later, r"001\.png: colours found, those before are grey"),
        (sixteen_bits, r"0\.png: numbers of more than 8 bits found"),
        (moving, r"0\.webp: 2 pictures in one file found"),
        (truncated, r"0\.png: is no picture or a damaged one"),
        (lambda f: (f / "0.png").write_bytes(b"GIF89a"), r"0\.png: is no picture or a damaged one"),
        (lambda f: (f / "0.png").write_bytes(png_that_says_it_is_huge(9000, 9000)), "9000 x 9000 pixels found"),
        (lambda f: (f / "0.png").write_bytes(png_that_says_it_is_huge(60000, 60000)), f"more than {MAX_PIXELS} pixels"),
        (lambda f: (f / "0.txt").write_text("no picture"), "no pictures found, expected files that end in .bmp"),
        (lambda f: (picture().save(f / "0.png"), picture(9, 9).save(f / "1.png")), "give one `size`"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, make, message, capsys):
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    with pytest.raises((InputError, FormatError), match=message):
        open_data(tmp_path / "set").values[:]
    assert run(["data", "pictures", str(tmp_path / "set"), "-o", str(tmp_path / "d.npz")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert not (tmp_path / "d.npz").exists()


def torn(content, rng):
    """Change a few bytes, half of them in the header, or leave the rest out."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = rng.integers(0, len(changed) if rng.random() < 0.5 else min(len(changed), 64))
        if rng.random() < 0.1:
            del changed[max(place, 1) :]
        else:
            changed[place] = rng.integers(0, 256)
    return bytes(changed)


@pytest.mark.parametrize(
    ("ending", "form"),
    [
        ("png", {}),
        ("jpg", {}),
        ("jpg", {"progressive": True}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("tif", {"compression": "jpeg"}),
        ("webp", {}),
        ("bmp", {}),
        ("ppm", {}),
    ],
)
def test_torn_pictures_end_in_one_clear_error(tmp_path, ending, form, capfd):
    rng, path = np.random.default_rng(0), tmp_path / f"0.{ending}"
    picture(40, 30).save(path, **form)
    whole, errors = path.read_bytes(), 0
    for _ in range(60):
        path.write_bytes(torn(whole, rng))
        try:
            open_data(tmp_path, crop=Crop(16, 16)).values[:]
        except AdafireError:  # anything else is a fault of ours
            errors += 1
    assert errors > 0
    said = capfd.readouterr()
    assert said.out + said.err == ""  # what the libraries in C say past Python, too


def test_an_empty_class_is_named(folder):
    (folder / "bee").mkdir()
    with pytest.raises(InputError, match=r"bee: no pictures found"):
        open_data(folder)


@pytest.mark.parametrize("text", ["", "8", "8,8,8", "8,x", "0,8", "8,8/7", "8,8/0", "-1,8", "99999,99999"])
def test_sizes_are_checked(text):
    with pytest.raises(InputError, match=r"^size: "):
        parse_crop(text)


def test_a_size_is_for_folders(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 4, 4, 1), np.uint8))
    with pytest.raises(InputError, match=r"size: found with .*npz, expected with a folder of pictures only"):
        open_data(tmp_path / "d.npz", crop=Crop(4, 4))
    with pytest.raises(InputError, match=r"no such file or folder; name a .npz file, a folder of pictures, or path.py"):
        open_data(tmp_path / "nothing")
