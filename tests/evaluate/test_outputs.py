"""The network's own outputs, of spikes and of the ANN, from one netlist."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import adafire


class Detector(nn.Module):
    """Two heads; scores and boxes are decoded at the end."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.classes, self.boxes = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        y = self.body(x)
        scores = self.classes(y).permute(0, 2, 3, 1).flatten(1, 2).softmax(-1)
        boxes = self.boxes(y).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
        return scores, torch.cat([boxes[..., :2] * 0.1, boxes[..., 2:].exp()], -1)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    torch.manual_seed(0)
    module, pictures = Detector().eval(), np.random.default_rng(0).uniform(0, 1, (30, 3, 6, 6)).astype(np.float32)
    path = tmp_path_factory.mktemp("outputs") / "net.h5"
    adafire.write(adafire.convert(module, pictures, adafire.Recipe(timesteps=32, normalize="none")), path)
    return module, pictures, adafire.read(path)


def test_spikes_and_ann_give_the_same_tensors(converted):
    module, pictures, netlist = converted
    spikes, ann = adafire.outputs(netlist, pictures), adafire.ann_outputs(netlist, pictures, module)
    assert list(spikes) == list(ann)
    with torch.no_grad():
        expected = [t.numpy() for t in module(torch.from_numpy(pictures))]
    for found, wanted, exact in zip(ann.values(), expected, spikes.values(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        assert exact.shape == wanted.shape
        assert np.corrcoef(exact.ravel(), wanted.ravel())[0, 1] > 0.98


def test_what_is_left_to_the_host_is_named(converted, tmp_path):
    _, _, netlist = converted
    summary = adafire.info(netlist).to_json()
    assert summary["tail"]["readouts"] == ["classes", "boxes"]
    assert "Softmax" in summary["tail"]["operators"]
    assert "model" not in json.dumps(summary["provenance"])
    report = adafire.export(netlist, tmp_path / "net.nir")
    assert any("Softmax" in loss.what for loss in report.losses)
    assert adafire.read(tmp_path / "net.nir").provenance.tail == netlist.provenance.tail


def classifier():
    data = np.random.default_rng(0).uniform(0, 1, (20, 4)).astype(np.float32)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), data


def test_without_a_tail_readouts_are_the_outputs():
    module, data = classifier()
    netlist = adafire.convert(module, data, adafire.Recipe(normalize="none"))
    (name,) = adafire.outputs(netlist, data)
    assert name == netlist.readouts[0].name


def test_a_network_ends_where_the_recipe_says():
    module, data = classifier()
    netlist = adafire.convert(module, data, adafire.Recipe(normalize="none", outputs="1"))
    assert netlist.readouts[0].shape == (8,)
    assert adafire.ann_outputs(netlist, data, module)[netlist.readouts[0].name].shape == (20, 8)
    with pytest.raises(adafire.InputError, match="no module of that path"):
        adafire.convert(module, data, adafire.Recipe(outputs="7"))
    with pytest.raises(adafire.InputError, match="names with commas"):
        adafire.Recipe(outputs=" , ")
