"""The streaming run: whatever runs the batches, and wherever, observers see the same."""

import operator
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from random_netlists import radix_netlist

from hw_targets.lava_runtime import lava_is_installed
from sim import golden
from toolchain.data import Dataset, Truth
from toolchain.energy import count
from toolchain.evaluate import (
    ByName,
    Continuing,
    Golden,
    Lava,
    Reference,
    Stopping,
    evaluate,
    measure_traffic,
    observe,
    operations,
    saturations,
    scoring,
    stream,
)
from toolchain.files import read_trace
from toolchain.netlist import InputError, concatenate

SAMPLES = 7


def data_for(netlist, samples=SAMPLES, *, labels=True, scale=0.8) -> Dataset:
    rng = np.random.default_rng(0)
    lead = (samples, netlist.timesteps + 1) if netlist.input.coding == "frames" else (samples,)
    classes = rng.integers(0, netlist.readouts[0].shape[0], samples) if labels else None
    values = rng.normal(0, scale, (*lead, *netlist.input.shape))
    return Dataset("made up", values, Truth(classes), is_frames=netlist.input.coding == "frames")


def whole(netlist, data):
    """The golden step on all samples at once."""
    return golden.simulate(netlist, data.payloads(netlist.input))


def hits(seen, scored):
    """How many samples are right at each answer."""
    return [tally.first for tally in seen[scored].each]


def sums(seen, scored):
    """What both kinds of run know: operations without their timesteps."""
    counts = seen[operations]
    connections = [replace(c, sops_by_timestep=()) for c in counts.connections]
    return hits(seen, scored), replace(counts, connections=connections), seen[saturations]


@pytest.mark.parametrize("name", ["residual", "maxpool", "frames", "saturating"])
def test_every_backend_shows_observers_the_same(make_netlist, name):
    netlist = make_netlist(name, timesteps=4)
    data = data_for(netlist)
    trace = whole(netlist, data)
    decisions = (trace.readout * netlist.readouts[0].scale).argmax(-1)
    scored = scoring(netlist, data)
    observers = [scored, operations, saturations]
    for backend in (Golden(netlist), Reference(netlist, spikes=True)):
        seen = observe(backend, data, observers, batch=3)
        assert hits(seen, scored) == (decisions == data.labels).sum(1).tolist()
        assert seen[operations] == count(netlist, trace)
        assert seen[saturations] == trace.saturations
    expected = sums(seen, scored)
    assert sums(observe(Reference(netlist), data, observers, batch=3), scored) == expected
    assert sums(observe(Reference(netlist), data, observers, batch=2, executor="local:2"), scored) == expected
    assert (name == "saturating") == any(expected[2].values())


@pytest.mark.lava
@pytest.mark.skipif(not lava_is_installed(), reason="Lava is not installed")
def test_lava_shows_observers_the_same(make_netlist):
    netlist = make_netlist("residual", timesteps=3)
    data = data_for(netlist, 4)
    scored = scoring(netlist, data)
    observers = [scored, operations, saturations]
    seen = observe(Lava(netlist), data, observers, batch=3)
    expected = observe(Reference(netlist, spikes=True), data, observers)
    assert seen[operations] == expected[operations]
    assert seen[scored] == expected[scored]
    assert seen[saturations] == expected[saturations]


def test_batches_come_in_order_and_say_where_they_lie(make_netlist):
    netlist = make_netlist("conv")
    data = data_for(netlist)
    runs = list(stream(Reference(netlist, spikes=True), data, batch=3))
    assert [(run.part.start, run.part.stop) for run in runs] == [(0, 3), (3, 6), (6, 7)]
    joined = concatenate([run.trace for run in runs])
    expected = whole(netlist, data)
    assert all(np.array_equal(joined.populations[name], values) for name, values in expected.populations.items())
    assert np.array_equal(np.concatenate([run.samples.truth.labels for run in runs]), data.labels)


def test_running_sums_of_large_maps_make_batches_smaller(make_netlist, monkeypatch):
    netlist = make_netlist("upsampling", timesteps=4)
    data = data_for(netlist, labels=False)
    expected = observe(Reference(netlist), data, [operations])[operations]
    (readout,) = netlist.readouts
    monkeypatch.setattr(sys.modules["toolchain.evaluate.stream"], "SUMS", 2 * 8 * 4 * int(np.prod(readout.shape)) + 1)
    assert [run.part.stop for run in stream(Reference(netlist), data)] == [2, 4, 6, 7]
    assert observe(Reference(netlist), data, [operations])[operations] == expected
    monkeypatch.setattr(sys.modules["toolchain.evaluate.stream"], "SUMS", 1)
    assert [run.part.stop for run in stream(Reference(netlist), data, batch=5)] == [1, 2, 3, 4, 5, 6, 7]


def test_spikes_are_kept_only_where_they_are_asked_for(make_netlist):
    netlist = make_netlist("conv")
    (run,) = stream(Reference(netlist), data_for(netlist))
    with pytest.raises(TypeError, match="keeps no spikes"):
        _ = run.trace
    assert run.emitted.payloads.keys() == {p.name for p in netlist.populations if p.emits}


def names(run):
    return [run.netlist.input.name]


def payloads(run):
    return ByName({name: int(n.sum()) for name, n in run.emitted.payloads.items()})


def test_what_observers_return_adds_up(make_netlist):
    netlist = make_netlist("conv")
    data = data_for(netlist)
    seen = observe(Reference(netlist), data, [names, payloads], batch=2)
    assert seen[names] == ["input"] * 4
    assert seen[payloads] == {
        name: np.abs(spikes.astype(int)).sum() for name, spikes in whole(netlist, data).spikes.items()
    }


@pytest.mark.parametrize("executor", [None, "local:1", "local:2"])
def test_batches_are_seen_once_wherever_they_run(make_netlist, executor):
    netlist = make_netlist("conv")
    samples, first = operator.attrgetter("emitted.samples"), operator.attrgetter("samples.first")
    seen = observe(Reference(netlist), data_for(netlist), [samples, first], batch=2, executor=executor)
    assert (seen[samples], seen[first]) == (SAMPLES, 0 + 2 + 4 + 6)


def test_values_by_name_add_up_one_by_one():
    total = ByName({"a": 1, "b": np.array([1, 2])}) + ByName({"b": np.array([3, 4]), "a": 5})
    assert list(total) == ["a", "b"]
    assert (total["a"], total["b"].tolist()) == (6, [4, 6])
    with pytest.raises(KeyError):
        operator.add(ByName({"a": 1}), ByName({"b": 1}))


@pytest.mark.parametrize("executor", [None, "local:1"])
def test_data_are_checked_before_anything_runs(make_netlist, executor):
    netlist = make_netlist("conv")
    good = data_for(netlist)

    def seen(run):
        raise AssertionError("a batch ran")

    for data, message in (
        (replace(good, values=good.values[:, :2]), "samples of shape"),
        (replace(good, is_frames=True), "frames found"),
        (good.select(np.arange(0)), "holds no samples"),
    ):
        with pytest.raises(InputError, match=message):
            observe(Reference(netlist), data, [seen], executor=executor)


def test_progress_reaches_its_end(make_netlist):
    netlist = make_netlist("conv")
    bars = {}

    @contextmanager
    def progress(title, total):
        shown = bars[title] = [0, total]

        def advance():
            shown[0] += 1

        yield advance

    for _ in stream(Reference(netlist), data_for(netlist), batch=3, progress=progress):
        pass
    assert bars == {"simulating": [3, 3]}

    class Fine(Reference):
        title = "fine"

        def parts(self, samples):
            return 5 * samples

        def run(self, samples, report):
            for done in range(12):
                report(done, 11)
            return super().run(samples, report)

    for _ in stream(Fine(netlist), data_for(netlist), batch=3, progress=progress):
        pass
    assert bars["fine"] == [35, 35]


def test_a_trace_is_written_while_the_netlist_is_scored(make_netlist, tmp_path):
    netlist = make_netlist("shortcut")
    data = data_for(netlist)
    found = evaluate(netlist, data, batch=3, trace=tmp_path / "trace.h5")
    assert replace(found, seconds=0) == replace(evaluate(netlist, data, batch=4), seconds=0)
    written, expected = read_trace(tmp_path / "trace.h5"), whole(netlist, data)
    assert list(written.populations) == list(expected.populations)
    assert all(np.array_equal(written.populations[name], values) for name, values in expected.populations.items())


@pytest.mark.parametrize("name", ["conv", "upsampling"])
def test_without_labels_or_classes_there_is_no_accuracy(make_netlist, name):
    netlist = make_netlist(name)
    found = evaluate(netlist, data_for(netlist, labels=False))
    assert (found.accuracy, found.accuracy_by_timestep) == (None, ())
    assert "no labels" in str(found)
    labelled = replace(data_for(netlist, labels=False), truth=Truth(np.zeros(SAMPLES, np.int64)))
    assert (evaluate(netlist, labelled).accuracy is None) == (netlist.classifier is None)


def test_early_exit_is_scored_at_each_samples_exit(make_netlist):
    netlist = replace(make_netlist("conv", timesteps=4), alpha=(0.2, 0.2, 0.2, 1.0))
    data = data_for(netlist, 20)
    scored = scoring(netlist, data)
    seen = observe(Stopping(netlist), data, [scored, operations], batch=6)
    found = evaluate(netlist, data, early_exit=True)
    assert found.accuracy == hits(seen, scored)[-1] / 20
    assert found.accuracy_by_timestep == ()
    assert 1 < found.mean_timesteps == seen[operations].steps / 20 < 4


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"early_exit": True, "backend": "lava"}, "early_exit"),
        ({"early_exit": True, "trace": "t.h5"}, "early_exit"),
        ({"executor": "local:1", "backend": "lava"}, "executor"),
        ({"executor": "local:1", "trace": "t.h5"}, "executor"),
    ],
)
def test_options_that_exclude_each_other_are_named(make_netlist, options, field):
    netlist = replace(make_netlist("conv"), alpha=(0.5,) * 5)
    with pytest.raises(InputError, match=f"^{field}: cannot be combined"):
        evaluate(netlist, data_for(netlist), **options)


def test_traffic_is_the_mean_of_what_each_neuron_sends(make_netlist):
    netlist = make_netlist("residual")
    data = data_for(netlist)
    traffic = measure_traffic(netlist, data)
    for name, spikes in whole(netlist, data).spikes.items():
        sent = spikes != 0 if name == "input" else spikes.astype(int)
        assert np.array_equal(traffic[name], sent.sum(0).mean(0))


def recording_for(netlist):
    """Samples of as many frames as the netlist has timesteps."""
    data = data_for(netlist)
    return replace(data, values=data.values[:, : netlist.timesteps]) if data.is_frames else data


@pytest.mark.parametrize("name", ["maxpool", "leaky", "recurrent"])
def test_samples_of_a_recording_are_scored_one_by_one(make_netlist, name):
    """Each by what it adds to the sum, or by the potential, of one long run of the golden step."""
    netlist = make_netlist(name, timesteps=4)
    data = recording_for(netlist)
    source = replace(netlist.input, coding="frames")
    whole = replace(netlist, populations=(source, *netlist.populations[1:]), timesteps=4 * SAMPLES)
    payloads = data.payloads(netlist.input)
    frames = payloads.swapaxes(0, 1) if data.is_frames else np.repeat(payloads[:, None], 4, axis=1)
    trace = golden.simulate(whole, frames.reshape(-1, 1, *source.shape))
    sums = trace.readout.reshape(SAMPLES, 4, -1)
    if name == "maxpool":
        sums[1:] -= sums[:-1, -1:].copy()
    found = (sums * netlist.readouts[0].scale).argmax(-1) == data.labels[:, None]
    result = evaluate(netlist, data, keep_state=True, batch=3)
    assert result.accuracy_by_timestep == tuple(found.mean(0).tolist())
    assert result.accuracy == found[:, -1].mean()
    fired = sum(int(trace.spikes[p.name].sum()) for p in netlist.spiking)
    assert result.spikes_per_sample == fired / SAMPLES
    assert result.keep_state
    assert result.to_json()["keep_state"]


def test_a_recording_is_run_from_its_beginning_and_in_order(make_netlist):
    netlist = make_netlist("recurrent")
    backend = Continuing(netlist)
    runs = [list(stream(backend, recording_for(netlist), batch=3)) for _ in range(2)]
    for first, again in zip(*runs, strict=True):
        assert (first.readouts["output"] == again.readouts["output"]).all()
    with pytest.raises(ValueError, match="sample 3 found, expected 7: state is kept"):
        backend.run(runs[0][1].samples, lambda done, of: None)


def test_what_keeps_no_state_is_refused(make_netlist):
    frames = make_netlist("frames", timesteps=4)
    with pytest.raises(InputError, match="5 frames per sample found, expected 4"):
        evaluate(frames, data_for(frames), keep_state=True)
    radix = radix_netlist("residual")
    with pytest.raises(InputError, match="keep_state: the netlist's bursts are digits"):
        evaluate(radix, data_for(radix), keep_state=True)


def test_devices_that_are_not_there_are_one_clear_error(make_netlist):
    netlist = make_netlist()
    data = data_for(netlist)
    for device, found in (("cuda:99", "torch finds"), ("mps", "expected cpu, cuda"), ("fast", "expected cpu, cuda")):
        with pytest.raises(InputError, match=f"device: .*{found}"):
            evaluate(netlist, data, device=device)
    with pytest.raises(InputError, match="device: cuda found, but `backend` lava"):
        evaluate(netlist, data, backend="lava", device="cuda")
