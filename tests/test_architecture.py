"""Imports go down only and never in a circle: the floors of ARCHITECTURE.md, read from the sources."""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Every package, top first. A module imports its own package and those of lower lines only; packages that share a
#: line do not know each other.
FLOORS = (
    ("adafire",),  # faces
    ("toolchain.cli",),
    ("toolchain.demo",),
    ("toolchain.api",),
    ("toolchain.report",),  # pages
    ("toolchain.convert",),  # pipeline
    ("toolchain.search",),  # passes
    ("toolchain.calibrate",),
    ("toolchain.quantize",),
    ("toolchain.pieces",),
    ("toolchain.equivalence",),  # running
    ("toolchain.evaluate",),
    ("toolchain.energy",),
    ("toolchain.exchange", "toolchain.info"),
    ("toolchain.frontend",),  # reading
    ("toolchain.doors",),  # doors
    ("toolchain.network",),  # types
    ("toolchain.tasks",),
    ("toolchain.data", "toolchain.recordings"),
    ("toolchain.tail",),
    ("sim", "hw_targets"),  # executors
    ("toolchain.files",),  # files
    ("toolchain.workers", "toolchain.specs"),
    ("toolchain.display",),
    ("toolchain.netlist",),  # ground
)
LINE = {package: line for line, packages in enumerate(FLOORS) for package in packages}
GROUND = "toolchain.netlist"
#: What the ground may import besides Python's own.
GROUND_LIBRARIES = {"numpy"}
LAVA_PACKAGE = "hw_targets.lava_runtime"
#: Lava's compiler executes these folders.
SILENT = (f"{LAVA_PACKAGE}.processes", f"{LAVA_PACKAGE}.netx_processes")
#: What lies at the top of `toolchain`: everything has a room.
LOOSE = {"toolchain"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PACKAGES = ("toolchain", "hw_targets", "sim")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
FILES = {module_name(path): path for path in [*ROOT.glob("adafire.py"), *SOURCES]}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def package_of(module: str) -> str | None:
    """The package of `FLOORS` that a module belongs to; None for the empty `toolchain` itself."""
    return next((package for package in LINE if within(module, package)), None)


def imports(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Every module that a source file names in an import, inside functions and type checks too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                found.add(submodule if submodule in FILES else base)
    return found


GRAPH = {
    module: imports(path.read_text(), module, is_package=path.name == "__init__.py") for module, path in FILES.items()
}


def violations(module: str, imported: set[str]) -> list[str]:
    """One line for each import that the floors forbid to ``module``."""
    found, mine = [], package_of(module)
    for target in sorted(imported):
        top, theirs = target.partition(".")[0], package_of(target)
        if theirs is not None and theirs != mine and (mine is None or LINE[theirs] <= LINE[mine]):
            found.append(f"{module} imports {target}, which is not below it")
        elif top in PACKAGES and theirs is None:
            found.append(f"{module} imports {target}, which is no room")
        elif top == "lava" and not within(module, LAVA_PACKAGE):
            found.append(f"{module} imports {target}: only {LAVA_PACKAGE} may")
        elif mine == GROUND and theirs != GROUND and top not in GROUND_LIBRARIES | sys.stdlib_module_names:
            found.append(f"{module} imports {target}: the ground needs numpy only")
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for target in graph[module] & graph.keys():
            if target not in number:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], number[target])
        if lowest[module] == number[module]:
            position = stack.index(module)
            if len(stack) - position > 1:
                found.append(sorted(stack[position:]))
            del stack[position:]

    for module in graph:
        if module not in number:
            visit(module)
    return found


def test_the_sources_are_found():
    assert {GROUND, "sim", "hw_targets", "toolchain.cli.entry"} <= FILES.keys()


def test_every_package_has_a_floor():
    assert {m for m in FILES if package_of(m) is None} <= LOOSE
    packages = {".".join(m.split(".")[:2]) for m in FILES if m.startswith("toolchain.")}
    assert packages | {"sim", "hw_targets", "adafire"} == LINE.keys()


def test_no_module_lies_loose():
    assert {module_name(p) for p in (ROOT / "toolchain").glob("*.py")} == LOOSE


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module):
    assert violations(module, GRAPH[module]) == []


def test_no_imports_run_in_a_circle():
    assert circles(GRAPH) == []


def test_a_circle_is_seen():
    graph = {"a": {"b"}, "b": {"c", "numpy"}, "c": {"a"}, "d": {"a", "e"}, "e": set(), "f": {"g"}, "g": {"f"}}
    assert circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_type_only_imports_count():
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sim.layer import Layer\n"
    assert "sim.layer" in imports(source, "sim.parts")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("toolchain.netlist.types", "import torch"),
        ("toolchain.netlist.types", "import h5py"),
        ("toolchain.netlist.types", "def f():\n    import scipy.ndimage"),
        ("toolchain.netlist.types", "from sim import golden"),
        ("toolchain.netlist.types", "from ..cli import main"),
        ("sim.simulator", "from hw_targets import lava_runtime"),
        ("hw_targets.rules", "import sim.golden"),
        ("sim.simulator", "from toolchain.frontend import read_module"),
        ("toolchain.calibrate.light", "from toolchain.search import Judge"),
        ("toolchain.energy", "from toolchain.cli import main"),
        ("toolchain.energy", "import toolchain"),
        ("toolchain.energy", "import lava.proc.lif.process"),
        ("hw_targets.rules", "from lava.magma.core.process.process import AbstractProcess"),
    ],
)
def test_an_import_that_goes_up_is_seen(module, source):
    assert len(violations(module, imports(source, module))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("toolchain.netlist.types", "import json, numpy as np\nfrom .errors import AdafireError"),
        ("sim.simulator", "import torch\nfrom toolchain.netlist import types\nfrom . import golden"),
        ("hw_targets.lava_runtime.runner", "def run():\n    import lava.magma.core.run_conditions"),
        ("toolchain.energy", "from sim import golden\nfrom hw_targets import rules\nfrom toolchain import netlist"),
        ("toolchain.cli.convert", "from toolchain.frontend import read_module"),
    ],
)
def test_an_import_that_goes_down_is_allowed(module, source):
    assert violations(module, imports(source, module)) == []


def test_no_class_name_stands_for_two_things():
    homes: dict[str, list[str]] = {}
    for module, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.lstrip("_"), []).append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def test_every_package_shows_its_main_names():
    for module, path in FILES.items():
        if path.name == "__init__.py" and module not in ("toolchain", "hw_targets", *SILENT):
            names = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
            assert any(ast.unparse(node.targets[0]) == "__all__" for node in names), module


def loaded_after(modules: list[str], libraries: set[str]) -> str:
    """Names of ``libraries`` that a fresh interpreter has loaded once it has imported ``modules``."""
    program = (
        "import importlib, sys\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        f"print(*sorted({libraries!r} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("package", ["toolchain.netlist", "toolchain.files"])
def test_netlists_and_their_files_load_without_torch(package):
    modules = [module for module in FILES if within(module, package)]
    assert loaded_after(modules, {"torch", "numba", "lava", "norse", "nir"}) == ""


def test_lava_is_loaded_only_when_it_is_needed():
    modules = [m for m in FILES if not within(m, LAVA_PACKAGE) and not m.endswith("__main__")]
    assert loaded_after(modules, {"lava"}) == ""
