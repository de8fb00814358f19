"""The report's numbers: measured right, written alike in every format, safe against hostile names."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import adafire
import sim.golden as golden
from hw_targets.rules import check
from hw_targets.rules.capacity import placed
from hw_targets.target import load_target
from sim import simulate
from sim.early_exit import alpha_schedule
from toolchain.cli import run
from toolchain.data import Dataset, Truth
from toolchain.equivalence import diagnose
from toolchain.files import write_netlist
from toolchain.netlist import AdaFire, InputError, Provenance, Score, StageScores, membrane_bound
from toolchain.report import compare_html, measure, rows, to_csv, to_html, to_json, to_markdown
from toolchain.report.fidelity import mean_payloads, without_spikes
from toolchain.report.searched import read_search

SAMPLES = 10


def dataset(netlist, *, labels=True, seed=0) -> Dataset:
    rng = np.random.default_rng(seed)
    frames = netlist.input.coding == "frames"
    shape = (SAMPLES, netlist.timesteps, *netlist.input.shape) if frames else (SAMPLES, *netlist.input.shape)
    classes = netlist.readouts[0].shape[0]
    found = rng.integers(0, classes, SAMPLES) if labels else None
    return Dataset("pictures.npz", rng.normal(0, 0.8, shape), Truth(found), is_frames=frames)


@pytest.fixture(scope="module")
def netlist(make_netlist):
    return make_netlist("shortcut")


@pytest.fixture(scope="module")
def measurement(netlist):
    target = load_target("loihi2")
    return measure(
        netlist,
        dataset(netlist),
        name="net",
        check=check(netlist, target),
        placement=placed(netlist, target)[0],
    )


def test_the_rows_are_what_the_simulator_did(netlist, measurement):
    data = dataset(netlist)
    trace = simulate(netlist, data.payloads(netlist.input))
    by_name = {row.name: row for row in rows(measurement)}
    assert all(isinstance(p, AdaFire) for p in netlist.spiking)
    assert list(by_name) == [p.name for p in netlist.populations]
    for population in netlist.spiking:
        payload, row = trace.spikes[population.name], by_name[population.name]
        assert row.spikes == pytest.approx(payload.sum() / SAMPLES)
        assert row.firing_rate == pytest.approx(np.count_nonzero(payload) / payload.size)
        assert measurement.activity[row.name].bursts.tolist() == np.bincount(payload.ravel(), minlength=5).tolist()
        assert np.allclose(measurement.activity[row.name].rate_map, payload.mean(axis=(0, 1)))
        assert row.threshold_max == population.threshold.max()
        bound = membrane_bound(netlist, population.name).magnitude
        assert 2 ** (row.membrane_bits_used - 2) <= bound < 2 ** (row.membrane_bits_used - 1)
    assert sum(row.sops for row in by_name.values()) == pytest.approx(measurement.energy.sops / SAMPLES)
    decisions = (trace.readout * netlist.readouts[0].scale).argmax(-1)
    assert measurement.outcome.by_timestep == tuple((decisions == data.labels).mean(1))


@pytest.mark.parametrize("architecture", ["residual", "maxpool", "frames", "sequence", "upsampling", "linear"])
def test_every_architecture_makes_a_page(make_netlist, architecture):
    netlist = make_netlist(architecture)
    page = to_html(measure(netlist, dataset(netlist, labels=len(netlist.readouts[0].shape) == 1), name=architecture))
    assert all(f'<span class="name">{p.name}</span>' in page for p in netlist.spiking)


def test_rates_without_spikes_are_the_limit_of_many_timesteps(make_netlist):
    """With bursts long enough, many timesteps come as close to the real-valued network as rounding allows."""
    netlist = make_netlist("residual", timesteps=4000, phi=255)
    payload = dataset(netlist).payloads(netlist.input)[:1]
    measured = mean_payloads(netlist, simulate(netlist, payload))
    rates = dict(without_spikes(netlist, torch.from_numpy(payload).double()))
    for population in netlist.spiking:
        assert (measured[population.name] - rates[population.name]).abs().max() < 0.05


def test_a_measurement_prints_its_summary(measurement):
    for word in (
        "pictures.npz, 10 samples",
        "accuracy of the network without spikes",
        "SOPs per sample",
        "violations: 1",
    ):
        assert word in str(measurement)
        assert word in measurement._repr_html_()


def test_data_without_labels_have_no_accuracy(netlist):
    m = measure(netlist, dataset(netlist, labels=False), name="net")
    assert m.score is None
    assert "not measured" in to_html(m)
    json.dumps(to_json(m), allow_nan=False)


def test_the_accuracies_of_the_conversion_are_shown(netlist):
    stages = StageScores("val.npz", "0" * 64, 256, *(Score("accuracy", share) for share in (0.95, 0.9375, 0.921875)))
    m = measure(replace(netlist, provenance=Provenance(evaluation=stages)), dataset(netlist), name="net")
    assert to_json(m)["evaluation"] == stages.to_json()
    assert f"- at conversion, {stages}" in to_markdown(m)
    page = to_html(m)
    assert "Accuracy at conversion, 256 samples of val.npz" in page
    assert '<th scope="row">float SNN</th><td class="n">93.75%</td><td class="n">-1.25 points</td>' in page
    assert '<th scope="row">integer SNN</th><td class="n">92.19%</td><td class="n">-1.56 points</td>' in page


def test_a_netlist_without_them_shows_none(measurement):
    assert to_json(measurement)["evaluation"] is None
    assert "at conversion" not in to_html(measurement) + to_markdown(measurement)


def test_early_exit_shows_when_samples_stop(make_netlist):
    netlist = make_netlist("conv")
    readout = simulate(netlist, dataset(netlist).payloads(netlist.input)).readout
    netlist = replace(netlist, alpha=alpha_schedule(readout, netlist.readouts[0].scale, base=0.1))
    m = measure(netlist, dataset(netlist), name="net")
    assert sum(m.exits) == SAMPLES
    assert "Early exit" in to_html(m)


def test_the_formats_hold_the_same_numbers(measurement):
    data = json.loads(json.dumps(to_json(measurement), allow_nan=False))
    lines = list(csv.DictReader(io.StringIO(to_csv(measurement))))
    assert [line["name"] for line in lines] == [layer["name"] for layer in data["layers"]]
    assert [float(line["sops"]) for line in lines] == [layer["sops"] for layer in data["layers"]]
    markdown = to_markdown(measurement)
    assert all(f"| {line['name']} |" in markdown for line in lines)
    assert data["hash"] in markdown
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', to_html(measurement), re.DOTALL)
    assert json.loads(embedded.group(1)) == data


def test_the_page_is_the_same_every_time(netlist, measurement):
    target = load_target("loihi2")
    again = measure(
        netlist, dataset(netlist), name="net", check=check(netlist, target), placement=placed(netlist, target)[0]
    )
    assert to_html(again, command="c") == to_html(measurement, command="c")


def test_the_page_asks_for_nothing_from_outside(measurement):
    page = to_html(measurement)
    assert "default-src 'none'" in page
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("data:", "#")), address
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_names_cannot_smuggle_markup(netlist):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    hostile = replace(
        netlist, provenance=Provenance(notes=(evil,), recipe={"target": None, evil: evil}, other={evil: evil})
    )
    page = to_html(measure(hostile, replace(dataset(netlist), name=evil), name=evil), command=evil)
    assert evil not in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_a_divergence_is_explained_on_the_page(netlist, monkeypatch):
    data = dataset(netlist)
    payloads = data.payloads(netlist.input)
    expected = golden.simulate(netlist, payloads)
    with monkeypatch.context() as patch:

        def to_zero(u, theta, phi):
            n = np.clip(u // theta, 0, phi)
            return n, np.where(n > 0, 0, u)

        patch.setattr(golden, "fire", to_zero)
        actual = replace(golden.simulate(netlist, payloads), backend="lava")
    m = measure(netlist, data, name="net", equivalence=diagnose(netlist, expected, actual))
    page = to_html(m)
    assert "Likely cause: reset: to zero" in page
    assert "differs" in page


def test_violations_are_listed(make_netlist):
    netlist = make_netlist("wide")
    report = check(netlist, load_target("loihi1"))
    assert report.violations
    page = to_html(measure(netlist, dataset(netlist), name="wide", check=report))
    assert all(v.rule in page for v in report.violations)
    narrow = check(netlist, load_target("speck"))
    assert any(v.rule == "membrane_range" for v in narrow.violations)
    assert not any(re.search(r"`weight_bits` of [01]\b", v.fix) for v in narrow.violations)


def test_two_netlists_side_by_side(make_netlist):
    small, large = make_netlist("conv", phi=1), make_netlist("conv", phi=8)
    data = dataset(small)
    pair = [measure(n, data, name=name) for n, name in ((small, "one"), (large, "eight"))]
    page = compare_html(pair, command="adafire report one.h5 eight.h5")
    assert "one beside eight" in page
    assert page.count("(best)") >= 1
    with pytest.raises(InputError, match="2 to 4"):
        compare_html(pair[:1])
    with pytest.raises(InputError, match="different samples"):
        compare_html([pair[0], measure(large, replace(data, name="other"), name="x")])


class TestCommand:
    @pytest.fixture
    def files(self, tmp_path, netlist):
        write_netlist(netlist, tmp_path / "net.h5")
        data = dataset(netlist)
        np.savez(tmp_path / "data.npz", images=data.values.astype(np.float32), labels=data.labels)
        return tmp_path

    def arguments(self, folder, *more):
        return ["report", str(folder / "net.h5"), "--data", str(folder / "data.npz"), "--lava", "0", *more]

    @pytest.mark.parametrize("suffix", ["html", "json", "csv", "md"])
    def test_a_file_is_written(self, files, suffix):
        path = files / f"report.{suffix}"
        assert run(self.arguments(files, "--target", "loihi2", "-o", str(path))) == 0
        assert path.stat().st_size > 500

    def test_json_alone_on_stdout(self, files, capsys):
        assert run(self.arguments(files, "--json", "--limit", "4")) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["samples"] == 4
        assert data["layers"]
        assert data["check"] is None

    def test_two_netlists(self, files):
        path = files / "pair.html"
        other = files / "other.h5"
        other.write_bytes((files / "net.h5").read_bytes())
        assert run([*self.arguments(files, "-o", str(path)), str(other)]) == 0
        assert "net beside other" in path.read_text()

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["-o", "report.pdf"], "--output: report.pdf found"),
            ([], "--output: no file found"),
            (["-o", "r.html", "--weights", "w.safetensors"], "--weights: weights found without a network"),
            (["-o", "r.html", "--target", "loihi9"], "loihi9"),
        ],
    )
    def test_bad_options_are_one_line(self, files, monkeypatch, capsys, more, message):
        monkeypatch.chdir(files)
        assert run(self.arguments(files, *more)) == 2
        assert message in capsys.readouterr().err
        assert not (files / "r.html").exists()


@pytest.mark.parametrize("strategy", ["layers", "channels"])
def test_a_search_is_shown(strategy, tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    ).eval()
    values = np.random.default_rng(0).normal(0, 1, (560, 1, 8, 8))
    recipe = adafire.Recipe(
        timesteps=4, phi=2, samples=280, search=True, compress=True, strategy=strategy, tolerance=0.5
    )
    netlist = adafire.convert(model, values, recipe)
    search = read_search(netlist.provenance)
    assert search.points[0].name.startswith("uniform")
    assert len(search.points) == 3
    assert any(point.predicted for point in search.points)
    m = measure(netlist, adafire.dataset(values, limit=20), name="searched")
    page = to_html(m)
    assert 'id="search"' in page
    by_layer = strategy == "layers"
    assert set(search.rho) == ({p.name for p in netlist.spiking} if by_layer else set())
    assert set(search.tables) == ({"φ", "ρ"} if by_layer else set())
    row = rows(m)[1]
    assert row.rho == search.rho.get(row.name)
    assert row.sensitivity == search.sensitivity.get(row.name)
    assert (row.sensitivity is not None) == by_layer


TABLE = {"layers": ["a"], "settings": [1], "divergence": [[1.0]], "operations": [[1]], "base": [0]}


@pytest.mark.parametrize(
    "report",
    [
        {"measured": 3},
        {"firing": 3, "firing_table": {"layers": ["a"]}, "compression": {"rho": [1]}},
        {"uniform": {"operations": "x"}},
        {"firing_table": {**TABLE, "divergence": [[1], [2]]}},
        {"firing_table": {**TABLE, "divergence": [[None]]}},
        {"firing_table": {**TABLE, "base": [5]}},
    ],
)
def test_a_search_that_is_no_such_record_does_no_harm(netlist, report):
    whole = {"strategy": "layers", "phi": {}, "measured": {"operations": 1, "divergence": 0, "agreement": 1}}
    hostile = replace(netlist, provenance=Provenance.from_json({"search": {**whole, **report}}))
    assert read_search(hostile.provenance) is None
    m = measure(hostile, dataset(netlist), name="net")
    assert 'id="search"' not in to_html(m)
    assert to_json(m)["provenance"]["search"] == {**whole, **report}
