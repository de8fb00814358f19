"""Frames: both readings of the ANN, as plain torch computes them."""

import numpy as np
import pytest
import torch
from torch import nn

import adafire

T = 4


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(18, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


@pytest.fixture(scope="module")
def data():
    """Frames of which some more are there than run, with labels of which both readings are right on some."""
    rng = np.random.default_rng(1)
    frames, labels = rng.normal(size=(60, T + 2, 2, 3, 3)).astype(np.float32), rng.integers(0, 3, 60)
    return adafire.Dataset("frames", frames, adafire.Truth(labels=labels), is_frames=True)


def test_both_readings_of_the_ann_are_said(network, data):
    recipe = adafire.Recipe(timesteps=T, phi=4, accept_collapse=True)
    netlist = adafire.convert(network, data, recipe, evaluate=data)
    frames, labels = torch.from_numpy(data.values[:, :T]), data.labels
    with torch.no_grad():
        mean = network(frames.mean(1)).argmax(1).numpy()
        each = network(frames.flatten(0, 1)).unflatten(0, (60, T)).mean(1).argmax(1).numpy()
    assert (mean == labels).mean() != (each == labels).mean()
    (note,) = (note for note in netlist.provenance.notes if "frames" in note)
    assert f"the ANN on the mean of {T} frames, accuracy {(mean == labels).mean():.2%} (" in note
    assert f"its outputs for each frame, averaged, have {(each == labels).mean():.2%} (" in note
    assert netlist.provenance.evaluation.ann.value == (mean == labels).mean()


def test_pictures_have_one_reading(network, data):
    pictures = adafire.Dataset("pictures", data.values[:, 0], data.truth)
    recipe = adafire.Recipe(timesteps=T, phi=4, accept_collapse=True)
    notes = adafire.convert(network, pictures, recipe, evaluate=pictures).provenance.notes
    assert not any("frames" in note for note in notes)
