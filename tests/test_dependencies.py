"""What pyproject.toml declares is what the sources import, no less and no more; constraints.txt pins all of it."""

import ast
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PRODUCT = ("adafire.py", "toolchain", "sim", "hw_targets")
#: Development's own sources: what they import may stand in any extra.
AROUND = ("tests", "benchmarks", "examples", "docs")

#: Folders and files that are loaded only where this extra is installed (`tests/test_architecture.py` holds Lava to it).
LOADED_WITH = {"hw_targets/lava_runtime": "lava", "sim/gpu_kernels.py": "gpu"}
#: Declared, though no source imports them.
NOT_IMPORTED = {
    "networkx": "lava-nc needs it, and its own metadata is out of date",
    "asteval": "lava-nc needs it, and its own metadata is out of date",
    "scikit-learn": "lava-nc needs it, and its own metadata is out of date",
    "pbr": "sinabs needs it and goes in without its dependencies",
    "mkdocs-material": "a theme, named in mkdocs.yml",
    "mkdocstrings-python": "a plugin, named in mkdocs.yml",
    "pytest-xdist": "a plugin: make test runs it",
    "pytest-timeout": "a plugin: pyproject.toml sets its limit",
    "ruff": "a command: make lint",
    "mypy": "a command: make lint",
    "pre-commit": "a command: CONTRIBUTING.md",
    "build": "a command: tests/test_packaging.py",
    "setuptools": "builds the wheel",
}


@dataclass(frozen=True)
class Import:
    """A third party's module that a source names, and whether loading the source is enough to need it."""

    library: str
    where: str
    at_once: bool


def third_party(source: str, where: str = "made_up.py", own: Iterable[str] = ()) -> set[Import]:
    """Return what a source imports besides Python's own modules and `own`."""
    skip = sys.stdlib_module_names | set(own)
    found = set()

    def visit(node: ast.AST, at_once: bool) -> None:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        tops = {name.partition(".")[0] for name in names}
        found.update(Import(top, where, at_once) for top in tops - skip)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_once = False
        for child in ast.iter_child_nodes(node):
            only_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            visit(child, at_once and not (only_types and child in node.body))

    visit(ast.parse(source), True)
    return found


def ours(path: Path) -> set[str]:
    """Return the names that are no third party's in a source: scripts and tests import their neighbours and support."""
    around = path.relative_to(ROOT).parts[0] in AROUND
    folders = (path.parent, ROOT / "tests" / "support") if around else ()
    return {Path(top).stem for top in PRODUCT}.union(*({f.stem for f in folder.glob("*.py")} for folder in folders))


@cache
def imports(*tops: str) -> frozenset[Import]:
    """Return what the sources under these files and folders import."""
    files = [path for top in tops for path in [ROOT / top, *(ROOT / top).rglob("*.py")] if path.is_file()]
    found = (third_party(path.read_text(), path.relative_to(ROOT).as_posix(), ours(path)) for path in files)
    return frozenset().union(*found)


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


DEPENDENCIES = names(PYPROJECT["project"]["dependencies"])
EXTRAS = {extra: names(listed) for extra, listed in PYPROJECT["project"]["optional-dependencies"].items()}
DECLARED = DEPENDENCIES.union(*EXTRAS.values())
#: Top-level modules, each with the distributions that bring it.
BRINGS = packages_distributions()


def distributions(library: str) -> set[str]:
    """Return the distributions that bring a top-level module."""
    return set(map(canonicalize_name, BRINGS.get(library, ())))


def undeclared(found: Iterable[Import], declared: set[str]) -> list[str]:
    """Return a line for each import of a library that no declared distribution brings."""
    return sorted(f"{i.where} imports {i.library}" for i in found if not distributions(i.library) & declared)


def unused(declared: Iterable[str], found: Iterable[Import]) -> set[str]:
    """Return the declared distributions that no import comes from."""
    return set(declared).difference(*(distributions(i.library) for i in found))


def allowed_at_once(where: str) -> set[str]:
    extras = [extra for folder, extra in LOADED_WITH.items() if where.startswith(folder)]
    return DEPENDENCIES.union(*(EXTRAS[extra] for extra in extras))


def test_every_import_of_the_product_is_declared():
    users = DEPENDENCIES.union(*(listed for extra, listed in EXTRAS.items() if extra not in ("dev", "docs")))
    assert undeclared(imports(*PRODUCT), users) == []


def test_what_loading_needs_is_no_extra():
    assert [line for i in imports(*PRODUCT) if i.at_once for line in undeclared([i], allowed_at_once(i.where))] == []


def test_every_import_around_the_product_is_declared():
    assert undeclared(imports(*AROUND), DECLARED) == []


def test_every_dependency_is_imported():
    assert unused(DEPENDENCIES, imports(*PRODUCT)) == set()


def test_every_entry_of_an_extra_is_imported_or_explained():
    assert unused(DECLARED, imports(*PRODUCT) | imports(*AROUND)) == NOT_IMPORTED.keys()


def test_imports_are_found_where_they_stand():
    source = (
        "import os, numpy as np\nfrom . import near\nfrom sim import golden\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    import h5py\n"
        "class A:\n    import nir.graph\n    def f(self):\n        from scipy.ndimage import label\n"
        "try:\n    import onnx\nexcept ImportError:\n    pass\n"
    )
    found = third_party(source, "a.py", own={"sim"})
    assert {i.library for i in found if i.at_once} == {"numpy", "h5py", "nir", "onnx"}
    assert {i.library for i in found if not i.at_once} == {"torch", "scipy"}
    assert {i.where for i in found} == {"a.py"}


def test_faults_are_seen():
    found = third_party("import numpy\ndef f():\n    import google.protobuf, no_such_module\n")
    assert undeclared(found, {"numpy", "protobuf"}) == ["made_up.py imports no_such_module"]
    assert undeclared(found, {"numpy"}) == ["made_up.py imports google", "made_up.py imports no_such_module"]
    assert unused({"numpy", "protobuf", "plotly"}, found) == {"plotly"}
    assert "pymetis" not in allowed_at_once("hw_targets/placement/place.py")
    assert "lava-nc" in allowed_at_once("hw_targets/lava_runtime/network.py")


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    parts = [line.split("==") for line in lines]
    assert [line for line, part in zip(lines, parts, strict=True) if len(part) != 2] == []
    return {canonicalize_name(name): Version(version) for name, version in parts}


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_the_tested_versions_lie_in_the_published_ranges(extra):
    project = PYPROJECT["project"]
    pinned = pins()
    outside = []
    for requirement in map(Requirement, project["optional-dependencies"][extra] if extra else project["dependencies"]):
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            outside.append(f"{requirement}: constraints.txt has {version}")
    assert outside == []


def needed(distribution: str, extra: str, seen: set[tuple[str, str]], closed: set[str]) -> None:
    """Add to `seen` what a distribution needs where it is installed here; go into none of the `closed`."""
    if (distribution, extra) in seen:
        return
    seen.add((distribution, extra))
    corrected = {
        canonicalize_name(m["name"]): m["requires-dist"] for m in PYPROJECT["tool"]["uv"]["dependency-metadata"]
    }
    try:
        listed = corrected.get(distribution) or requires(distribution) or []
    except PackageNotFoundError:
        listed = []
    for requirement in map(Requirement, () if distribution in closed else listed):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for inner in ("", *requirement.extras):
                needed(canonicalize_name(requirement.name), inner, seen, closed)


def test_pins_are_complete_and_none_is_left_over():
    """pip resolves nothing when it installs them: a missing pin is a missing package. torch brings its own."""
    within, complete = set(), set()
    for name in DECLARED | {"wheel"}:
        needed(name, "", within, set())
        needed(name, "", complete, {"torch"})
    assert {name for name, _ in complete} - pins().keys() == set()
    assert pins().keys() - {name for name, _ in within} == set()
