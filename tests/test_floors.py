"""Imports go down only: the floors of ARCHITECTURE.md, read from the sources.

Floor 1 is ``toolchain.netlist``; floor 2 ``sim`` and ``hw_targets``, which don't know each other; floor 3 the other
modules of ``toolchain``; floor 4 the command line and the public face, ``toolchain`` itself.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("toolchain", "hw_targets", "sim")
NETLIST_LIBRARIES = {"numpy", "h5py"}
LAVA_PACKAGE = "hw_targets.lava_runtime"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def floor(module: str) -> int:
    if within(module, "toolchain.netlist"):
        return 1
    if within(module, "sim") or within(module, "hw_targets"):
        return 2
    if module in ("toolchain", "toolchain.__main__") or within(module, "toolchain.cli"):
        return 4
    return 3


def imports(source: str, module: str, is_package: bool) -> set[str]:
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


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """One line for each import that the floors forbid to ``module``."""
    found = []
    for target in sorted(imports(source, module, is_package)):
        top = target.partition(".")[0]
        if top in PACKAGES:
            if floor(target) > floor(module):
                found.append(f"{module} (floor {floor(module)}) imports {target} (floor {floor(target)})")
            elif floor(module) == floor(target) == 2 and top != module.partition(".")[0]:
                found.append(f"{module} imports {target}: sim and hw_targets don't know each other")
        elif top == "lava" and not within(module, LAVA_PACKAGE):
            found.append(f"{module} imports {target}: only {LAVA_PACKAGE} may")
        elif floor(module) == 1 and top not in NETLIST_LIBRARIES | sys.stdlib_module_names:
            found.append(f"{module} imports {target}: the netlist needs numpy and h5py only")
    return found


def test_the_sources_are_found():
    assert {"toolchain", "toolchain.netlist", "sim", "hw_targets"} <= FILES.keys()


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module):
    path = FILES[module]
    assert violations(path.read_text(), module, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("toolchain.netlist.types", "import torch"),
        ("toolchain.netlist.types", "def f():\n    import scipy.ndimage"),
        ("toolchain.netlist.types", "from sim import golden"),
        ("toolchain.netlist.types", "from .. import cli"),
        ("toolchain.netlist.types", "from ..cli import main"),
        ("sim.simulator", "from hw_targets import lava_runtime"),
        ("hw_targets.rules", "import sim.golden"),
        ("sim.simulator", "from toolchain.convert import convert"),
        ("sim.simulator", "from toolchain import __version__"),
        ("toolchain.energy", "from toolchain.cli import main"),
        ("toolchain.energy", "import toolchain"),
        ("toolchain.energy", "import lava.proc.lif.process"),
        ("hw_targets.rules", "from lava.magma.core.process.process import AbstractProcess"),
    ],
)
def test_an_import_that_goes_up_is_seen(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("toolchain.netlist.types", "import json, numpy as np, h5py\nfrom .errors import AdafireError"),
        ("sim.simulator", "import torch\nfrom toolchain.netlist import types\nfrom . import golden"),
        ("hw_targets.lava_runtime.runner", "def run():\n    import lava.magma.core.run_conditions"),
        ("toolchain.energy", "from sim import golden\nfrom hw_targets import rules\nfrom toolchain import netlist"),
        ("toolchain.cli", "from toolchain.convert import convert\nimport toolchain"),
    ],
)
def test_an_import_that_goes_down_is_allowed(module, source):
    assert violations(source, module) == []


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


def test_the_netlist_loads_without_torch():
    modules = [module for module in FILES if within(module, "toolchain.netlist")]
    assert loaded_after(modules, {"torch", "numba", "lava", "norse", "nir"}) == ""


def test_lava_is_loaded_only_when_it_is_needed():
    modules = [m for m in FILES if not within(m, LAVA_PACKAGE) and not m.endswith("__main__")]
    assert loaded_after(modules, {"lava"}) == ""
