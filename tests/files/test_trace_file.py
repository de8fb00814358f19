"""The trace file: interfaces.md's layout, the same bytes for any batches, flat memory."""

import h5py
import numpy as np
import pytest

from sim.golden import simulate
from toolchain.files import TraceWriter, open_trace, read_trace, write_trace
from toolchain.netlist import FormatError, InputError, Trace


def assert_equal(a, b):
    assert (a.netlist_hash, a.backend) == (b.netlist_hash, b.backend)
    assert a.populations.keys() == b.populations.keys()
    for name, array in a.populations.items():
        assert array.dtype == b.populations[name].dtype
        np.testing.assert_array_equal(array, b.populations[name])


def test_a_trace_comes_back_as_it_was(netlist, make_payloads, tmp_path):
    trace = simulate(netlist, make_payloads(netlist, 5))
    write_trace(trace, tmp_path / "trace.h5")
    back = read_trace(tmp_path / "trace.h5")
    assert_equal(trace, back)
    assert back.saturations == trace.saturations


def test_scripts_find_what_the_documentation_says(make, make_payloads, tmp_path):
    netlist = make("cnn")
    write_trace(simulate(netlist, make_payloads(netlist, 5)), tmp_path / "trace.h5")
    with h5py.File(tmp_path / "trace.h5") as file:
        assert file.attrs["netlist_hash"] == netlist.content_hash
        assert file.attrs["backend"] == "golden"
        assert file.attrs["timesteps"] == 4
        assert set(file["spikes"]) == {"input", "conv1", "conv2", "conv3"}
        assert file["spikes/conv1"].shape == (4, 5, 4, 8, 8)
        assert file["spikes/conv1"].dtype == np.uint8
        assert file["readout"].shape == (4, 5, 3)
        assert file["readout"].dtype == np.int64


def parts(trace, sizes):
    start = 0
    for size in sizes:
        stop = start + size
        yield Trace(
            trace.netlist_hash,
            trace.backend,
            {k: v[:, start:stop] for k, v in trace.spikes.items()},
            {k: v[:, start:stop] for k, v in trace.readouts.items()},
        )
        start = stop


@pytest.mark.parametrize("sizes", [[1] * 23, [7, 16], [20, 1, 2]])
def test_batches_do_not_change_the_bytes(sizes, make, make_payloads, tmp_path, monkeypatch):
    monkeypatch.setattr("toolchain.files.trace_file.CHUNK_BYTES", 20_000)
    netlist = make("concat")
    payloads = make_payloads(netlist, 23)
    whole = simulate(netlist, payloads)
    write_trace(Trace(whole.netlist_hash, whole.backend, whole.spikes, whole.readouts), tmp_path / "whole.h5")
    with TraceWriter(tmp_path / "parts.h5") as writer:
        for part in parts(whole, sizes):
            writer.append(part)
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    with open_trace(tmp_path / "parts.h5") as reader:
        assert (reader.samples, reader.timesteps) == (23, 5)
        assert [t.samples for t in reader.batches(10)] == [10, 10, 3]
        assert_equal(reader.read(3, 9), list(parts(whole, [3, 6]))[1])


def test_a_failed_run_leaves_no_file(make, make_payloads, tmp_path):
    netlist = make("mlp")
    with pytest.raises(ZeroDivisionError), TraceWriter(tmp_path / "trace.h5") as writer:  # noqa: PT012
        writer.append(simulate(netlist, make_payloads(netlist)))
        raise ZeroDivisionError
    with pytest.raises(InputError, match="no samples"), TraceWriter(tmp_path / "trace.h5"):
        pass
    assert list(tmp_path.iterdir()) == []


def lie_about_size(file):
    del file["spikes/conv1"]
    file.create_dataset("spikes/conv1", (4, 1 << 40, 4, 8, 8), "u1", chunks=(4, 1, 4, 8, 8), compression="gzip")


def drop_readout(file):
    del file["readout"]


def other_lengths(file):
    del file["spikes/conv1"]
    file["spikes/conv1"] = np.zeros((4, 9, 4), np.uint8)


def float_spikes(file):
    del file["spikes/conv1"]
    file.create_dataset("spikes/conv1", data=np.zeros((4, 5, 4)), chunks=True)


def wrong_timesteps(file):
    file.attrs["timesteps"] = 12


def bomb(file):
    """A chunk that inflates to far more than its values."""
    import zlib

    del file["spikes/conv1"]
    dataset = file.create_dataset("spikes/conv1", (4, 5, 4), "u1", chunks=(4, 5, 4), compression="gzip")
    dataset.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(30_000))[:4000])
    dataset.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1_000_000)))


@pytest.mark.parametrize("fault", [lie_about_size, drop_readout, other_lengths, float_spikes, wrong_timesteps, bomb])
def test_a_fault_is_refused_by_name(fault, make, make_payloads, tmp_path):
    netlist = make("cnn")
    write_trace(simulate(netlist, make_payloads(netlist, 5)), tmp_path / "trace.h5")
    with h5py.File(tmp_path / "trace.h5", "r+") as file:
        fault(file)
    with pytest.raises(FormatError, match=r"trace\.h5"):
        read_trace(tmp_path / "trace.h5")
