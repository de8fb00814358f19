"""Verifying batch by batch: against the golden step, another netlist, a NIR file, a recorded trace."""

from dataclasses import replace

import numpy as np
import pytest

from sim import golden
from toolchain.data import Dataset
from toolchain.equivalence import diagnose, verify
from toolchain.exchange import export_netlist
from toolchain.files import TraceWriter, write_trace
from toolchain.netlist import InputError, Weighted

SAMPLES = 9


@pytest.fixture
def net(make_netlist):
    return make_netlist("residual", timesteps=4)


@pytest.fixture
def data(net):
    return Dataset("made up", np.random.default_rng(0).normal(0, 0.8, (SAMPLES, *net.input.shape)))


def cut(net):
    """The netlist with the lowest bit of every weight lost."""
    return replace(
        net,
        connections=tuple(
            replace(
                c,
                operators=tuple(
                    replace(o, weight=o.weight & ~1) if isinstance(o, Weighted) else o for o in c.operators
                ),
            )
            for c in net.connections
        ),
    )


def test_every_other_side_of_the_same_network_is_equal(net, data, tmp_path):
    recorded, exported = tmp_path / "trace.h5", tmp_path / "net.nir"
    trace = golden.simulate(net, data.payloads(net.input))
    write_trace(replace(trace, backend="chip"), recorded)
    export_netlist(net, exported, "nir")
    values = sum(values.size for values in trace.populations.values())
    for against, pair in (
        ("reference", ("golden", "reference")),
        (net, ("reference", "netlist")),
        (str(exported), ("reference", "nir")),
        (str(recorded), ("reference", "chip")),
    ):
        report = verify(net, data, against, batch=4)
        assert report.equivalent
        assert (report.expected, report.actual) == pair
        assert (report.samples, report.compared_values) == (SAMPLES, values)
        assert "equivalent" in str(report)


def test_another_netlist_is_compared_payload_by_payload(net, data):
    payloads = data.payloads(net.input)
    actual = replace(golden.simulate(cut(net), payloads), netlist_hash=net.content_hash, backend="netlist")
    expected = diagnose(net, replace(golden.simulate(net, payloads), backend="reference"), actual)
    found = verify(net, data, cut(net), batch=4)
    assert not found.equivalent
    assert replace(found.first_divergence, cause="") == replace(expected.first_divergence, cause="")
    assert found.differing == expected.differing
    assert "lowest bit of the weights" in found.first_divergence.cause
    assert found.explanation.divergence == found.first_divergence


def test_a_netlist_encodes_the_data_itself(net, data):
    coarse = replace(net, populations=(replace(net.input, scale=net.input.scale * 2), *net.populations[1:]))
    first = verify(net, data, coarse).first_divergence
    assert (first.population, first.cause) == ("input", "the data was encoded differently")


def test_a_recorded_trace_is_read_in_parts(net, data, tmp_path):
    trace = golden.simulate(net, data.payloads(net.input))
    spikes = {name: values.copy() for name, values in trace.spikes.items()}
    last = net.spiking[-1].name
    spikes[last][2, 8].flat[3] += 1
    with TraceWriter(tmp_path / "trace.h5") as writer:
        writer.append(replace(trace, backend="chip", spikes=spikes))
    first = verify(net, data, str(tmp_path / "trace.h5"), batch=4).first_divergence
    assert (first.population, first.timestep, first.sample) == (last, 2, 8)
    assert first.got == first.expected + 1


def test_a_trace_of_other_samples_is_refused(net, data, tmp_path):
    write_trace(golden.simulate(net, data.payloads(net.input, 0, 3)), tmp_path / "trace.h5")
    with pytest.raises(InputError, match=r"trace\.h5: 3 samples found, expected 9"):
        verify(net, data, str(tmp_path / "trace.h5"))


def test_what_cannot_be_compared_is_refused(net, data):
    with pytest.raises(InputError, match=r"^against: 'moon' found, expected lava, reference"):
        verify(net, data, "moon")
    with pytest.raises(InputError, match="found, expected the same timesteps"):
        verify(net, data, replace(net, timesteps=3))
    with pytest.raises(InputError, match="samples of shape"):
        verify(net, replace(data, values=data.values[:, :1]), "reference")
