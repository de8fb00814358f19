"""docs/layers.md names exactly the operations that convert."""

import re
from pathlib import Path

from toolchain.frontend.from_onnx import ONNX, OPSETS
from toolchain.frontend.from_torch import ATEN

TEXT = (Path(__file__).parents[2] / "docs" / "layers.md").read_text()


def column(index):
    section = TEXT.split("## What converts\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    return {name for row in rows[1:] for name in re.findall(r"`(\w+)`", row[index])}


def test_every_aten_operation_is_listed_and_every_listed_one_converts():
    assert column(2) == set(ATEN)


def test_every_onnx_operator_is_listed_and_every_listed_one_converts():
    assert column(3) == set(ONNX)


def test_the_operator_sets_are_those_that_are_read():
    assert f"operator sets {OPSETS.start} to {OPSETS.stop - 1}," in TEXT
