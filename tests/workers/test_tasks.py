"""Tasks on this process, on processes and on a Dask cluster: the same results, few tasks held at a time."""

import dataclasses
import errno
import operator
import os
import time

import numpy as np
import pytest

from toolchain.cli import run
from toolchain.data import Dataset, Truth
from toolchain.evaluate import evaluate
from toolchain.netlist import BackendError, InputError
from toolchain.workers import run_tasks


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@pytest.fixture
def executor(request):
    return request.getfixturevalue("cluster") if request.param == "dask" else request.param


@pytest.fixture
def netlist(make_netlist):
    return dataclasses.replace(make_netlist("residual", timesteps=4), alpha=(0.2, 0.2, 0.2, 1.0))


@pytest.fixture
def data(netlist):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(23, *netlist.input.shape)).astype(np.float32)
    return Dataset("made up", values, Truth(rng.integers(0, netlist.readouts[0].shape[0], 23)))


def counted(evaluation):
    return dataclasses.replace(evaluation, seconds=0.0)


everywhere = pytest.mark.parametrize(
    "executor", ["local:1", "local:2", pytest.param("dask", marks=pytest.mark.slow)], indirect=True
)


@everywhere
def test_evaluates_as_a_run_that_keeps_every_spike(executor, netlist, data, tmp_path):
    expected = evaluate(netlist, data, batch=23, trace=tmp_path / "trace.h5")
    assert counted(evaluate(netlist, data, batch=5, executor=executor)) == counted(expected)


@everywhere
def test_early_exit_does_not_depend_on_where_it_runs(executor, netlist, data):
    whole = evaluate(netlist, data, early_exit=True, batch=23)
    assert 1 < whole.mean_timesteps < 4
    assert counted(evaluate(netlist, data, early_exit=True, batch=4, executor=executor)) == counted(whole)


@everywhere
def test_an_error_in_a_task_keeps_its_message(executor, netlist, data):
    without = dataclasses.replace(netlist, alpha=())
    with pytest.raises(InputError, match="holds no alpha"):
        evaluate(without, data, early_exit=True, batch=5, executor=executor)


@everywhere
def test_every_task_is_done_once(executor):
    results = dict(run_tasks(operator.add, 100, range(60), executor))
    assert results == {i: 100 + i for i in range(60)}


@everywhere
def test_tasks_are_read_as_workers_become_free(executor):
    """However many there are. Each takes a while: what is done at once may be done before anybody asks for it."""
    done, ahead = 0, []

    def tasks():
        for task in range(60):
            ahead.append(task - done)
            yield 0.01

    for _ in run_tasks(operator.call, time.sleep, tasks(), executor):
        done += 1
    assert done == 60
    assert max(ahead) < 30


def test_processes_that_cannot_share_memory_say_so(monkeypatch):
    """A full /dev/shm ends a process that maps a file there, or is an error of whoever writes."""
    with pytest.raises(BackendError, match=r"^executor: a process died; is there enough memory.*/dev/shm"):
        list(run_tasks(operator.call, os._exit, [1, 2], "local:2"))

    def full(**options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("joblib.Parallel", full)
    with pytest.raises(BackendError, match=r"^executor: processes cannot share data \(No space.*/dev/shm"):
        list(run_tasks(operator.add, 1, [1, 2], "local:2"))


def test_processes_that_cannot_start_say_so(monkeypatch):
    monkeypatch.setattr("joblib.parallel.mp", None)  # what joblib does where it finds no room for a lock
    with pytest.raises(BackendError, match=r"^executor: processes cannot be started; free some space in /dev/shm"):
        list(run_tasks(operator.add, 1, [1, 2], "local:2"))
    assert sorted(run_tasks(operator.add, 1, [1, 2], "local:1")) == [(0, 2), (1, 3)]


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 2), (errno.EDQUOT, 2), (errno.EIO, 70)])
def test_no_space_anywhere_is_one_line(monkeypatch, tmp_path, capsys, number, status):
    (tmp_path / "net.h5").write_bytes(b"")

    def full(path):
        raise OSError(number, os.strerror(number), "/somewhere")

    monkeypatch.setattr("toolchain.files.read_netlist", full)
    assert run(["info", str(tmp_path / "net.h5")]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:") == (status == 2)
    assert f"{os.strerror(number)}: '/somewhere'" in line
