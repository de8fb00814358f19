"""The options of ``adafire convert`` that search, end to end."""

import json
from pathlib import Path

import numpy as np
import pytest

from toolchain.cli import run
from toolchain.files import read_netlist

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(54, 4)
    )
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "model.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    for name, count in (("data", 600), ("few", 40)):
        images = rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=rng.integers(0, 4, count))
    return folder


def convert(folder: Path, output: str, *options: str, data: str = "data") -> int:
    arguments = [f"{folder / 'model.py'}:net", "--calibration", str(folder / f"{data}.npz"), "--normalize", "0.5/0.25"]
    common = ["-T", "3", "--phi", "2", "--samples", "256", "--cache", str(folder / "cache")]
    return run(["convert", *arguments, *common, *options, "-o", str(folder / output)])


def test_everything_at_once_and_simulated_with_early_exit(workshop, capsys):
    options = ["--search", "--compress", "--tolerance", "0.05", "--calibrate", "advanced", "--early-exit"]
    assert convert(workshop, "net.h5", *options) == 0
    assert "operations per sample" in capsys.readouterr().out
    netlist = read_netlist(workshop / "net.h5")
    assert len(netlist.alpha) == 3
    assert netlist.provenance.recipe["tolerance"] == 0.05
    arguments = ["simulate", str(workshop / "net.h5"), "--data", str(workshop / "data.npz"), "--limit", "20", "--json"]
    assert run([*arguments, "--early-exit"]) == 0
    assert 1 <= json.loads(capsys.readouterr().out)["mean_timesteps"] <= 3


def test_the_search_of_the_paper_resumes_from_its_cache(workshop):
    options = ["--search", "--strategy", "layers", "--executor", "local:1"]
    assert convert(workshop, "layers.h5", *options) == 0
    times = {f: f.stat().st_mtime_ns for f in (workshop / "cache").rglob("*.json")}
    assert len(times) == 2 * 4
    assert convert(workshop, "again.h5", *options) == 0
    assert {f: f.stat().st_mtime_ns for f in (workshop / "cache").rglob("*.json")} == times
    assert read_netlist(workshop / "again.h5").content_hash == read_netlist(workshop / "layers.h5").content_hash


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        (["--search", "--budget", "0.0001", "--strategy", "layers"], "data", "the least feasible one is"),
        (["--search", "--budget", "-1"], "data", "--budget"),
        (["--compress", "--tolerance", "-0.5"], "data", "the least feasible one is 0"),
        (["--search"], "few", "40 samples found, expected at least 256"),
        (["--search", "--phi-max", "1"], "data", "expected at least --phi, 2"),
        (["--search", "--strategy", "layers", "--executor", "cloud"], "data", "dask://HOST:PORT"),
        (["--early-exit"], "few", "expected at least 256"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(workshop, capsys, options, data, message):
    assert convert(workshop, "bad.h5", *options, data=data) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (workshop / "bad.h5").exists()
