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


@torch.no_grad()
def said_by_frame(network, frames):
    return network(torch.from_numpy(frames[:, :T]).flatten(0, 1)).unflatten(0, (60, T)).mean(1).argmax(1).numpy()


@pytest.fixture(scope="module")
def data(network):
    """Frames, some more than run, with labels that the network is right on frame by frame, but for a few."""
    rng = np.random.default_rng(1)
    swing = np.array([1, -1] * (T // 2 + 1))[:, None, None, None] * rng.normal(size=(60, 1, 2, 3, 3))  # without a mean
    frames = (rng.normal(size=(60, T + 2, 2, 3, 3)) + 3 * swing).astype(np.float32)
    labels = (said_by_frame(network, frames) + (np.arange(60) % 9 == 0)) % 3
    return adafire.Dataset("frames", frames, adafire.Truth(labels=labels), is_frames=True)


def test_both_readings_of_the_ann_are_said(network, data):
    recipe = adafire.Recipe(timesteps=T, phi=4, accept_collapse=True)
    netlist = adafire.convert(network, data, recipe, evaluate=data)
    labels, each = data.labels, said_by_frame(network, data.values)
    with torch.no_grad():
        mean = network(torch.from_numpy(data.values[:, :T]).mean(1)).argmax(1).numpy()
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


def test_early_exit_of_frames_is_refused_before_anything_runs(network, data):
    def progress(title, total):
        raise AssertionError(title)

    with pytest.raises(adafire.InputError, match="alpha is calibrated on pictures, not on frames"):
        adafire.convert(network, data, adafire.Recipe(timesteps=T, early_exit=True, samples=48), progress=progress)
