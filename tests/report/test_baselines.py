"""Baselines at equal accuracy: the numbers are those of the same netlist stopped at that timestep."""

import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from random_netlists import radix_netlist

from toolchain.cli import run
from toolchain.data import Dataset, Truth
from toolchain.energy import count, energy_text, estimate_energy, paper_energy_by_timestep, sops_by_timestep
from toolchain.evaluate import Reference, evaluate, scoring, stream
from toolchain.files import write_netlist
from toolchain.netlist import InputError, Score
from toolchain.report import run_baseline, run_report, to_html, to_json, to_markdown
from toolchain.report.baselines import stop
from toolchain.report.comparison import compare_html
from toolchain.report.rows import rows
from toolchain.report.text import equal_accuracy_lines

SAMPLES = 70  # more than one batch


def traces(netlist, data):
    return (run.trace for run in stream(Reference(netlist, spikes=True), data))


def stopped(netlist, data, timesteps):
    """Run the netlist for fewer timesteps through the simulator and the energy model."""
    cut = replace(netlist, timesteps=timesteps)
    return evaluate(cut, data).accuracy, estimate_energy(count(cut, traces(cut, data)))


def dataset(netlist, *, labels=True) -> Dataset:
    """Return samples that the netlist decides on in the labelled way at its last timestep, two of three times."""
    rng = np.random.default_rng(0)
    frames = netlist.input.coding == "frames"
    shape = (SAMPLES, 12, *netlist.input.shape) if frames else (SAMPLES, *netlist.input.shape)
    data = Dataset("val.npz", rng.normal(0, 0.8, shape), is_frames=frames)
    if not labels:
        return data
    (readout,) = netlist.readouts
    decided = np.concatenate([(t.readout[-1] * readout.scale).argmax(-1) for t in traces(netlist, data)])
    right = rng.random(SAMPLES) < 2 / 3
    return replace(data, truth=Truth(np.where(right, decided, rng.integers(0, readout.shape[0], SAMPLES))))


@pytest.mark.parametrize("architecture", ["shortcut", "maxpool", "frames", "linear"])
def test_each_timestep_costs_what_the_shorter_run_costs(make_netlist, architecture):
    netlist = make_netlist(architecture, timesteps=4)
    data = dataset(netlist)
    counts = count(netlist, traces(netlist, data))
    energy = estimate_energy(counts)
    spent, sops = paper_energy_by_timestep(counts, energy.prices), sops_by_timestep(counts)
    assert (spent[-1], sops[-1]) == (energy.e_snn, energy.sops)
    for t in range(1, 5):
        _, shorter = stopped(netlist, data, t)
        assert (spent[t - 1], sops[t - 1]) == (shorter.e_snn, shorter.sops)


@pytest.mark.parametrize("architecture", ["shortcut", "linear"])
def test_a_baseline_stops_at_the_first_timestep_that_is_good_enough(make_netlist, architecture):
    baseline = make_netlist(architecture, phi=1, timesteps=8)
    data = dataset(baseline)
    _, reported = stopped(make_netlist(architecture, timesteps=4), data, 4)
    runs = {t: stopped(baseline, data, t) for t in range(1, 9)}
    aims = sorted({accuracy for accuracy, _ in runs.values()})
    for aim in aims:
        found = run_baseline(baseline, data, name="phi1", scored=scoring(baseline, data), score=aim, reported=reported)
        assert found.score_by_timestep == tuple(accuracy for accuracy, _ in runs.values())
        first = next(t for t, (accuracy, _) in runs.items() if accuracy >= aim)
        energy = runs[first][1]
        assert (found.timestep, found.energy, found.sops) == (first, energy.e_snn, energy.sops)
        assert found.energy_ratio == float(energy.e_snn / reported.e_snn)
        assert found.sops_ratio == energy.sops / reported.sops
    assert len(aims) > 1
    never = run_baseline(
        baseline, data, name="phi1", scored=scoring(baseline, data), score=aims[-1] + 0.001, reported=reported
    )
    assert (never.timestep, never.energy, never.sops, never.energy_ratio) == (None,) * 4
    assert never.best == aims[-1]


@pytest.fixture(scope="module")
def measured(make_netlist):
    """A report with the same netlist for longer, which must get there, and a phi = 1 that cannot."""
    netlist = make_netlist("shortcut", timesteps=4)
    data = dataset(netlist)
    others = {
        "longer.h5": replace(netlist, timesteps=6),
        "short.h5": replace(make_netlist("shortcut", seed=1, phi=1), timesteps=1),
    }
    return netlist, data, run_report(netlist, data, name="net", lava=0, baselines=others)


def test_the_same_netlist_costs_the_same(measured):
    netlist, _, m = measured
    longer, short = m.baselines
    assert longer.timestep <= 4
    counts = m.energy.counts
    assert longer.energy == paper_energy_by_timestep(counts, m.energy.prices)[longer.timestep - 1]
    assert longer.sops == sops_by_timestep(counts)[longer.timestep - 1]
    whole = stop(netlist, counts, (0.0, 0.0, 0.0, 1.0), name="net", measure="accuracy", score=1.0, reported=m.energy)
    found = whole.to_json()
    assert found["accuracy_by_timestep"] == found["score_by_timestep"] == [0.0, 0.0, 0.0, 1.0]
    assert found["best_accuracy"] == found["best_score"] == 1.0
    assert (whole.timestep, whole.energy) == (4, m.energy.e_snn)
    assert whole.energy_ratio == whole.sops_ratio == 1
    assert short.timestep is None


def test_every_format_shows_them(measured):
    _, _, m = measured
    longer, short = m.baselines
    data = json.loads(json.dumps(to_json(m), allow_nan=False))["at_equal_accuracy"]
    assert [b["name"] for b in data] == ["longer.h5", "short.h5"]
    assert data[0]["energy_pj_per_sample"] == float(longer.energy / Decimal(SAMPLES))
    assert data[0]["sops_per_sample"] == longer.sops / SAMPLES
    assert data[0]["phi"] == [4, 4]
    assert data[1]["timestep"] is data[1]["energy_ratio"] is None
    assert data[1]["best_score"] == short.best
    never = f"never in 1: best {short.best:.2%}"
    reached = f"{longer.timestep} of 6: {longer.score_by_timestep[longer.timestep - 1]:.2%}"
    for text in (to_html(m), to_markdown(m)):
        assert never in text
        assert reached in text
    assert "No other netlist was run" not in to_html(m)


def test_the_reported_netlist_may_stop_early_too(measured):
    _, _, m = measured
    first = next(t for t, accuracy in enumerate(m.outcome.by_timestep, start=1) if accuracy >= m.score)
    assert ("net, stopped early" in to_markdown(m)) == (first < 4)
    assert (to_json(m)["stopped_early"] is None) == (first == 4)
    at_once = replace(m, outcome=replace(m.outcome, score=Score("accuracy", 1.0), by_timestep=(1.0,) * 4))
    _, early, *_ = equal_accuracy_lines(at_once)
    spent = paper_energy_by_timestep(m.energy.counts, m.energy.prices)[0]
    assert to_json(at_once)["stopped_early"]["energy_pj_per_sample"] == float(spent / SAMPLES)
    assert early[:4] == ("net, stopped early", "4", "1 of 4: 100.00%", energy_text(spent / SAMPLES))


def test_digits_beside_rates(make_netlist):
    """Numbers are there at the end of a window only; the pages say what it takes until then."""
    rates, digits = make_netlist("shortcut", timesteps=4), radix_netlist("shortcut", digits=4)
    data = dataset(rates)
    m = run_report(digits, data, name="digits", lava=0, baselines={"rates.h5": rates, "again.h5": digits})
    assert len(m.outcome.by_timestep) == 1
    again = m.baselines[1]
    assert (again.timestep, again.timesteps, again.energy, again.energy_ratio) == (4, 4, m.energy.e_snn, 1)
    found = json.loads(json.dumps(to_json(m), allow_nan=False))
    assert (found["spike_code"], found["digits"], found["stopped_early"]) == ("radix", 4, None)
    # The input sends in one timestep; three layers take a window each; the readout has its own in another.
    assert found["latency"] == 1 + 3 * 4 + 4 - 3
    other = run_report(rates, data, name="rates", lava=0)
    for page in (to_html(m), to_markdown(m), compare_html([m, other])):
        assert "digits" in page
    assert {found["spike_code"] for found in map(to_json, (m, other))} == {"radix", "rate"}
    # A number is as near to what it stands for as rounding lets it: no neuron fires early.
    assert min(row.cosine for row in rows(m) if row.cosine is not None) > 0.9


def test_without_baselines_the_page_says_so(measured):
    m = replace(measured[2], baselines=())
    assert "No other netlist was run" in to_html(m)
    assert "equal score" not in to_markdown(m)
    assert to_json(m)["at_equal_accuracy"] == []


class TestCommandLine:
    @pytest.fixture
    def folder(self, tmp_path, make_netlist, monkeypatch):
        netlist = make_netlist("conv")
        data = dataset(netlist)
        np.savez(tmp_path / "val.npz", images=data.values, labels=data.labels)
        np.savez(tmp_path / "unlabelled.npz", images=data.values)
        frames = make_netlist("frames")
        np.savez(tmp_path / "frames.npz", frames=dataset(frames).values, labels=np.zeros(SAMPLES, np.int64))
        write_netlist(netlist, tmp_path / "net.h5")
        write_netlist(make_netlist("conv", phi=1, timesteps=9), tmp_path / "phi1.h5")
        write_netlist(make_netlist("shortcut"), tmp_path / "other.h5")
        write_netlist(make_netlist("depthwise"), tmp_path / "four.h5")
        write_netlist(frames, tmp_path / "frames.h5")
        write_netlist(make_netlist("frames", timesteps=13), tmp_path / "long.h5")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def arguments(self, *more, netlist="net.h5", data="val.npz"):
        return ["report", netlist, "--data", data, "--lava", "0", "-o", "r.json", *more]

    def test_baselines_are_reported(self, folder):
        assert run(self.arguments("--baseline", "phi1.h5", "--baseline", "net.h5")) == 0
        found = json.loads((folder / "r.json").read_text())["at_equal_accuracy"]
        assert [b["name"] for b in found] == ["phi1.h5", "net.h5"]
        assert found[1]["timestep"] is not None
        assert found[1]["energy_ratio"] <= 1

    @pytest.mark.parametrize(
        ("netlist", "data", "more", "message"),
        [
            (
                "net.h5",
                "unlabelled.npz",
                ["phi1.h5"],
                "unlabelled.npz: no labels, and baselines compare",
            ),
            ("net.h5", "val.npz", ["other.h5"], "other.h5: an input of shape (3, 8, 8) found"),
            ("net.h5", "val.npz", ["none.h5"], "none.h5"),
            ("frames.h5", "frames.npz", ["long.h5"], "long.h5: T = 13, frames.npz holds 12 frames"),
            ("net.h5", "val.npz", ["phi1.h5", "phi1.h5", "four.h5"], "four.h5: an input of shape"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, folder, monkeypatch, capsys, netlist, data, more, message):
        monkeypatch.setattr("toolchain.report.run.measure", lambda *_, **__: pytest.fail("measuring began"))
        options = [word for name in more for word in ("--baseline", name)]
        assert run(self.arguments(*options, netlist=netlist, data=data)) == 2
        assert message in capsys.readouterr().err
        assert not (folder / "r.json").exists()

    def test_one_netlist_at_a_time(self, folder, capsys):
        assert run(self.arguments("phi1.h5", "--baseline", "phi1.h5")) == 2
        assert "--baseline: 2 netlists" in capsys.readouterr().err


def test_other_classes_are_refused(make_netlist):
    netlist, other = make_netlist("residual"), make_netlist("residual")
    readout = other.readouts[0]
    fewer = replace(
        other,
        populations=(
            *other.populations[:-1],
            replace(readout, shape=(3,), bias=readout.bias[:3], scale=readout.scale[:3]),
        ),
        connections=tuple(
            replace(c, operators=(*c.operators[:-1], replace(c.operators[-1], weight=c.operators[-1].weight[:3])))
            if c.target == readout.name
            else c
            for c in other.connections
        ),
    )
    with pytest.raises(InputError, match=r"few.h5: readouts of shape \[\(3,\)\] found"):
        run_report(netlist, dataset(netlist), name="net", lava=0, baselines={"few.h5": fewer})


def test_maps_cannot_be_compared(make_netlist):
    netlist = make_netlist("upsampling")
    labelled = replace(dataset(netlist, labels=False), truth=Truth(np.zeros(SAMPLES, np.int64)))
    with pytest.raises(InputError, match="no list of classes"):
        run_report(netlist, labelled, name="net", lava=0, baselines={"same.h5": netlist})
