"""What a conversion measures: ANN, float SNN and netlist on the same labelled samples."""

import json
import re

import numpy as np
import pytest
import torch

import adafire
from sim import golden
from toolchain.cli import run
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset
from toolchain.files import read_netlist
from toolchain.frontend import read_module
from toolchain.netlist import Provenance
from toolchain.network import outputs, simulate_float
from toolchain.quantize import quantize

MODEL = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4)
    )

def segment():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 1))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model; data whose labels are what the ANN decides; bad data."""
    (tmp_path / "model.py").write_text(MODEL)
    scope: dict = {}
    exec(MODEL, scope)  # noqa: S102
    images = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 1)).astype(np.uint8)
    with torch.no_grad():
        labels = scope["net"]()(torch.from_numpy(images / 255).permute(0, 3, 1, 2).float()).argmax(1).numpy()
    np.savez(tmp_path / "train.npz", images=images)
    np.savez(tmp_path / "val.npz", images=images, labels=labels)
    np.savez(tmp_path / "wide.npz", images=images.repeat(2, 2), labels=labels)
    np.savez(tmp_path / "many.npz", images=images, labels=labels + 4)
    np.savez(tmp_path / "floats.npz", frames=np.zeros((2, 9, 1, 8, 8)), labels=labels[:2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


CONVERT = ["--calibration", "train.npz", "--samples", "64", "-o", "net.h5"]


def test_a_conversion_measures_every_stage(folder, capsys):
    assert run(["convert", "model.py:net", *CONVERT, "--evaluate", "val.npz", "--evaluate-limit", "80", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    netlist = read_netlist(folder / "net.h5")
    assert found["evaluation"] == found["provenance"]["evaluation"]
    stages = netlist.provenance.evaluation
    assert stages.to_json() == found["evaluation"]
    assert (stages.data, stages.samples, stages.ann.value) == ("val.npz", 80, 1.0)
    data = adafire.dataset("val.npz", limit=80)
    assert stages.integer_snn.value == adafire.simulate(netlist, data).accuracy
    assert stages.float_snn.value >= 0.75
    assert len(stages.data_sha256) == 64

    assert run(["convert", "model.py:net", *CONVERT]) == 0
    assert "accuracy" not in capsys.readouterr().out
    plain = read_netlist(folder / "net.h5")
    assert plain.content_hash == netlist.content_hash
    assert plain.provenance.evaluation is None

    assert run(["convert", "model.py:net", *CONVERT, "--evaluate", "val.npz"]) == 0
    assert "accuracy on 96 samples of val.npz: ANN 100.00%, float SNN " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "data", "message"),
    [
        ("net", "train.npz", "no labels found"),
        ("net", "wide.npz", "samples of shape (1, 8, 16) found"),
        ("net", "many.npz", "expected 0 to 3"),
        ("net", "floats.npz", "frames found"),
        ("net", "none.npz", "no such file"),
        ("segment", "val.npz", "single list of classes"),
    ],
)
def test_data_that_cannot_be_judged_are_refused_before_calibration(folder, capsys, monkeypatch, spec, data, message):
    monkeypatch.setattr(
        "toolchain.convert.pipeline.collect_histograms", lambda *_, **__: pytest.fail("calibration began")
    )
    assert run(["convert", f"model.py:{spec}", *CONVERT, "--evaluate", data]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert data in error
    assert not (folder / "net.h5").exists()


def test_a_pipeline_and_the_python_face_measure_too(folder, capsys):
    (folder / "all.toml").write_text(
        'netlist = "net.h5"\n[convert]\nspec = "model.py:net"\ncalibration = "train.npz"\n'
        'evaluate = "val.npz"\nevaluate_limit = 50\n'
    )
    assert run(["run", "all.toml"]) == 0
    measured = read_netlist(folder / "net.h5").provenance.evaluation
    assert measured.samples == 50
    scope: dict = {}
    exec(MODEL, scope)  # noqa: S102
    netlist = adafire.convert(scope["net"]().eval(), "train.npz", evaluate="val.npz", evaluate_limit=50)
    assert netlist.provenance.evaluation == measured


@pytest.mark.parametrize(
    ("pictures", "cause"), [(True, r"normalised by '0/1': name with `normalize`"), (False, "taken as they are")]
)
def test_an_ann_at_chance_says_what_is_likely_wrong(folder, pictures, cause):
    """The labels of val.npz are what the ANN decides on pictures in [0, 1]; moved on by one, none of them is."""
    scope: dict = {}
    exec(MODEL, scope)  # noqa: S102
    stored = np.load(folder / "val.npz")
    images = stored["images"] if pictures else stored["images"].transpose(0, 3, 1, 2) / 255
    np.savez(folder / "wrong.npz", images=images, labels=(stored["labels"] + 1) % 4)
    module, recipe = scope["net"]().eval(), adafire.Recipe(calibrate="light", timesteps=2)
    netlist = adafire.convert(module, "wrong.npz", recipe, evaluate="wrong.npz")
    (note,) = [n for n in netlist.provenance.notes if "guessing" in n]
    assert re.search(cause, note)
    assert "right on 0.00% of 96 samples" in note
    assert "guessing gives 25.00%" in note
    good = adafire.convert(module, "train.npz", recipe, evaluate="val.npz")
    assert good.provenance.evaluation.ann.value == 1
    assert not any("guessing" in n for n in good.provenance.notes)


def test_at_eight_bits_integers_decide_almost_as_real_numbers(monkeypatch):
    """Rounding moves the sums, so the two differ; by little, so they nearly always decide alike."""
    torch.manual_seed(3)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(512, 5)
    ).eval()
    rng = np.random.default_rng(0)
    data = Dataset("array", rng.normal(size=(128, 1, 8, 8)))
    rounded = []

    def keep(spiking, *rest):
        rounded.append(spiking)
        return quantize(spiking, *rest)

    monkeypatch.setattr("toolchain.convert.pipeline.quantize", keep)
    netlist = convert_network(read_module(module, data.shape), data, Recipe(timesteps=8, phi=4))
    (spiking,) = rounded
    *_, last = simulate_float(spiking, torch.from_numpy(data.values).float())
    trace = golden.simulate(netlist, data.payloads(netlist.input))
    integers = torch.from_numpy(trace.readout[-1] * netlist.readouts[0].scale)
    real = last[netlist.readouts[0].name]
    assert (integers.argmax(1) == real.argmax(1)).float().mean() >= 0.95
    assert not torch.equal(integers.float(), real)
    (ann,) = outputs(spiking.network, torch.from_numpy(data.values).float())
    assert (real / netlist.timesteps - ann).abs().mean() < 0.3 * ann.abs().mean()


@pytest.mark.parametrize(
    "found",
    [
        3,
        {"accuracy": 1},
        {"accuracy": {"ann": 1, "float_snn": "x", "integer_snn": 1}, "data": "a", "data_sha256": "b", "samples": 3},
        {"accuracy": {"ann": 1, "float_snn": 1e400, "integer_snn": 1}, "data": "a", "data_sha256": "b", "samples": 3},
        {"accuracy": {"ann": 1, "float_snn": 1, "integer_snn": 1}, "data": "a", "samples": 3},
    ],
)
def test_what_a_file_says_otherwise_is_no_measurement(found):
    assert Provenance.from_json({"evaluation": found}).evaluation is None
    assert Provenance().evaluation is None
