"""What is written to a temporary file is read again; nothing is left of it, and the disk is not filled."""

import tempfile
from types import SimpleNamespace

import pytest

from toolchain.files.scratch import Scratch
from toolchain.netlist import InputError


def test_what_is_written_anywhere_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch, room = Scratch("numbers", "take fewer"), bytearray(5)
    scratch.write(b"behind", 10)
    scratch.write(memoryview(b"before"), 0)
    scratch.read(memoryview(room), 11)
    assert bytes(room) == b"ehind"
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="numbers: became shorter while it was read"):
        scratch.read(memoryview(room), 12)


def test_a_gigabyte_is_left_to_others(monkeypatch):
    monkeypatch.setattr("toolchain.files.scratch._LOOK", 8)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=99))
    scratch = Scratch("numbers", "take fewer")
    scratch.write(b"seven..", 0)
    with pytest.raises(InputError, match=r"^more numbers: 99 bytes left in .*; set TMPDIR, or take fewer$"):
        scratch.write(b".", 7, where="more numbers")
