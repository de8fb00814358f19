"""What users install: the wheel's contents, and the agreement of pyproject.toml with constraints.txt."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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


def test_the_wheel_holds_the_three_packages_only(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {*PACKAGES, f"adafire-{PROJECT['version']}.dist-info"}


def test_every_source_and_data_file_is_in_the_wheel(wheel):
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= sources
    assert {name for name in wheel.namelist() if name.startswith(PACKAGES)} == sources


def test_the_wheel_brings_the_command_and_the_licence(wheel):
    info = f"adafire-{PROJECT['version']}.dist-info"
    assert "adafire = toolchain.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert "License-Expression: Apache-2.0" in wheel.read(f"{info}/METADATA").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    parts = [line.split("==") for line in lines]
    assert [line for line, part in zip(lines, parts, strict=True) if len(part) != 2] == []
    return {canonicalize_name(name): Version(version) for name, version in parts}


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_the_tested_versions_lie_in_the_published_ranges(extra):
    declared = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    pinned = pins()
    outside = []
    for requirement in map(Requirement, declared):
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            outside.append(f"{requirement}: constraints.txt has {version}")
    assert outside == []
