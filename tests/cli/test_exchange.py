"""adafire export and import: each format there and back, one clear line for what cannot be."""

import json

import pytest

from toolchain.cli import run
from toolchain.exchange import export_netlist
from toolchain.files import netlist_bytes, read_netlist, write_netlist
from toolchain.info import netlist_text
from toolchain.netlist import InputError


@pytest.fixture
def net(make, tmp_path):
    def save(architecture):
        write_netlist(make(architecture), tmp_path / "net.h5")
        return str(tmp_path / "net.h5")

    return save


@pytest.mark.parametrize(("architecture", "to"), [("residual", "nir"), ("residual", "nir-explicit"), ("mlp", "netx")])
def test_there_and_back(architecture, to, net, tmp_path, capsys):
    source, file, back = net(architecture), str(tmp_path / "net.out"), str(tmp_path / "back.h5")
    assert run(["export", source, "--to", to, "-o", file, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["format"] == to
    assert report["losses"]
    assert run(["import", file, "-o", back, "--json"]) == 0
    expected = read_netlist(source)
    assert json.loads(capsys.readouterr().out)["hash"] == expected.content_hash
    # netx has no place for the provenance.
    assert (netlist_bytes(read_netlist(back)) == netlist_bytes(expected)) == (to != "netx")


def test_the_report_is_readable(net, tmp_path, capsys):
    assert run(["export", net("cnn"), "--to", "nir", "-o", str(tmp_path / "net.nir")]) == 0
    out = capsys.readouterr().out
    assert "sinabs" in out
    assert "Loss(" not in out


def test_what_cannot_be_is_one_line_and_no_file(net, tmp_path, capsys):
    assert run(["export", net("every_operator"), "--to", "nir", "-o", str(tmp_path / "net.nir")]) == 2
    error = capsys.readouterr().err
    assert "pool: NIR has no max-pooling" in " ".join(error.split())
    assert not (tmp_path / "net.nir").exists()
    assert run(["import", str(tmp_path / "net.h5"), "-o", str(tmp_path / "back.h5")]) == 2
    assert "neither a NIR graph nor a netx file" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "back.h5").exists()


def test_info_prints_a_text_for_diff(net, capsys):
    path = net("every_operator")
    assert run(["info", path, "--text"]) == 0
    assert capsys.readouterr().out == netlist_text(read_netlist(path))
    assert run(["info", path, "--text", "--json"]) == 2
    assert "text: found together with" in capsys.readouterr().err


def test_no_such_format(make, tmp_path):
    with pytest.raises(InputError, match=r"to: 'svg' found, expected one of nir, nir-explicit, netx"):
        export_netlist(make("mlp"), tmp_path / "net.svg", to="svg")
