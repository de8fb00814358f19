"""Killed, interrupted, or out of disk in the middle of a command: no half-written file, one clear line, a quick end."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toolchain import cli
from toolchain.exchange.nir import read_nir, write_nir
from toolchain.files import netlist_bytes, read_netlist, read_trace, write_netlist

MODEL = """
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
"""


@pytest.fixture
def workshop(make, tmp_path):
    """A folder with everything that the commands read."""
    write_netlist(make("cnn"), tmp_path / "net.h5")
    write_nir(make("cnn"), tmp_path / "net.nir")
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz", images=rng.integers(0, 256, (20, 8, 8, 2)).astype(np.uint8), labels=np.arange(20) % 3
    )
    (tmp_path / "model.py").write_text(MODEL)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    return tmp_path


COMMANDS = {
    "convert": [
        *("convert", "model.py:net", "--weights", "net.safetensors", "--calibration", "data.npz"),
        *("--normalize", "0.5/0.25", "--timesteps", "2", "-o", "out"),
    ],
    "export nir": ["export", "net.h5", "--to", "nir", "-o", "out"],
    "export nir-explicit": ["export", "net.h5", "--to", "nir-explicit", "-o", "out"],
    "export netx": ["export", "net.h5", "--to", "netx", "-o", "out"],
    "import": ["import", "net.nir", "-o", "out"],
    "simulate": ["simulate", "net.h5", "--data", "data.npz", "--batch", "4", "--trace", "out"],
}


def start(folder, arguments, before="", **options):
    """Start a command in a process of its own, `before` run first."""
    program = (
        "import os, resource, signal, sys, warnings\nwarnings.simplefilter('ignore')\n"
        f"from toolchain.cli import commands, main\ncommands()\n{before}\nmain(sys.argv[1:])"
    )
    return subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=folder, preexec_fn=hears_ctrl_c, **options)


def hears_ctrl_c():
    """Undo what a shell does to what it starts in the background: a Ctrl-C that is ignored proves nothing."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 2, "error: out: cannot be written: No space left on device"),
    ],
    ids=["interrupted", "disk full"],
)
def test_a_fault_before_the_file_takes_its_place(command, fault, status, says, workshop, monkeypatch, capsys):
    """The worst moment for a reader: all is written, and about to replace what was there."""

    def strike(descriptor):
        raise fault

    monkeypatch.chdir(workshop)
    (workshop / "out").write_text("old")
    before = {p.name for p in workshop.iterdir()}
    monkeypatch.setattr(os, "fsync", strike)
    assert cli.run(COMMANDS[command]) == status
    assert (workshop / "out").read_text() == "old"
    assert {p.name for p in workshop.iterdir()} - before <= {"__pycache__"}
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith(says), error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["convert", "export nir", "simulate"])
def test_a_kill_leaves_the_old_file(command, workshop):
    (workshop / "out").write_text("old")
    process = start(workshop, COMMANDS[command], "os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)")
    assert process.wait(120) == -signal.SIGKILL
    assert (workshop / "out").read_text() == "old"


def test_a_disk_that_fills_while_a_trace_is_written(workshop):
    limit = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))"
    process = start(workshop, COMMANDS["simulate"], limit, stderr=subprocess.PIPE, text=True)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "out: cannot be written: File too large" in error
    assert "Traceback" not in error
    assert not [p for p in workshop.iterdir() if "out" in p.name]


def test_without_a_fault_they_all_write(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    for command in COMMANDS.values():
        assert cli.run(command) == 0
    assert read_trace(workshop / "out").samples == 20


def test_a_kill_at_any_time_leaves_no_part(workshop):
    """Killed from outside after more and more time, until a run survives to its end."""
    path = workshop / "out"
    survived, delay, killed = False, 0.2, 0
    while not survived and killed < 12:
        process = start(workshop, COMMANDS["export nir"], stdout=subprocess.DEVNULL)
        try:
            survived = process.wait(delay) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        if path.exists():
            assert read_nir(path).content_hash == read_netlist(workshop / "net.h5").content_hash
        delay *= 1.5
    assert killed >= 1
    assert survived
    assert path.exists()


def test_two_commands_that_write_one_file_leave_one_whole_file(make, workshop):
    other = make("residual")
    write_netlist(other, workshop / "other.h5")
    commands = [["export", name, "--to", "nir", "-o", "out"] for name in ("net.h5", "other.h5")] * 2
    started = [start(workshop, c, stdout=subprocess.DEVNULL) for c in commands]
    assert [p.wait(120) for p in started] == [0] * 4
    hashes = {read_netlist(workshop / name).content_hash for name in ("net.h5", "other.h5")}
    assert read_nir(workshop / "out").content_hash in hashes
    assert not list(workshop.glob(".*.tmp"))


def test_ctrl_c_ends_quickly_and_clean(make, workshop):
    """In the middle of a long simulation that writes a trace."""
    rng = np.random.default_rng(0)
    np.savez(workshop / "long.npz", images=rng.integers(0, 256, (60_000, 8, 8, 2)).astype(np.uint8))
    arguments = ["simulate", "net.h5", "--data", "long.npz", "--batch", "4", "--trace", "out"]
    process = start(workshop, arguments, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size > 10_000 for p in workshop.glob(".out.*.tmp")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - asked < 15
    assert error.strip() == "interrupted"
    assert not (workshop / "out").exists()
    assert not list(workshop.glob(".*.tmp"))


def test_a_ctrl_c_that_python_drops_counts_as_well():
    """As one that arrives in a finaliser, whose exceptions Python ignores."""
    script = """
import os, signal, time
from toolchain import cli

class Deaf:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

@cli.app.command()
def wait():
    Deaf()
    time.sleep(60)

cli.main(["wait"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        preexec_fn=hears_ctrl_c,
    )
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")


def test_the_same_command_gives_the_same_bytes_in_another_process(workshop, make, monkeypatch):
    monkeypatch.chdir(workshop)
    assert cli.run(["export", "net.h5", "--to", "nir", "-o", "here"]) == 0
    assert start(workshop, ["export", "net.h5", "--to", "nir", "-o", "there"], stdout=subprocess.DEVNULL).wait(120) == 0
    assert (workshop / "here").read_bytes() == (workshop / "there").read_bytes()
    assert cli.run(["import", "here", "-o", "back.h5"]) == 0
    assert (workshop / "back.h5").read_bytes() == netlist_bytes(make("cnn"))
