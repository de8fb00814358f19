"""Examples without their data: they say what they skip, their networks convert, and what they encode decodes again."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import adafire

FOLDER = Path(__file__).parents[2] / "examples"
TASKS = ("events", "points", "part_segmentation", "segmentation", "detection", "speech", "imagenet")


@pytest.fixture
def example(monkeypatch):
    """``example("points")``: the module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_make_runs_every_example():
    makefile = (FOLDER.parent / "Makefile").read_text()
    assert f"for example in {' '.join(TASKS)}; do" in makefile
    assert set(TASKS) == {path.stem for path in FOLDER.glob("*.py") if "from steps import" in path.read_text()}


@pytest.mark.parametrize("name", TASKS)
def test_without_data_an_example_says_what_it_skips(name, example, monkeypatch, capsys):
    monkeypatch.delenv("ADAFIRE_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", [f"examples/{name}.py"])
    with pytest.raises(SystemExit) as stopped:
        example(name).main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"{name}.py: skipped, ADAFIRE_DATA is not set\n"


NETWORKS = {
    "a cloud": ("points", lambda m: m.PointNet(3), (3, 16), "points"),
    "parts": ("part_segmentation", lambda m: m.PartNet(2), (3, 16), "points"),
    "streets": ("segmentation", lambda m: m.UNet(4), (3, 16, 16), "segmentation"),
    "vessels": ("segmentation", lambda m: m.RetinaUNet(), (1, 8, 8), "segmentation"),
    "cells": ("detection", lambda m: m.Detector(), (3, 16, 16), "detection"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_its_network_is_the_same_on_every_executor(name, example):
    module, build, shape, task = NETWORKS[name]
    torch.manual_seed(0)
    network = build(example(module)).eval()
    data = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    recipe = adafire.Recipe(timesteps=4, phi=4, task=task, calibrate="light", accept_collapse=True)
    netlist = adafire.convert(network, data, recipe)
    assert adafire.verify(netlist, data, "reference", limit=1).equivalent


def test_boxes_that_are_encoded_are_decoded(example):
    module = example("detection")
    boxes = np.array([[20, 30, 84, 90], [100, 20, 116, 40], [40, 100, 200, 180.0]])
    labels = np.array([0, 2, 1])
    wanted, inside = module.targets(boxes, labels)
    assert inside.any()
    logits = wanted.copy()
    logits[:3] = np.where(wanted[:3] > 0, 5, -5)
    ((found, scores, classes),) = module.cells({"head": logits[None]}, (3, module.HEIGHT, module.WIDTH))
    order = np.argsort(classes)
    np.testing.assert_array_equal(classes[order], [0, 1, 2])
    np.testing.assert_allclose(found[order], boxes[[0, 2, 1]], atol=1e-3)
    assert (scores > 0.99).all()


def test_of_boxes_that_overlap_the_best_stays(example):
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [1, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90.0]])
    found, scores, labels = example("detection").suppressed(
        boxes, np.array([0.8, 0.9, 0.7, 0.6, 0.01]), np.array([0, 0, 1, 0, 0]), 0.5, 0.05
    )
    np.testing.assert_array_equal(found, boxes[[1, 2, 3]])
    assert scores.tolist() == [0.9, 0.7, 0.6]
    assert labels.tolist() == [0, 1, 0]


def test_weights_are_trained_once(example, tmp_path, monkeypatch):
    steps = example("steps")
    monkeypatch.setattr(steps, "BUILD", tmp_path)
    trainings = []

    def train(network):
        trainings.append(network)
        torch.nn.init.constant_(network.weight, 3)

    first, second = (steps.trained("one", torch.nn.Linear(2, 1), train) for _ in range(2))
    assert len(trainings) == 1
    assert not second.training
    assert torch.equal(first.weight, second.weight)


def test_what_becomes_of_a_netlist_is_said_also_where_a_format_refuses_it(example, tmp_path, monkeypatch, capsys):
    steps = example("steps")
    monkeypatch.setattr(steps, "BUILD", tmp_path)
    torch.manual_seed(0)
    data = np.random.default_rng(0).normal(size=(8, 3, 16)).astype(np.float32)
    recipe = adafire.Recipe(timesteps=2, calibrate="light", accept_collapse=True)
    line = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2))
    for name, network in (("line", line), ("cloud", example("points").PointNet(2))):
        steps.deployed(name, adafire.convert(network.eval(), data, recipe), adafire.dataset(data))
    said = capsys.readouterr().out
    assert said.count("cores 1, chips 1") == 2
    assert "nir against reference: equivalent" in said
    assert "cloud" in said.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["line.nir"]


def test_a_page_says_what_lava_did(example, tmp_path, monkeypatch, capsys):
    steps = example("steps")
    monkeypatch.setattr(steps, "BUILD", tmp_path)
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    data = adafire.dataset(images, network(torch.from_numpy(images)).argmax(1).numpy())
    netlist = adafire.convert(network, data, adafire.Recipe(timesteps=2, calibrate="light", accept_collapse=True))
    steps.reported("page", (netlist, netlist), data, network, 4)
    assert "lava against reference: equivalent" in capsys.readouterr().out
    assert "not verified" not in (tmp_path / "page.html").read_text()
