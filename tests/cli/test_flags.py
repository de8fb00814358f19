"""The library names fields, the command line flags; one is translated into the other."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from toolchain import cli
from toolchain.cli.flags import error_in_flags, flag, in_flags
from toolchain.netlist import BackendError, InputError

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted(
    path
    for package in ("toolchain", "sim", "hw_targets")
    for path in (ROOT / package).rglob("*.py")
    if not path.is_relative_to(ROOT / "toolchain" / "cli")
)


def test_a_field_becomes_a_flag():
    assert flag("phi_max") == "--phi-max"
    assert in_flags("use `phi_max` of 3, or `other`", {"phi_max": "--phi-max"}) == "use --phi-max of 3, or `other`"
    assert in_flags("phi_max alone is a word", {"phi_max": "--phi-max"}) == "phi_max alone is a word"


def test_an_error_is_worded_for_the_command_that_ran():
    error = BackendError("executor", "no scheduler answers, `batch` is 3", "leave `executor` out or use `phi` 2")
    told = error_in_flags(error, own={"executor": "--executor"}, others={"executor": "--executor", "batch": "--batch"})
    assert type(told) is BackendError
    assert str(told) == "--executor: no scheduler answers, --batch is 3; leave --executor out or use `phi` 2"
    # Another command's option is advice, but not at fault.
    assert error_in_flags(error, own={}, others={"batch": "--batch"}).where == "executor"


def test_the_layer_or_file_at_fault_stays_as_it_is():
    assert (
        str(error_in_flags(InputError("net.h5", "no such file"), {"limit": "--limit"}, {"limit": "--limit"}))
        == "net.h5: no such file"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phi", "300"], "Invalid value for '--phi'"),
        (["--phi-max", "1", "--search"], "error: --phi-max: 1 found, expected at least --phi, 4"),
        (["--threshold", "max", "--search"], "use --strategy layers, or leave --threshold and --threshold-per-layer"),
        (["--target", "loihi9"], "error: --target: there is no target 'loihi9'"),
        (["--weight-bits", "12", "--target", "loihi2"], "use --weight-bits"),
    ],
)
def test_users_of_the_command_line_are_told_flags(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\n\ndef net():\n    return torch.nn.Sequential(torch.nn.Linear(4, 2))\n"
    )

    np.savez(tmp_path / "data.npz", images=np.zeros((8, 4), np.float32))
    assert cli.run(["convert", "net.py:net", "--calibration", "data.npz", "-o", "net.h5", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def texts(source: str) -> list[str]:
    """Return the string literals of a source, docstrings aside: what may reach a user."""
    tree = ast.parse(source)
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    literals = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in documentation)
    return [node.value for node in literals if isinstance(node.value, str)]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_names_no_flags(path):
    # CSS variables of the page are spelled alike, and stand alone or in var(...); a command line is quoted whole.
    known = re.compile(r"--\w+|.*var\(--\w+\).*|.*(pip install|adafire \w+) .*--.*", re.DOTALL)
    found = [t for t in texts(path.read_text()) if re.search(r"(?<![\w-])--[a-z]", t)]
    assert [text for text in found if not known.fullmatch(text)] == []


def test_a_flag_in_a_message_is_seen():
    source = (
        '"""Docs may say --limit."""\n\ndef f(x):\n    """Or --batch."""\n    raise ValueError(f"use --limit {x}")\n'
    )
    assert texts(source) == ["use --limit "]


def test_a_collapse_has_a_status_of_its_own_and_writes_nothing_unless_accepted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.py").write_text(
        "import torch\nfrom torch import nn\n\ndef net():\n    torch.manual_seed(0)\n"
        "    layers = [m for _ in range(4) for m in (nn.Linear(12, 12), nn.ReLU())]\n"
        "    return nn.Sequential(*layers, nn.Linear(12, 4))\n"
    )
    x = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    np.savez("x.npz", images=x)
    coarse = ["--timesteps", "1", "--phi", "1", "--weight-bits", "2", "--calibrate", "none", "--threshold", "max"]
    command = ["convert", "deep.py:net", "--calibration", "x.npz", *coarse, "-o", "net.h5"]
    assert cli.run(command) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "the netlist does not compute what the ANN does" in said
    assert "it breaks at" in said
    assert "--accept-collapse" in said
    assert not Path("net.h5").exists()
    assert cli.run([*command, "--accept-collapse"]) == 0
    assert "note: collapse accepted" in " ".join(capsys.readouterr().out.split())
    assert Path("net.h5").exists()
