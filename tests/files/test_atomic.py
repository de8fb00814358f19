"""Files appear whole or not at all."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from toolchain.files import replacing, write_bytes
from toolchain.netlist import InputError


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_users_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "out", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("place", ["missing/out", ".", "/dev/null"])
def test_a_place_where_no_file_can_be_is_named(place, tmp_path):
    with pytest.raises(InputError, match=place.split("/")[0] or "null"):
        write_bytes(tmp_path / place, b"x")


def test_two_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "out"
    contents = [bytes([i]) * 3_000_000 for i in range(2)]
    stop = threading.Event()
    seen = []

    def watch():
        while not stop.is_set():
            if path.exists():
                seen.append(path.read_bytes())

    watcher = threading.Thread(target=watch)
    writers = [threading.Thread(target=lambda c=c: [write_bytes(path, c) for _ in range(5)]) for c in contents]
    watcher.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    watcher.join()
    assert path.read_bytes() in contents
    assert seen
    assert all(s in contents for s in seen)
    assert list(tmp_path.iterdir()) == [path]


def limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@pytest.mark.parametrize("what", ["netlist", "trace"])
def test_a_full_disk_is_one_clear_error(what, tmp_path):
    """A limit on file sizes stands for the disk's: the write fails in the same call."""
    program = textwrap.dedent(f"""
        import numpy as np
        from toolchain.netlist import *
        from toolchain.files import write_netlist, write_trace
        rng = np.random.default_rng(0)
        try:
            if {what!r} == "netlist":
                x = Input("input", (400,), 8, True, 1.0, np.zeros(400), np.ones(400))
                y = Readout("y", (900,), np.zeros(900, np.int64), np.ones(900))
                net = Netlist((x, y), (Connection("input", "y", (Linear(rng.integers(-9, 9, (900, 400))),)),), 1)
                write_netlist(net, "out")
            else:
                spikes = rng.integers(0, 255, (2, 40, 50, 50, 5)).astype(np.uint8)
                write_trace(Trace("hash", "golden", {{"a": spikes}}, {{"y": np.zeros((2, 40, 3), np.int64)}}), "out")
        except InputError as error:
            print(error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        preexec_fn=limit_file_size,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    program = (
        "import os, signal\nfrom toolchain.files import replacing\n"
        "with replacing('out') as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
