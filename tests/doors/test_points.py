"""Clouds of points: what files hold, what is drawn, what is refused."""

import contextlib
import json

import numpy as np
import pytest

from toolchain.cli import run
from toolchain.data import read_data
from toolchain.doors.point_files import read_cloud
from toolchain.doors.points import Sampling, read_points
from toolchain.netlist import AdafireError, FormatError, InputError

POINTS = np.random.default_rng(0).normal(size=(12, 4)).round(3)
POINTS[:, 3] = np.arange(12) % 3
SQUARE = "OFF\n4 2 0\n0 0 0\n9 0 0\n9 3 0\n0 3 0\n3 0 1 2\n3 0 2 3\n"


def ply(kind="ascii", points=POINTS, stated=None):
    head = f"ply\nformat {kind} 1.0\nelement vertex {len(points) if stated is None else stated}\n"
    head += "".join(f"property double {name}\n" for name in ("x", "y", "z", "label")) + "end_header\n"
    if kind == "ascii":
        return (head + "".join(" ".join(map(str, row)) + "\n" for row in points.tolist())).encode()
    return head.encode() + points.astype(">f8" if "big" in kind else "<f8").tobytes()


def text(points=POINTS, comma=" "):
    return "\n".join(comma.join(map(str, row)) for row in points.tolist())


CONTENTS = {
    "a.txt": text().encode(),
    "b.xyz": ("# of a scanner\n" + text()).encode(),
    "c.pts": ("12\n" + text()).encode(),
    "d.txt": text(comma=",").encode(),
    "e.ply": ply(),
    "f.ply": ply("binary_little_endian"),
    "g.ply": ply("binary_big_endian"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_points(tmp_path, name):
    (tmp_path / name).write_bytes(CONTENTS[name])
    assert np.array_equal(read_cloud(tmp_path / name).values, POINTS)


def test_arrays_and_meshes(tmp_path):
    np.save(tmp_path / "a.npy", POINTS.astype(np.float32))
    assert np.array_equal(read_cloud(tmp_path / "a.npy").values, POINTS.astype(np.float32))
    (tmp_path / "a.off").write_text(SQUARE)
    cloud = read_cloud(tmp_path / "a.off")
    assert cloud.values.tolist() == [[0, 0, 0], [9, 0, 0], [9, 3, 0], [0, 3, 0]]
    assert cloud.faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_a_mesh_with_a_texture_and_a_header_without_a_line_break(tmp_path, caplog):
    text = ply().replace(b"element vertex", b"comment TextureFile /etc/passwd\nelement vertex")
    (tmp_path / "a.ply").write_bytes(text)
    assert np.array_equal(read_cloud(tmp_path / "a.ply").values, POINTS)
    assert caplog.text == ""
    (tmp_path / "a.off").write_text(SQUARE.replace("OFF\n", "OFF"))  # as some of ModelNet's files are
    assert len(read_cloud(tmp_path / "a.off").faces) == 2


@pytest.fixture
def folder(tmp_path):
    for name, points in (("dog/0.txt", 20), ("cat/train/1.txt", 9), ("cat/0.txt", 30), ("cat/.hidden.txt", 3)):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(np.random.default_rng(points).normal(2, 3, (points, 4)).round(3) // [1, 1, 1, 1]))
    return tmp_path / "set"


def test_as_many_points_of_every_cloud(folder):
    made = read_points(folder, Sampling(points=10, seed=3))
    points = made.arrays["points"]
    assert (points.shape, points.dtype, made.arrays["labels"].tolist()) == ((3, 3, 10), np.float32, [0, 0, 1])
    assert made.counts == {"cat": 2, "dog": 1}
    few = read_cloud(folder / "cat/train/1.txt").values[:, :3]
    assert np.array_equal(points[1].T[:9], few)  # all, and one again
    assert points[1].T[9].tolist() in few.tolist()
    many = read_cloud(folder / "cat/0.txt").values[:, :3].tolist()
    drawn = points[0].T.tolist()
    assert all(drawn.count(row) <= many.count(row) for row in drawn)
    again, other = (read_points(folder, Sampling(points=10, seed=s)).arrays["points"] for s in (3, 4))
    assert np.array_equal(points, again)
    assert not np.array_equal(points, other)
    assert np.array_equal(read_points(folder, Sampling(points=10, seed=3), limit=1).arrays["points"][0], points[0])


def test_the_unit_sphere(folder):
    points = read_points(folder, Sampling(points=10, unit_sphere=True)).arrays["points"]
    assert np.allclose(points.mean(axis=2), 0, atol=1e-6)
    assert np.allclose(np.linalg.norm(points, axis=1).max(axis=1), 1, atol=1e-6)


def test_a_mesh_is_drawn_evenly_by_area(tmp_path):
    (tmp_path / "a.off").write_text(SQUARE.replace("9 3 0", "9 9 0"))  # one triangle has three times the other's area
    points = read_points(tmp_path / "a.off", Sampling(points=20_000)).arrays["points"][0]
    assert np.all(points[2] == 0)
    assert abs((points[1] < points[0]).mean() - 0.75) < 0.02
    inside = points[:, points[1] < points[0]]
    assert np.allclose(inside.mean(axis=1), [6, 3, 0], atol=0.1)  # the middle of its corners


def test_classes_of_points(tmp_path):
    (tmp_path / "a.txt").write_text(text())
    made = read_points(tmp_path / "a.txt", Sampling(label_column=-1))
    assert made.arrays["point_labels"].tolist() == [POINTS[:, 3].astype(int).tolist()]
    assert made.arrays["points"].shape == (1, 3, 12)
    assert "labels" not in made.arrays
    for column, message in ((0, "`label_column` 0 from .* found, expected classes"), (4, "`label_column` 4 is none")):
        with pytest.raises(InputError, match=message):
            read_points(tmp_path / "a.txt", Sampling(label_column=column))


def test_the_command_writes_what_others_read(folder, capsys):
    words = ["data", "points", str(folder), "--points", "8", "--columns", "2", "-o", str(folder / "d.npz")]
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"cat": 2, "dog": 1}
    data = read_data(folder / "d.npz")
    assert (data.shape, data.labels.tolist()) == ((2, 8), [0, 0, 1])
    assert run(["data", "points", str(folder), "-o", str(folder / "e.npz")]) == 2
    assert "say with --points how many to draw" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "found"),
        ("a.txt", b"1 2 3\n4 5", "cloud of points or a damaged one"),
        ("a.txt", b"a b c", "damaged"),
        ("a.txt", b"\xff\xfe", "damaged"),
        ("a.txt", b"1 2 nan", "NaN or infinite"),
        ("a.txt", b"1\n2\n", "found"),
        ("a.txt", b"1 2 1e300", "beyond the range of float32"),
        ("a.npy", b"\x93NUMPY", "damaged"),
        ("a.ply", ply(stated=99), "12 points found, 99 stated"),
        ("a.ply", ply("binary_little_endian", stated=10**12), "damaged"),
        ("a.ply", ply("binary_little_endian")[:-9], "damaged"),
        ("a.ply", b"ply\n", "damaged"),
        ("a.ply", ply(points=POINTS[:0]), "0 points of 3 numbers found"),
        ("a.off", SQUARE.replace("4 2 0", "4000000000 2 0").encode(), "damaged"),
        ("a.off", SQUARE.replace("3 0 1 2", "3 0 1 9").encode(), "damaged|faces between points up to 9"),
        ("a.off", b"OFF\n0 0 0\n", "found|damaged"),
        ("a.bin", b"", "no cloud of points found"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, name, content, message, capsys):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((InputError, FormatError), match=message):
        read_points(tmp_path / name)
    assert run(["data", "points", str(tmp_path / name), "-o", str(tmp_path / "d.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "d.npz").exists()


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"a\.npy: is no \.npy cloud"):
        read_points(tmp_path / "a.npy")


def test_torn_meshes_end_in_one_clear_error(tmp_path):
    rng = np.random.default_rng(0)
    for name, content in (("a.ply", ply()), ("b.ply", ply("binary_little_endian")), ("c.off", SQUARE.encode())):
        for _ in range(60):
            body = bytearray(content)
            for place in rng.integers(0, len(body), 3):
                body[place] = rng.integers(0, 256)
            (tmp_path / name).write_bytes(bytes(body))
            with contextlib.suppress(AdafireError):  # anything else is a fault of ours
                read_points(tmp_path / name, Sampling(points=4))


@pytest.mark.parametrize("field", ["points", "columns", "seed"])
def test_numbers_are_checked(field):
    with pytest.raises(InputError, match=f"^{field}: -1 found"):
        Sampling(**{field: -1})
