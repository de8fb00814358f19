"""However the same samples come in, the same netlist comes out: held or streamed, from a file, a folder or code."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import adafire


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (48, 4, 4, 3)), np.ones((1, 2, 2, 1)))
    return smooth.astype(np.uint8), np.arange(48) // 16


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 3)).eval()


def converted(model, data, evaluate):
    recipe = adafire.Recipe(timesteps=4, normalize="imagenet", samples=20)
    return adafire.convert(model, data, recipe, evaluate=evaluate)


def test_the_same_samples_make_the_same_netlist(tmp_path, pictures, model):
    images, labels = pictures
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / f"set/{label}/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    pairs = [(image, int(label)) for image, label in zip(images, labels, strict=True)]
    forms = [tmp_path / "data.npz", tmp_path / "set", pairs, lambda: iter(pairs), (images, labels)]
    made = [converted(model, *(form() if callable(form) else form for _ in range(2))) for form in forms]
    wanted = made[0]
    assert wanted.provenance.evaluation.samples == 48
    for found in made[1:]:
        assert found.content_hash == wanted.content_hash
        assert found.provenance.calibration_data == wanted.provenance.calibration_data
        assert found.provenance.evaluation.data_sha256 == wanted.provenance.evaluation.data_sha256
        assert found.provenance.evaluation.integer_snn == wanted.provenance.evaluation.integer_snn
