"""What is scored, how sure that is, and what the input clipped on the way."""

import json
from dataclasses import replace

import numpy as np
import pytest
import random_netlists

from sim import golden
from toolchain.cli import run
from toolchain.convert import Recipe
from toolchain.data import Dataset, Truth
from toolchain.equivalence import verify
from toolchain.evaluate import (
    count_operations,
    evaluate,
    input_clips,
    measure_traffic,
    observe,
)
from toolchain.evaluate.backends import Golden, Reference
from toolchain.files import write_netlist
from toolchain.netlist import InputError, Score
from toolchain.report import measure, run_report, to_html, to_json, to_markdown
from toolchain.tasks import decide, interval

SAMPLES = 9


@pytest.fixture(scope="module")
def heads():
    """A single logit, a list of classes and a map."""
    b = random_netlists.start(3, 4, (3, 6, 6)).fire("a", random_netlists.start(1, 4, (3, 6, 6)).conv(4))
    b.read("spoofed", b.linear(1), source="a").read("kinds", b.linear(4), source="a")
    return b.read("places", b.conv(2, 1), source="a").netlist(3)


@pytest.fixture(scope="module")
def single():
    b = random_netlists.start(5, 4, (3, 6, 6))
    return b.fire("a", b.conv(4)).read("spoofed", b.linear(1)).netlist(3)


def made_up(netlist, labels=None, scale=0.5) -> Dataset:
    values = np.random.default_rng(0).normal(0, scale, (SAMPLES, *netlist.input.shape))
    return Dataset("made up", values, Truth(labels))


def test_of_several_readouts_the_named_one_is_scored(heads):
    data = made_up(heads, np.arange(SAMPLES) % 2)
    readouts = golden.simulate(heads, data.payloads(heads.input)).readouts
    for name, decisions in (
        ("kinds", (readouts["kinds"] * heads["kinds"].scale).argmax(-1)),
        ("spoofed", (readouts["spoofed"][..., 0] > 0).astype(int)),
    ):
        found = evaluate(heads, data, readout=name)
        assert found.accuracy_by_timestep == tuple((decisions == data.labels).mean(1))
        assert found.outcome.readout == found.to_json()["readout"] == name
        assert f"accuracy of {name}" in str(found)
        assert measure(heads, data, name="net", readout=name).outcome == found.outcome
    for name, message in (("kind", "one of spoofed, kinds, places"), ("places", r"of shape \(2, 6, 6\) found")):
        with pytest.raises(InputError, match=f"^readout: {name!r}.*{message}"):
            evaluate(heads, data, readout=name)
    with pytest.raises(InputError, match="labels 0 to 1000 found, expected 0 to 3"):
        evaluate(heads, made_up(heads, np.arange(SAMPLES) * 125), readout="kinds")


def test_labels_that_nothing_is_scored_by_are_not_called_missing(heads):
    data = made_up(heads, np.arange(SAMPLES))
    found = evaluate(heads, data)
    assert (found.accuracy, found.outcome.readout, found.to_json()["interval"]) == (None, None, None)
    assert (
        found.outcome.unscored == "labels not scored: name the readout that they are for, one of spoofed, kinds, places"
    )
    report = measure(heads, data, name="net")
    assert report.outcome.unscored == found.outcome.unscored
    assert found.outcome.unscored in to_html(report)
    assert found.outcome.unscored in to_markdown(report)
    assert evaluate(heads, data.unlabelled).outcome.unscored == "no labels"
    with pytest.raises(InputError, match="name the readout that they are for"):
        run_report(heads, data, name="net", lava=0, baselines={"other": heads})
    both = run_report(
        heads, made_up(heads, np.zeros(SAMPLES, int)), name="net", lava=0, baselines={"other": heads}, readout="kinds"
    )
    assert both.baselines[0].score_by_timestep == both.outcome.by_timestep


def test_one_logit_decides_between_two_classes(single):
    data = made_up(single)
    positive = golden.simulate(single, data.payloads(single.input)).readout[-1, :, 0] > 0
    assert evaluate(single, replace(data, truth=Truth(positive.astype(np.int64)))).accuracy == 1
    assert evaluate(single, replace(data, truth=Truth(1 - positive))).accuracy == 0
    assert decide(np.array([[-2], [0], [3]]), np.array([0.5])).tolist() == [0, 0, 1]
    with pytest.raises(InputError, match="labels 0 to 2 found, expected 0 to 1"):
        evaluate(single, replace(data, truth=Truth(np.arange(SAMPLES) % 3)))


def test_a_conversion_scores_one_logit(tmp_path):
    import torch

    import adafire

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)).eval()
    x = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    with torch.no_grad():
        labels = (module(torch.from_numpy(x))[:, 0] > 0).numpy().astype(int)
    assert 0 < labels.mean() < 1
    data = adafire.dataset(x, labels)
    netlist = adafire.convert(module, data, Recipe(timesteps=16), evaluate=data)
    found = netlist.provenance.evaluation
    assert (found.ann.value, found.input_clips) == (1.0, 0)
    assert found.float_snn.value > 0.9
    assert found.integer_snn.value > 0.9


def test_runs_that_ask_for_no_accuracy_take_any_labels(single):
    data = made_up(single, np.full(SAMPLES, -7))
    assert count_operations(single, data).sops > 0
    assert verify(single, data, "reference").equivalent
    assert measure_traffic(single, data).keys() == {"input", "a"}


@pytest.mark.parametrize("name", ["conv", "frames"])
def test_values_beyond_the_inputs_range_are_counted(make_netlist, name):
    netlist = make_netlist(name)
    source, frames = netlist.input, name == "frames"
    low, high = source.payload_range
    lead = (SAMPLES, netlist.timesteps + 2) if frames else (SAMPLES,)
    payload = np.random.default_rng(0).integers(low - 3, high + 4, (*lead, *source.shape))
    data = Dataset("wide", payload * source.scale, is_frames=frames)
    runs = payload[:, : netlist.timesteps] if frames else payload
    clipped = int(((runs < low) | (runs > high)).sum())
    assert clipped > 0
    for backend, executor in ((Reference(netlist), None), (Golden(netlist), None), (Reference(netlist), "local:2")):
        found = observe(backend, data, [input_clips], batch=4, executor=executor)[input_clips]
        assert (found.clipped, found.values) == (clipped, runs.size)
    share = f"{clipped:,} of {runs.size:,} values ({clipped / runs.size:.2%})"
    found = evaluate(netlist, data)
    assert found.to_json()["input_clips"] == clipped
    assert f"input clips {share}" in " ".join(str(found).replace("│", " ").split())
    report = measure(netlist, data, name="net")
    assert to_json(report)["input_clips"] == clipped
    assert all((share in text) == (clipped > 0.01 * runs.size) for text in (to_html(report), to_markdown(report)))
    within = Dataset("within", np.clip(payload, low, high) * source.scale, is_frames=frames)
    assert evaluate(netlist, within).input_clips.clipped == 0


def test_stray_values_are_counted_without_a_note(make_netlist):
    netlist = make_netlist("conv")
    data = made_up(netlist, scale=0.01)
    data.values[0, 0, 0, 0] = 1e6
    found = evaluate(netlist, data).input_clips
    assert (found.clipped, found.note) == (1, None)
    assert "note" not in to_markdown(measure(netlist, data, name="net"))


def test_a_conversion_tells_what_its_test_data_clip(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    x = np.random.default_rng(0).normal(size=(64, 6))
    np.savez("train.npz", images=x)
    np.savez("far.npz", images=3 * x, labels=np.arange(64) % 2)
    convert = ["convert", "m.py:net", "--calibration", "train.npz", "--evaluate", "far.npz", "-o", "net.h5"]
    assert run([*convert, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["input_clips"] == np.count_nonzero(np.abs(3 * x) > np.abs(x).max() * 127.5 / 127)
    assert found["interval"] == list(interval(found["evaluation"]["accuracy"]["integer_snn"], 64))
    assert run(convert) == 0
    out = capsys.readouterr().out
    assert "note: the data leave the range that the input was calibrated for" in out
    assert "95 % interval" in out


def test_the_interval_is_wilsons():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for right, samples, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (29, 29, 0.8830, 1),
    ):
        assert interval(right / samples, samples) == pytest.approx((low, high), abs=6e-5)


def test_a_loss_that_few_samples_show_by_chance_is_not_called_bad(make_netlist):
    netlist = make_netlist("conv")
    m = measure(netlist, made_up(netlist, np.zeros(SAMPLES, int)), name="net")
    scores = [Score("accuracy", right / 64, samples=64) for right in (58, 60, 40)]
    m = replace(m, samples=64, outcome=replace(m.outcome, score=scores[0], ann=scores[1]))
    assert to_json(m)["interval"] == list(interval(58 / 64, 64))
    page = " ".join(to_html(m).split())
    assert "-3.12 points against the ANN, within the interval" in page
    assert "95 % interval 81.02% to 95.63%, 64 samples; ANN 93.75%" in page
    assert 'class="card open"> <h3>Accuracy' in page
    page = " ".join(to_html(replace(m, outcome=replace(m.outcome, score=scores[2]))).split())
    assert 'class="card bad"> <h3>Accuracy' in page


def test_the_command_line_chooses_too(heads, tmp_path, capsys):
    write_netlist(heads, tmp_path / "net.h5")
    np.savez(tmp_path / "data.npz", images=made_up(heads).values, labels=np.arange(SAMPLES) % 4)
    words = [str(tmp_path / "net.h5"), "--data", str(tmp_path / "data.npz")]
    assert run(["simulate", *words, "--readout", "kinds", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["readout"], found["interval"]) == ("kinds", list(interval(found["accuracy"], SAMPLES)))
    assert run(["report", *words, "--readout", "kinds", "--lava", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == found["accuracy"]
    assert run(["simulate", *words, "--readout", "kind"]) == 2
    assert "--readout: 'kind' found, expected one of spoofed, kinds, places" in capsys.readouterr().err
