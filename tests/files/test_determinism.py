"""The same bytes with one thread or two, batches of 1 or 64, streamed or at once, in the reference, golden or Lava."""

import numpy as np
import pytest
import torch
from random_netlists import radix_netlist
from safetensors.torch import save_file
from torch import nn

from sim.golden import simulate
from toolchain import cli
from toolchain.data import read_data
from toolchain.files import read_netlist, read_trace, write_netlist, write_trace


@pytest.fixture
def threads():
    """Set the number of torch's threads, and put it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["residual", "every_operator", "digits"])
def workshop(request, make, tmp_path):
    netlist = radix_netlist("maxpool") if request.param == "digits" else make(request.param)
    write_netlist(netlist, tmp_path / "net.h5")
    channels, *sides = netlist.input.shape
    images = np.random.default_rng(0).integers(0, 256, (70, *sides, channels)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(70) % 3)
    return tmp_path


def trace(folder, name, *options):
    arguments = ["simulate", str(folder / "net.h5"), "--data", str(folder / "data.npz"), "--trace", str(folder / name)]
    assert cli.run([*arguments, *options]) == 0
    return (folder / name).read_bytes()


def assert_same_payloads(a, b):
    assert a.populations.keys() == b.populations.keys()
    for name, array in a.populations.items():
        assert array.dtype == b.populations[name].dtype
        np.testing.assert_array_equal(array, b.populations[name], err_msg=name)


def test_batches_and_threads(workshop, threads):
    found = set()
    for count in (1, 2):
        threads(count)
        for batch in (1, 64, 70):
            found.add(trace(workshop, f"{count}_{batch}.h5", "--batch", str(batch)))
    assert len(found) == 1


def test_golden_and_reference(workshop):
    trace(workshop, "reference.h5")
    netlist, data = read_netlist(workshop / "net.h5"), read_data(workshop / "data.npz")
    golden = simulate(netlist, data.payloads(netlist.input))
    assert_same_payloads(golden, read_trace(workshop / "reference.h5"))
    write_trace(golden, workshop / "golden.h5")
    assert_same_payloads(golden, read_trace(workshop / "golden.h5"))


@pytest.mark.lava
def test_lava_and_reference(workshop):
    pytest.importorskip("lava.magma", reason="Lava is not installed")
    trace(workshop, "reference.h5", "--limit", "5")
    trace(workshop, "lava.h5", "--limit", "5", "--backend", "lava")
    assert_same_payloads(read_trace(workshop / "reference.h5"), read_trace(workshop / "lava.h5"))


def test_conversion_by_one_thread_or_two(tmp_path, threads):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 4)]
    save_file(nn.Sequential(*layers).state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "model.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),\n"
        "                         nn.Flatten(), nn.Linear(1568, 4))\n"
    )
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    files = set()
    for count in (1, 2, 1):
        threads(count)
        arguments = ["convert", f"{tmp_path / 'model.py'}:net", "--weights", str(tmp_path / "net.safetensors")]
        arguments += ["--calibration", str(tmp_path / "data.npz"), "--timesteps", "4", "--normalize", "0.5/0.25"]
        assert cli.run([*arguments, "-o", str(tmp_path / "net.h5")]) == 0
        files.add((tmp_path / "net.h5").read_bytes())
    assert len(files) == 1
