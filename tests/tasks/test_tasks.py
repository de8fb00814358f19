"""Every task from module and data to a score, on the command line and in Python; the same on the ANN's outputs."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import small_tasks

import adafire
from hw_targets.lava_runtime import lava_is_installed
from toolchain.cli import run
from toolchain.data import Truth, read_data
from toolchain.evaluate import evaluate
from toolchain.netlist import InputError, Provenance, TaskRecord
from toolchain.tasks import Decoder, choose_task, measure_text

#: Module, task, data, measure, and what else is measured.
TASKS = {
    "segmentation": ("Blobs", "blobs.npz", "mIoU", {"mIoU", "pixel_accuracy", "dice"}),
    "detection": ("Boxes", "cells.npz", "mAP50", {"mAP50", "mAP50_95"}),
    "detection with a tail": ("Softmaxed", "cells.npz", "mAP50", {"mAP50", "mAP50_95"}),
    "points": ("PointNet", "clouds.npz", "accuracy", {"accuracy"}),
    "regression": ("Amounts", "amounts.npz", "R2", {"R2"}),
    "regression with a tail": ("Shares", "shares.npz", "R2", {"R2"}),
    "points, each": ("PartNet", "parts.npz", "mIoU", {"mIoU", "point_accuracy", "dice", "part_mIoU"}),
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return small_tasks.folder(tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def folder(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    return workshop


def words(case):
    """The command line's options of a case, and those that score it."""
    module, data, *_ = TASKS[case]
    task = case.partition(" ")[0].strip(",")
    decode = ["--decode", "nets.py:decode"] if task == "detection" else []
    net = f"{module}.h5"
    made = [f"nets.py:{module}", "--calibration", data, "--task", task, "-T", "4", "-o", net, "--json"]
    return task, net, [*made, "--evaluate", data, *decode], [net, "--data", data, *decode, "--json"]


def said(capsys, command, *arguments):
    assert run([command, *arguments]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("case", TASKS)
def test_a_task_from_module_to_score(folder, capsys, case):
    *_, measure, measures = TASKS[case]
    task, net, made, scored = words(case)
    converted = said(capsys, "convert", *made, "--classes", "a,b,c,d" if measure == "accuracy" else "a,b,c")
    simulated = said(capsys, "simulate", *scored, "--ann", made[0], "--batch", "7")
    assert converted["task"] == simulated["task"] == task
    assert (simulated["measure"], simulated["scores"].keys()) == (measure, measures)
    assert simulated["score"] == simulated["scores"][measure] == simulated["score_by_timestep"][-1]
    # The same samples, the same scores: in other batches, and by the conversion.
    for key in ("score", "scores", "score_by_timestep", "ann_score", "ann_scores", "per_class", "classes", "interval"):
        assert converted[key] == simulated[key], key
    assert len(simulated["score_by_timestep"]) == 4
    assert simulated["score"] > simulated["ann_score"] - 0.12
    assert simulated["ann_score"] > 0.7
    assert (simulated["interval"] is None) == (simulated["accuracy"] is None) == (measure != "accuracy")
    report = said(capsys, "report", *scored, "--ann", made[0], "--lava", "0", "-o", "report.html")
    assert {key: report[key] for key in ("task", "score", "scores", "score_by_timestep", "ann_score")} == {
        key: simulated[key] for key in ("task", "score", "scores", "score_by_timestep", "ann_score")
    }
    page = (folder / "report.html").read_text()
    assert f"{simulated['score']:.2%}" in page
    assert all(measure_text(name) in page for name in measures - {"accuracy"})
    netlist = adafire.read(net)
    record = netlist.provenance.task
    assert (record.name, record.classes) == (task, tuple(converted["classes"]))
    assert replace(netlist, provenance=Provenance()).content_hash == netlist.content_hash


def test_a_pipeline_scores_by_the_task(folder, capsys):
    (folder / "all.toml").write_text(
        'netlist = "piped.h5"\ndata = "cells.npz"\n[convert]\nspec = "nets.py:Boxes"\ncalibration = "cells.npz"\n'
        'evaluate = "cells.npz"\ntask = "detection"\ndecode = "nets.py:decode"\ntimesteps = 2\n'
        '[simulate]\ndecode = "nets.py:decode"\nann = "nets.py:Boxes"\n'
    )
    assert run(["run", "all.toml"]) == 0, capsys.readouterr().err
    found = json.loads((folder / "piped.simulate.json").read_text())
    stages = adafire.read("piped.h5").provenance.evaluation
    assert (found["score"], found["ann_score"]) == (stages.integer_snn.value, stages.ann.value)


@pytest.mark.lava
@pytest.mark.skipif(not lava_is_installed(), reason="Lava is not installed")
@pytest.mark.parametrize("case", [case for case in TASKS if "tail" not in case])
def test_lava_computes_the_same_payloads_and_score(folder, case):
    module, data, *_ = TASKS[case]
    recipe = adafire.Recipe(timesteps=2, task=words(case)[0], calibrate="light")
    netlist = adafire.convert(f"nets.py:{module}", data, recipe)
    assert adafire.verify(netlist, data, "lava", limit=1).equivalent
    decode = "nets.py:decode" if "detection" in case else None
    on_lava, here = (
        adafire.simulate(netlist, data, limit=2, decode=decode, backend=backend) for backend in ("lava", "reference")
    )
    assert on_lava.outcome == here.outcome


def test_on_workers_and_in_python(folder):
    """A decoder travels by its name, since a worker does not know the module that a file became here."""
    recipe = adafire.Recipe(timesteps=3, task="detection")
    scope: dict = {}
    exec(small_tasks.MODULES, scope)  # noqa: S102
    module = scope["Boxes"]()
    netlist = adafire.convert(module, "cells.npz", recipe, evaluate="cells.npz", decode=scope["decode"])
    assert netlist.provenance.task == TaskRecord("detection", None, "decode")
    here = adafire.simulate(netlist, "cells.npz", decode="nets.py:decode", batch=9)
    there = adafire.simulate(netlist, "cells.npz", decode="nets.py:decode", batch=9, executor="local:2")
    assert here.outcome == there.outcome
    assert here.score == netlist.provenance.evaluation.integer_snn.value
    decoder = Decoder("nets.py:decode")
    assert decoder.function(*_grids()) is not None
    assert pickle.loads(pickle.dumps(decoder)) == Decoder(f"{folder.resolve()}/nets.py:decode")  # noqa: S301  # our own


def _grids():
    return {"features": np.zeros((1, 2, 4, 4), np.float32)}, (3, 16, 16)


def test_one_channel_decides_between_two_classes(folder):
    images, masks = small_tasks.blobs(24)
    data = adafire.Dataset("two.npz", np.moveaxis(images, -1, 1), Truth(masks=(masks == 1).astype(np.uint8)))
    scope: dict = {}
    exec(small_tasks.MODULES, scope)  # noqa: S102
    netlist = adafire.convert(
        scope["Foreground"](), data, adafire.Recipe(timesteps=4, task="segmentation"), evaluate=data
    )
    found = adafire.simulate(netlist, data).outcome
    assert len(found.score.per_class["IoU"]) == 2
    assert found.score.value == netlist.provenance.evaluation.integer_snn.value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["Blobs", "blobs.npz", "--task", "classification"],
            "--task: classification found for output 'head' of shape (3,",
        ),
        (["PointNet", "clouds.npz", "--task", "segmentation"], "expected classes per pixel (classes, H, W)"),
        (["Blobs", "cells.npz", "--task", "segmentation"], "cells.npz: no masks found, mIoU needs them"),
        (["Foreground", "blobs.npz", "--task", "segmentation"], "blobs.npz: masks 0 to 2 found, expected 0 to 1"),
        (["Boxes", "cells.npz", "--task", "detection"], "--decode: none found, detection scores boxes"),
        (["Blobs", "blobs.npz", "--decode", "nets.py:decode"], "--decode: nets.py:decode found, it makes boxes"),
        (["Blobs", "blobs.npz"], "blobs.npz: outputs of shape (3, 16, 16) found, accuracy needs a single list"),
        (["Blobs", "blobs.npz", "--task", "segmentation", "--classes", "a,b"], "--classes: 2 names found, the network"),
        (["Boxes", "small.npz", "--task", "segmentation"], "output 'output' decides on (4, 4)"),
        (["Blobs", "void.npz", "--task", "segmentation"], "void.npz: masks hold 255 only"),
        (["Boxes", "cells.npz", "--task", "detection", "--decode", "nets.py:boxes"], "nets.py has no callable 'boxes'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_calibration(folder, capsys, monkeypatch, arguments, message):
    module, data, *rest = arguments
    found = np.load("blobs.npz")
    np.savez("small.npz", images=found["images"], masks=found["masks"])
    np.savez("void.npz", images=found["images"], masks=np.full_like(found["masks"], 255))
    monkeypatch.setattr(
        "toolchain.convert.pipeline.collect_histograms", lambda *_, **__: pytest.fail("calibration began")
    )
    words = [f"nets.py:{module}", "--calibration", data, "--evaluate", data, "-o", "none.h5", *rest]
    assert run(["convert", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([], "0 results for 1 samples found"),
        ([([[0, 0, 1, 1]], [0.5], [0, 1])], r"shapes \(\(1, 4\), \(1,\), \(2,\)\) for sample 0"),
        ([([[0, 0, 1, float("nan")]], [0.5], [0])], "no finite numbers"),
        ([([[0, 0, 1, 1]], [0.5], [0.5])], "expected whole numbers"),
        ([3], "expected per sample boxes"),
        (None, "decoding failed: TypeError"),
    ],
)
def test_a_decoder_that_returns_something_else_is_named(result, message):
    with pytest.raises(InputError, match=f"<lambda>: .*{message}"):
        Decoder(lambda outputs, shape: result)(*_grids()[:1], 1, (3, 16, 16))


def test_a_decoder_may_find_nothing():
    (found,) = Decoder(lambda outputs, shape: [([], [], [])])(*_grids()[:1], 1, (3, 16, 16))
    assert found.boxes.shape == (0, 4)


def test_what_a_netlist_was_made_for_decides(folder):
    """Without a decoder, or without what is true, a run is not scored, and says why."""
    data = read_data("cells.npz")
    netlist = adafire.convert("nets.py:Boxes", data, adafire.Recipe(timesteps=2, task="detection", calibrate="light"))
    found = evaluate(netlist, data).outcome
    assert (found.task, found.score) == ("detection", None)
    assert found.unscored == "boxes not scored: name with `decode` the code that makes them of the outputs"
    assert evaluate(netlist, data.unlabelled).outcome.unscored == "no boxes"
    with pytest.raises(InputError, match="early_exit: a picture stops on one decision"):
        evaluate(netlist, data, decode=Decoder("nets.py:decode"), early_exit=True)
    plain = adafire.convert("nets.py:Blobs", "blobs.npz", adafire.Recipe(timesteps=2, calibrate="light"))
    assert plain.provenance.task is None
    assert "no `task` was named" in evaluate(plain, read_data("blobs.npz")).outcome.unscored


@pytest.mark.parametrize(
    ("task", "module", "data"),
    [("segmentation", "Blobs", "blobs.npz"), ("points", "PartNet", "parts.npz"), ("detection", "Boxes", "cells.npz")],
)
def test_early_exit_is_refused_before_calibration_where_there_is_no_one_decision(
    folder, monkeypatch, task, module, data
):
    monkeypatch.setattr(
        "toolchain.convert.pipeline.collect_histograms", lambda *_, **__: pytest.fail("calibration began")
    )
    with pytest.raises(InputError, match=r"^early_exit: .* stops on one decision"):
        adafire.convert(f"nets.py:{module}", data, adafire.Recipe(task=task, early_exit=True))


def test_clouds_stop_early(folder):
    recipe = adafire.Recipe(timesteps=4, task="points", early_exit=True)
    more = np.random.default_rng(1).uniform(-1, 1, (256, 3, 32))
    netlist = adafire.convert("nets.py:PointNet", more, recipe)
    found = adafire.simulate(netlist, "clouds.npz", early_exit=True)
    assert (found.outcome.task, found.outcome.by_timestep) == ("points", ())
    assert found.mean_timesteps < 4
    assert found.accuracy > 0.9


@pytest.mark.parametrize(
    ("task", "module", "data"),
    [
        ("segmentation", "Foreground", small_tasks.blobs(384)[0]),
        ("detection", "Boxes", small_tasks.cells(384)["images"]),
    ],
)
@pytest.mark.parametrize("strategy", ["channels", "layers"])
def test_a_search_sees_what_the_task_decides(folder, tmp_path, task, module, data, strategy):
    """One channel, or values that are no logits: their divergence is not zero, and less is spent within a tolerance."""
    recipe = adafire.Recipe(
        timesteps=3, task=task, compress=True, tolerance=0.2, strategy=strategy, calibrate="light", cache=tmp_path
    )
    record = adafire.convert(f"nets.py:{module}", data, recipe).provenance.search
    before, after = record.compression.before, record.measured
    assert 0 < before.divergence < after.divergence <= before.divergence + 0.2
    assert after.operations < before.operations
    assert 0.5 < after.agreement <= 1


def test_a_file_that_names_a_task_that_its_outputs_are_not_is_refused():
    with pytest.raises(InputError, match="task: segmentation found for output 'a' of shape"):
        choose_task("segmentation", {"a": (5,)}, input_shape=(3, 8, 8))
