"""Every command's help ends with an example that its own parser takes."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from toolchain import cli
from toolchain.cli.entry import WORKFLOW

ROOT = Path(__file__).resolve().parents[2]


def commands() -> dict:
    return cli.commands()


def example(command) -> list[str]:
    """Return the words of the last paragraph of a command's help."""
    last = command.help.split("\n\n")[-1]
    assert last.startswith("Example: adafire "), f"{command.name}: no example at the end of the help"
    return shlex.split(last.removeprefix("Example: "))


def test_the_workflow_lists_every_command():
    assert list(commands()) == list(WORKFLOW)


@pytest.mark.parametrize("name", WORKFLOW)
def test_the_example_parses(name):
    command = commands()[name]
    program, *words = example(command)
    called, arguments = words[: len(name.split())], words[len(name.split()) :]
    assert (program, " ".join(called)) == ("adafire", name)
    command.make_context(name, arguments)  # raises at an option that is not there or a value that is not taken


@pytest.mark.parametrize("name", WORKFLOW)
def test_the_networks_and_targets_of_examples_exist(name):
    words = example(commands()[name])
    for spec in re.findall(r"(\S+\.py):\w+", " ".join(words)):
        assert (ROOT / spec).is_file()
    for target in [word for before, word in pairwise(words) if before in ("--target", "targets")]:
        assert (ROOT / "hw_targets" / "data" / f"{target}.toml").is_file()


def test_a_wrong_option_would_be_seen():
    command = commands()["check"]
    with pytest.raises(typer.exceptions.TyperException):
        command.make_context("check", ["resnet20.h5", "--target", "loihi2", "--limit", "3"])
