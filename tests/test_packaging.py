"""What users install: the wheel's contents."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("toolchain", "hw_targets", "sim")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in a wheel built from a copy of the sources: an old build/ or egg-info must not leak into it."""
    copy = tmp_path_factory.mktemp("sources") / "adafire"
    skip = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "site", "*.egg-info", "results")
    shutil.copytree(ROOT, copy, ignore=skip)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    [path] = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_face_and_the_three_packages_only(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"adafire.py", *PACKAGES, f"adafire-{PROJECT['version']}.dist-info"}


def test_every_source_and_data_file_is_in_the_wheel(wheel):
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= sources
    assert {".toml", ".j2", ".css", ".js"} <= {Path(name).suffix for name in sources}
    assert {name for name in wheel.namelist() if name.startswith(tuple(f"{p}/" for p in PACKAGES))} == sources


def test_the_wheel_brings_the_command_and_the_licence(wheel):
    info = f"adafire-{PROJECT['version']}.dist-info"
    commands = wheel.read(f"{info}/entry_points.txt").decode()
    assert commands.strip() == "[console_scripts]\nadafire = adafire:main"
    assert "License-Expression: Apache-2.0" in wheel.read(f"{info}/METADATA").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
