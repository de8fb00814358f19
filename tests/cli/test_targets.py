"""adafire check, place and targets, as scripts use them."""

import json

import numpy as np
import pytest

from toolchain.cli import run
from toolchain.files import write_netlist


@pytest.fixture
def file(fits_loihi1, tmp_path):
    path = tmp_path / "net.h5"
    write_netlist(fits_loihi1, path)
    return str(path)


def test_check_exits_0_when_it_fits_and_1_when_not(file, capsys):
    assert run(["check", file, "--target", "kapoho_point", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["target"] == "kapoho_point"
    assert told["violations"] == []
    assert told["utilization"]["cores"] == [1, 1024]
    assert run(["check", file, "--target", "loihi1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {"rule", "where", "limit", "actual", "margin", "fix"} == told["violations"][0].keys()
    assert run(["check", file, "--target", "loihi1"]) == 1
    assert "payload_width" in capsys.readouterr().out


def test_a_mistyped_target_is_one_line_and_status_2(file, capsys):
    assert run(["check", file, "--target", "lohi2"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'loihi2'" in error
    assert len(error.strip().splitlines()) == 1


def test_check_unrolled(file, capsys):
    assert run(["check", file, "--target", "loihi1", "--unroll", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["unrolled"] is True
    assert "payload_width" not in {v["rule"] for v in told["violations"]}


def test_advice_names_flags(file, capsys):
    assert run(["check", file, "--target", "loihi1", "--json"]) == 1
    fixes = [v["fix"] for v in json.loads(capsys.readouterr().out)["violations"]]
    assert "lower --phi to 1, or --unroll bursts" in fixes
    assert not any("`" in fix for fix in fixes)


def test_place_with_measured_traffic_and_a_picture(file, small_resnet, tmp_path, capsys):
    data = tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(data, images=rng.normal(size=(3, *small_resnet.input.shape)).astype(np.float32), labels=np.zeros(3, int))
    picture = tmp_path / "cores.svg"
    arguments = ["place", file, "--target", "kapoho_bay", "--data", str(data), "--picture", str(picture), "--json"]
    assert run(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["traffic"]["measured"] is True
    assert told["traffic"]["from_host"] > 0
    assert picture.read_text().lstrip().startswith("<?xml")
    assert run([*arguments, "--unroll"]) == 0
    assert json.loads(capsys.readouterr().out)["traffic"]["measured"] is True


def test_targets_are_listed_and_shown_with_their_sources(tmp_path, capsys):
    assert run(["targets", "--json"]) == 0
    assert "hala_point" in {t["name"] for t in json.loads(capsys.readouterr().out)["targets"]}
    assert run(["targets", "loihi2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert all(f["source"] for f in facts.values())
    assert run(["targets"]) == 0
    assert "kapoho_point" in capsys.readouterr().out
    assert run(["targets", "xylo_audio2"]) == 0
    assert "unknown" in capsys.readouterr().out
