"""What is stored reads back the same wherever it lies; nothing is left of it; where it lies decides nothing else."""

import errno
import gc
import os
import pickle
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from toolchain.calibrate import CalibrationData, Storage
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset
from toolchain.frontend import read_module
from toolchain.netlist import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Temporary files lie in a folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@given(
    st.sampled_from([(6, 3), (5, 2, 4), (4, 2, 3, 5), (7, 3, 2, 2, 2)]),
    st.sampled_from([torch.float32, torch.uint8, torch.int8, torch.int64]),
    st.integers(1, 2),
    st.integers(0, 7),
    st.integers(0, 7),
    st.sampled_from([0.0, 1.0]),
)
def test_what_is_written_is_read(shape, dtype, channels, start, stop, memory):
    channels = min(channels, len(shape) - 1)
    values = torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
    stored = Storage(memory).allocate(shape, dtype, channels)
    # Written in two parts, the later one first.
    for part in (slice(2, shape[0]), slice(0, 2)):
        stored[part] = values[part]
    part = slice(start, stop)
    assert stored[part].dtype == dtype
    assert torch.equal(stored[part], values[part])
    assert stored[part].movedim(channels, -1).is_contiguous()
    assert stored.shape == values.shape


def test_the_bound_is_kept_and_room_is_given_back():
    storage = Storage(1024 / 2**30)
    first = storage.allocate((4, 64), torch.float32)
    second = storage.allocate((1, 1), torch.uint8)
    assert (type(first).__name__, type(second).__name__) == ("_InMemory", "_InFile")
    del first
    assert type(storage.allocate((1024, 1), torch.uint8)).__name__ == "_InMemory"


#: One entry per file that this process has open.
OPEN = Path("/proc/self/fd")


def open_files():
    return len(list(OPEN.iterdir()))


@pytest.mark.skipif(not OPEN.is_dir(), reason="needs /proc to count open files")
def test_nothing_is_left_of_files(folder):
    gc.collect()
    before = open_files()
    stored = Storage(0).allocate((2, 3), torch.float32)
    stored[:] = torch.zeros(2, 3)
    assert open_files() == before + 1
    assert not list(folder.iterdir())
    del stored
    assert open_files() == before


def test_a_full_disk_is_one_clear_error(monkeypatch):
    stored = Storage(0).allocate((2, 3), torch.float32)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        InputError, match=r"beyond `memory`: cannot be kept in .* \(No space left.*TMPDIR, or raise `memory`"
    ):
        stored[0:2] = torch.zeros(2, 3)


def test_a_folder_that_is_not_there_is_one_clear_error(folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with pytest.raises(InputError, match="TMPDIR"):
        Storage(0).allocate((2, 3), torch.float32)


def test_another_process_gets_the_samples_and_not_the_files():
    storage = Storage(0)
    x, payload = storage.allocate((3, 2, 4), torch.float32), storage.allocate((3, 1, 2, 4), torch.int8, 2)
    x[:], payload[:] = torch.rand(3, 2, 4), torch.randint(-5, 5, (3, 1, 2, 4), dtype=torch.int8)
    data = CalibrationData(x, payload, storage)
    again = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert torch.equal(again.x[:], x[:])
    assert torch.equal(again.payload[:], payload[:])


class Net(nn.Module):
    """Convolutions in a row and beside each other, a maximum, a residual sum, a function of several pieces."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = nn.functional.max_pool2d(nn.functional.silu(self.second(x) + x), 2)
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize(
    "recipe", [{}, {"calibrate": "light"}, {"early_exit": True}, {"init": "spread", "timesteps": 3}]
)
def test_the_bound_and_the_cores_decide_nothing_about_the_netlist(folder, recipe, monkeypatch):
    # Fewer than there are, so that more samples run through some units than these are calibrated on.
    monkeypatch.setattr("toolchain.calibrate.enough.LEAST", 20)
    network = read_module(Net().eval(), (3, 8, 8))
    generator = torch.Generator().manual_seed(1)
    pictures = Dataset("p.npz", torch.randint(0, 256, (330, 3, 8, 8), generator=generator).byte().numpy())
    settings = {"samples": 70, "timesteps": 4, "accept_collapse": True, **recipe}
    before, hashes = torch.get_num_threads(), set()
    try:
        for threads, memory in ((1, 2.0), (1, 0.0), (2, 0.0), (2, 2.0), (2, 0.5001)):
            torch.set_num_threads(threads)
            netlist = convert_network(network, pictures, Recipe(memory=memory, **settings))
            hashes.add(netlist.content_hash)
            # torch makes folders of its own there.
            assert not [path for path in folder.iterdir() if path.is_file()]
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1
