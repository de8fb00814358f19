"""Compiled loops without a folder for their cache: slower to start, otherwise the same."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import sim
from toolchain.data import Dataset
from toolchain.evaluate import evaluate
from toolchain.files import write_netlist

ROOT = Path(sim.__file__).parents[1]


def test_a_read_only_installation_without_a_home_simulates_the_same(make_netlist, tmp_path):
    netlist = make_netlist("conv")
    values = np.random.default_rng(0).normal(0, 0.8, (5, *netlist.input.shape))
    write_netlist(netlist, tmp_path / "net.h5")
    np.savez(tmp_path / "data.npz", images=values)
    for package in ("sim", "toolchain", "hw_targets"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    # A file where a folder should be: unlike permissions, that stops root as well.
    for folder in (tmp_path / "sim", tmp_path / "toolchain/calibrate"):
        (folder / "__pycache__").write_text("")
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(tmp_path / "sim/__pycache__/home"))
    command = "import sim; from pathlib import Path; assert Path(sim.__file__).is_relative_to(Path.cwd())\n"
    command += "from toolchain.calibrate import retune\nfrom toolchain.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "simulate", "net.h5", "--data", "data.npz", "--json"],
        cwd=tmp_path,
        env={**os.environ, **nowhere, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found, expected = json.loads(done.stdout), evaluate(netlist, Dataset("data.npz", values)).to_json()
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
