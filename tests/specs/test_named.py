"""Code that a user names."""

import sys

import pytest

from toolchain.netlist import InputError
from toolchain.specs import failures, named


def test_a_function_finds_its_neighbours(tmp_path):
    (tmp_path / "shapes.py").write_text("SIDES = 4\n")
    (tmp_path / "boxes.py").write_text("def sides():\n    import shapes\n    return shapes.SIDES\n")
    with named(f"{tmp_path}/boxes.py:sides") as sides:
        assert sides() == 4
    assert "shapes" not in sys.modules


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("boxes.py", "names no callable"),
        ("nowhere.py:f", "no such file"),
        ("FILE:corners", "has no callable 'corners'.*it has sides"),
        ("FILE:SIDES", "has no callable 'SIDES'"),
        ("no_such_package:f", "cannot import no_such_package"),
    ],
)
def test_what_is_no_callable_is_refused(tmp_path, spec, message):
    (tmp_path / "boxes.py").write_text("SIDES = 4\ndef sides():\n    return SIDES\n")
    with pytest.raises(InputError, match=message), named(spec.replace("FILE", f"{tmp_path}/boxes.py")):
        pass


def test_objects_that_are_asked_for_need_not_be_callable(tmp_path):
    (tmp_path / "boxes.py").write_text("SIDES = 4\n")
    with named(f"{tmp_path}/boxes.py:SIDES", int) as sides:
        assert sides == 4


def test_whatever_the_code_raises_is_one_error():
    with (
        pytest.raises(InputError, match=r"f\.py:f: decoding failed: KeyError: 'x'"),
        failures("f.py:f", "decoding failed", None, ""),
    ):
        {}["x"]
    with pytest.raises(InputError, match="ended the program in the end"), failures("f.py:f", "", None, "in the end"):
        sys.exit(2)
