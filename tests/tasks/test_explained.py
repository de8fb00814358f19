"""R2 against cases worked by hand, in batches, and what is refused."""

import numpy as np
import pytest

import adafire
from toolchain.data import Truth, read_data, write_data
from toolchain.doors import open_data
from toolchain.netlist import InputError
from toolchain.tasks import Explained, choose_task


def test_r2_by_hand():
    true = np.array([[1.0, 10.0], [2.0, 10.0], [3.0, 10.0]])
    score = Explained.count(np.array([[1.0, 9.0], [2.0, 9.0], [4.0, 9.0]]), true).score()
    assert (score.measure, score.value) == ("R2", 0.5)  # 1 of 2; the second channel never changes
    assert score.per_class == {"R2": (0.5, None)}
    assert Explained.count(true, true).score().value == 1.0
    assert Explained.count(np.full((3, 2), 2.0), true).score().value == 0.0


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5, 4)])
def test_batches_add_up_to_the_same_score(shape):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, *shape)) + 300
    found = true + rng.normal(size=true.shape) * 0.3
    whole = Explained.count(found, true).score()
    parts = [Explained.count(found[a:b], true[a:b]) for a, b in ((0, 7), (7, 8), (8, 33), (33, 40))]
    assert (
        (parts[0] + parts[1] + parts[2] + parts[3]).score()
        == whole
        == ((parts[3] + parts[1]) + (parts[0] + parts[2])).score()
    )
    mean = true.mean(axis=(0, *range(2, true.ndim)), keepdims=True)
    axes = (0, *range(2, true.ndim))
    expected = 1 - ((found - true) ** 2).sum(axes) / ((true - mean) ** 2).sum(axes)
    assert whole.value == pytest.approx(expected.mean(), abs=1e-9)


def bound(shape):
    return choose_task("regression", {"out": shape}, input_shape=(3, 4, 4))


def test_targets_are_in_the_shape_of_the_output():
    task = bound((1,))
    values = {"out": np.array([[1.0], [2.0], [4.0]])}
    assert task.tally(values, Truth(targets=np.array([1, 2, 3]))).score().value == 0.5
    with pytest.raises(InputError, match=r"targets of shape \(2,\) found, output 'out' has \(1,\)"):
        task.tally(values, Truth(targets=np.ones((3, 2))))
    with pytest.raises(InputError, match=r"d\.npz: the same targets found for all samples"):
        task.check("d.npz", Truth(targets=np.ones((3, 2)) * [1, 2]))


def test_a_file_and_code_hold_targets(tmp_path):
    images = np.zeros((3, 2, 2, 1), np.uint8)
    write_data(tmp_path / "d.npz", images=images, targets=np.arange(6.0).reshape(3, 2))
    assert read_data(tmp_path / "d.npz", limit=2).truth.targets.tolist() == [[0, 1], [2, 3]]
    write_data(tmp_path / "d.npz", images=images, targets=np.full(3, np.inf))
    with pytest.raises(InputError, match="targets hold NaN or infinite values"):
        read_data(tmp_path / "d.npz")
    write_data(tmp_path / "d.npz", images=images, targets=np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"targets of shape \(2, 4\) found, expected \(3, 4\)"):
        read_data(tmp_path / "d.npz")
    x = np.zeros((1, 2, 2), np.float32)
    assert open_data([(x, 0.5), (x, 1.5)]).truth.targets.tolist() == [0.5, 1.5]
    assert open_data([(x, np.ones((2, 3, 4)))] * 2).truth.targets.shape == (2, 2, 3, 4)
    with pytest.raises(InputError, match="y of int64 found, those before are float64"):
        open_data([(x, 0.5), (x, 1)])


def test_values_are_no_decisions(tmp_path):
    """Agreement is the correlation of the values, and nothing stops on them."""
    with pytest.raises(InputError, match="a sample stops on one decision, and values are none"):
        adafire.convert(module(), images(), adafire.Recipe(task="regression", early_exit=True, timesteps=2))
    netlist = adafire.convert(module(), images(), adafire.Recipe(task="regression", timesteps=4, phi=1))
    assert not any("decisions" in note for note in netlist.provenance.notes)


def images():
    return np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)


def module():
    from torch import manual_seed, nn

    manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
