"""``adafire export --to netx`` and ``adafire import``, as a user calls them."""

import numpy as np
import pytest

from toolchain.cli import run
from toolchain.netlist.hdf5 import read_netlist, write_netlist


@pytest.fixture
def netlist_file(tmp_path, make_netlist):
    netlist = make_netlist("conv", 2)
    path = tmp_path / "net.h5"
    write_netlist(netlist, path)
    return path


@pytest.fixture
def sequence_file(tmp_path, make_netlist):
    """A sequence that netx holds: flat populations."""
    from toolchain.netlist import AdaFire, Connection, Input, Linear, Netlist, Readout

    rng = np.random.default_rng(0)
    zeros = np.zeros(4)
    netlist = Netlist(
        (
            Input("input", (4,), 8, True, 0.1, zeros, zeros + 1),
            AdaFire("a", (4,), 3, np.full(4, 90), np.arange(4), np.full(4, 45), zeros + 1),
            Readout("r", (2,), np.zeros(2, np.int64), np.ones(2)),
        ),
        (
            Connection("input", "a", (Linear(rng.integers(-99, 99, (4, 4))),)),
            Connection("a", "r", (Linear(rng.integers(-99, 99, (2, 4))),)),
        ),
        timesteps=3,
    )
    path = tmp_path / "sequence.h5"
    write_netlist(netlist, path)
    return path


@pytest.mark.parametrize(("kind", "suffix"), [("netx", ".net"), ("nir", ".nir")])
def test_export_and_import_give_the_same_netlist(kind, suffix, sequence_file, tmp_path, capsys):
    other, back = tmp_path / f"other{suffix}", tmp_path / "back.h5"
    assert run(["export", str(sequence_file), "--to", kind, "-o", str(other)]) == 0
    assert run(["import", str(other), "-o", str(back)]) == 0
    assert "nothing is lost" in capsys.readouterr().out
    assert read_netlist(back).content_hash == read_netlist(sequence_file).content_hash


def test_what_netx_cannot_hold_is_one_line(netlist_file, tmp_path, capsys):
    target = tmp_path / "out.net"
    assert run(["export", str(netlist_file), "--to", "netx", "-o", str(target)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is uneven; netx has one number per axis" in line
    assert not target.exists()


def test_a_file_that_is_neither(tmp_path, capsys):
    (tmp_path / "a.net").write_bytes(b"nothing")
    assert run(["import", str(tmp_path / "a.net"), "-o", str(tmp_path / "a.h5")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is no HDF5 file, expected a NIR or netx file" in line
    assert not (tmp_path / "a.h5").exists()
