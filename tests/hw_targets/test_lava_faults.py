"""Whatever happens to a worker, the caller hears of it in time and nothing is left behind."""

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from time import monotonic, sleep

import pytest

from hw_targets.lava_runtime import lava_is_installed, run, run_on_lava, supervise
from toolchain.netlist import BackendError

pytestmark = pytest.mark.lava

#: The step at which the fault below happens: population "b" of the residual netlist has depth 2.
FAULT_STEP = 5

#: A worker whose process of population "b" goes wrong in its third computation. It leaves the
#: names of its shared memory in a file first.
BROKEN = """
    import os, re, signal, sys, time
    from pathlib import Path
    from hw_targets.lava_runtime import task, worker

    count, calls = task.Task.count, []

    def broken(self, counter, amount):
        if self.name == "b" and counter == "compute_ns":
            calls.append(amount)
            if len(calls) == 3:
                maps = Path("/proc/self/maps").read_text()
                names = " ".join(sorted(set(re.findall("/dev/shm/[^ ]*psm_[0-9a-f]+", maps))))
                # Whoever sees the file may kill this process at once: it is there with all its names, or not.
                Path({shared!r} + "~").write_text(names)
                os.rename({shared!r} + "~", {shared!r})
                {fault}
        count(self, counter, amount)

    task.Task.count = broken
    sys.exit(worker.main(sys.argv[1]))
"""


def remaining_processes(mark: str) -> list[str]:
    """Command lines of living processes that contain `mark`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line:
            found.append(line)
    return found


def eventually(condition, seconds=5.0):
    """Wait for what ends on its own: Python's resource tracker, a worker whose caller was killed."""
    until = monotonic() + seconds
    while not condition() and monotonic() < until:
        sleep(0.05)
    return condition()


@pytest.fixture
def broken_run(monkeypatch, tmp_path, make_netlist, make_payloads):
    """Run a netlist on a worker with a fault; afterwards nothing of it may be left."""
    netlist = make_netlist("residual")
    mark = f"fault-{tmp_path.name}-{os.getpid()}"
    shared = tmp_path / "shared"

    def go(fault, *, time_limit=60.0, **options):
        program = textwrap.dedent(BROKEN).format(fault=fault, shared=str(shared)) + f"# {mark}"
        monkeypatch.setattr(run, "WORKER", (sys.executable, "-c", program))
        run_on_lava(netlist, make_payloads(netlist), time_limit=time_limit, **options)

    yield go
    assert eventually(lambda: remaining_processes(mark) == [])
    names = [Path(n) for n in shared.read_text().split()]
    assert names
    assert eventually(lambda: not any(n.exists() for n in names))


@pytest.fixture
def shared_memory(tmp_path):
    """The shared memory of a broken run, removed at the end."""
    yield
    for name in (tmp_path / "shared").read_text().split():
        Path(name).unlink(missing_ok=True)


def test_a_model_that_raises(broken_run):
    begin = monotonic()
    with pytest.raises(BackendError, match="lava process of 'b': ValueError: neuron 7 is broken") as error:
        broken_run("raise ValueError('neuron 7 is broken')")
    (trace,) = error.value.__notes__
    assert trace.startswith("Traceback (most recent call last)")
    assert "in broken" in trace
    assert error.value.exit_status == 3
    assert monotonic() - begin < 20


def test_a_process_that_is_killed(broken_run):
    begin = monotonic()
    with pytest.raises(BackendError, match="one of Lava's processes died"):
        broken_run("os.kill(os.getpid(), signal.SIGKILL)")
    assert monotonic() - begin < 20


def test_a_worker_that_is_killed(broken_run):
    with pytest.raises(BackendError, match="the worker died with signal 9"):
        broken_run("os.kill(os.getppid(), signal.SIGKILL)")


@pytest.fixture
def time_flies(monkeypatch, tmp_path):
    """A clock for the caller that jumps by an hour once the fault is there; as a `progress`."""
    jump = [0.0]
    monkeypatch.setattr(supervise, "monotonic", lambda: monotonic() + jump[0])

    def progress(done, total):
        if done >= FAULT_STEP:
            assert eventually((tmp_path / "shared").exists, 30)
            jump[0] = 3600.0

    return progress


def test_a_process_that_hangs(broken_run, time_flies):
    with pytest.raises(BackendError, match=r"longer than its time limit of 600 s \(it was at step \d+\)"):
        broken_run("time.sleep(1000)", time_limit=600, progress=time_flies)


def test_a_process_that_ignores_sigterm(broken_run, time_flies, shared_memory):
    """SIGKILL also ends Python's resource tracker, so this one case leaves shared memory behind."""
    fault = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    with pytest.raises(BackendError, match="time limit"):
        broken_run(fault, progress=time_flies)


def test_the_time_limit_is_one(make_netlist, make_payloads):
    """Without any fault, too little time is an error in time."""
    netlist = make_netlist("residual")
    begin = monotonic()
    with pytest.raises(BackendError, match=r"longer than its time limit of 0\.1 s"):
        run_on_lava(netlist, make_payloads(netlist), time_limit=0.1)
    assert monotonic() - begin < 5


def test_an_interrupted_caller(broken_run, tmp_path):
    def interrupt(done, total):
        if done >= FAULT_STEP:
            # The clock may run ahead of the process with the fault.
            assert eventually((tmp_path / "shared").exists, 30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_run("time.sleep(1000)", progress=interrupt)


def test_a_caller_that_is_killed(tmp_path):
    """The worker notices that its standard input is closed."""
    mark = f"fault-{tmp_path.name}-{os.getpid()}"
    shared = tmp_path / "shared"
    worker = textwrap.dedent(BROKEN).format(fault="time.sleep(1000)", shared=str(shared)) + f"# {mark}"
    caller = f"""
import sys
import numpy as np
from hw_targets.lava_runtime import run, run_on_lava
from toolchain.netlist import AdaFire, Connection, Input, Netlist, Readout
one = np.ones(1, np.int64)
netlist = Netlist(
    (
        Input("input", (1,), 8, True, 1.0, np.zeros(1), np.ones(1)),
        AdaFire("b", (1,), 1, one, one, one, np.ones(1)),
        Readout("r", (1,), one, np.ones(1)),
    ),
    (Connection("input", "b", ()), Connection("b", "r", ())),
    timesteps=9,
)
run.WORKER = (sys.executable, "-c", {worker!r})
run_on_lava(netlist, np.ones((1, 1), np.int8), time_limit=60)
"""
    # Its temporary folder is left behind, as that of any process that is killed: here, in this test's own.
    process = subprocess.Popen([sys.executable, "-c", caller], env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        assert eventually(shared.exists, 30)
        assert remaining_processes(mark)
    finally:
        process.kill()
        process.wait()
    assert eventually(lambda: remaining_processes(mark) == [])


def test_a_worker_that_cannot_start(monkeypatch, make_netlist, make_payloads):
    netlist = make_netlist("conv")
    program = "import sys; sys.exit('no room')"
    monkeypatch.setattr(run, "WORKER", (sys.executable, "-c", program))
    with pytest.raises(BackendError, match="the worker died with status 1") as error:
        run_on_lava(netlist, make_payloads(netlist))
    assert error.value.__notes__ == ["no room"]


def test_a_job_that_cannot_be_read(monkeypatch, make_netlist, make_payloads):
    netlist = make_netlist("conv")
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from hw_targets.lava_runtime import worker
        Path(sys.argv[1], "netlist.h5").write_bytes(b"nothing")
        sys.exit(worker.main(sys.argv[1]))
        """
    )
    monkeypatch.setattr(run, "WORKER", (sys.executable, "-c", program))
    with pytest.raises(BackendError, match=r"lava worker: .*FormatError"):
        run_on_lava(netlist, make_payloads(netlist))


def test_a_disk_that_is_full(monkeypatch, make_netlist, make_payloads):
    """The worker reserves what it will record before it starts, so that this is an error and not a death."""
    netlist = make_netlist("conv")
    program = textwrap.dedent(
        """
        import os, sys, errno
        from hw_targets.lava_runtime import worker
        def full(descriptor, offset, length):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate = full
        sys.exit(worker.main(sys.argv[1]))
        """
    )
    monkeypatch.setattr(run, "WORKER", (sys.executable, "-c", program))
    with pytest.raises(BackendError, match=r"lava worker: OSError.*No space left on device; free some space"):
        run_on_lava(netlist, make_payloads(netlist))
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(BackendError, match="No such file or directory; free some space"):
        run_on_lava(netlist, make_payloads(netlist))


def test_lava_is_missing(monkeypatch, make_netlist, make_payloads):
    find_spec = importlib.util.find_spec

    def without_lava(name, package=None):
        if name.split(".")[0] == "lava":
            raise ModuleNotFoundError("No module named 'lava'", name="lava")
        return find_spec(name, package)

    netlist = make_netlist("conv")
    assert lava_is_installed()
    monkeypatch.setattr(importlib.util, "find_spec", without_lava)
    assert not lava_is_installed()
    with pytest.raises(BackendError, match=re.escape("Lava is not installed; pip install")) as error:
        run_on_lava(netlist, make_payloads(netlist))
    assert error.value.exit_status == 3


def test_the_worker_is_light(broken_run):
    """Neither torch nor the simulator is loaded where the models run."""
    with pytest.raises(BackendError) as error:
        broken_run("raise ValueError('loaded: ' + ' '.join({'torch', 'numba', 'sim', 'norse'} & sys.modules.keys()))")
    assert error.value.problem == "ValueError: loaded:"
