"""Netlists as norse modules, bit for bit; NeuroBench counts the same operations as we do."""

import norse.torch as norse
import numpy as np
import pytest
import torch
from random_netlists import PICTURES, radix_netlist

from sim import golden
from sim.golden import simulate
from toolchain.energy import count, weigh
from toolchain.exchange import export_netlist
from toolchain.exchange.torch_modules import AdaFireCell, NetlistCell, neurobench_model, to_norse
from toolchain.netlist import UnsupportedError

ONE_READOUT = ["mlp", "cnn", "residual", "grouped", "signal", "every_operator"]


@pytest.mark.parametrize("phi", [1, 5])
@pytest.mark.parametrize("architecture", ONE_READOUT)
def test_stateful_modules_are_exact(architecture, phi, make, make_payloads):
    netlist = make(architecture, seed=phi, phi=phi)
    payloads = make_payloads(netlist, 3)
    expected = simulate(netlist, payloads)
    model, state = to_norse(netlist), None
    assert isinstance(model, norse.SequentialState)
    for t in range(netlist.timesteps):
        total, state = model(torch.from_numpy(payloads), state)
        np.testing.assert_array_equal(total.numpy(), expected.readout[t])


@pytest.mark.parametrize("architecture", [a for a in PICTURES if a != "sequence"])
def test_windows_are_exact(architecture, make_payloads):
    """Two pictures back to back: every digit of every population, window by window."""
    netlist = radix_netlist(architecture, base=3, digits=3)
    pictures = make_payloads(netlist, 4).reshape(2, 2, *netlist.input.shape)
    model, state, held = to_norse(netlist), None, []
    cell = model[0]
    assert isinstance(model, norse.SequentialState)
    for call in range(cell.calls + 3):
        total, state = model(torch.from_numpy(pictures[min(call // 3, 1)]), state)
        held.append(total.numpy())
    for picture in (0, 1):
        expected = golden.simulate(netlist, pictures[picture]).readout
        start = cell.calls - 3 + 3 * picture
        np.testing.assert_array_equal(np.stack(held[start : start + 3]), expected)


def test_digits_are_refused_where_they_cannot_be_said(tmp_path):
    netlist = radix_netlist("linear")
    for to in ("nir", "nir-explicit", "netx"):
        with pytest.raises(UnsupportedError, match=r"digits in base 2 found: no neuron of (NIR|netx) multiplies"):
            export_netlist(netlist, tmp_path / "net", to=to)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnsupportedError, match="digits"):
        NetlistCell(netlist)
    with pytest.raises(UnsupportedError, match="digits"):
        neurobench_model(netlist)


def test_every_population_is_exact(make, make_payloads):
    netlist = make("residual")
    payloads = make_payloads(netlist, 3)
    expected = simulate(netlist, payloads)
    cell, state, emitted = NetlistCell(netlist), None, {}
    for population, module in zip(netlist.populations[1:], cell.cells, strict=True):
        module.register_forward_hook(lambda _, __, out, n=population.name: emitted.setdefault(n, []).append(out[0]))
    for _ in range(netlist.timesteps):
        _, state = cell(torch.from_numpy(payloads), state)
    for name, values in emitted.items():
        np.testing.assert_array_equal(torch.stack(values).numpy(), expected.populations[name], err_msg=name)
    assert state.keys() == {p.name for p in netlist.populations[1:]}


def test_a_chain_is_layers_and_a_state_may_be_kept_and_reused(make, make_payloads):
    netlist = make("cnn")
    model = to_norse(netlist)
    assert sum(isinstance(m, AdaFireCell) for m in model) == 3
    x = torch.from_numpy(make_payloads(netlist, 2))
    _, state = model(x)
    once, _ = model(x, list(state))
    again, _ = model(x, list(state))
    assert torch.equal(once, again)


def test_lift_runs_all_timesteps_at_once(make, make_payloads):
    netlist = make("cnn")
    payloads = make_payloads(netlist, 2)
    repeated = torch.from_numpy(payloads).expand(netlist.timesteps, *payloads.shape)
    totals, _ = norse.Lift(to_norse(netlist))(repeated)
    np.testing.assert_array_equal(totals.numpy(), simulate(netlist, payloads).readout)


def test_several_readouts_are_refused(make):
    with pytest.raises(UnsupportedError, match="readouts classes, map"):
        to_norse(make("concat"))


class Data(torch.utils.data.Dataset):
    def __init__(self, payloads, labels):
        self.payloads, self.labels = torch.from_numpy(payloads), torch.from_numpy(labels)

    def __len__(self):
        return len(self.payloads)

    def __getitem__(self, index):
        return self.payloads[index], self.labels[index]


@pytest.fixture
def measure(make_payloads):
    """What NeuroBench and our own counts say of 8 samples, one of which is labelled as another class."""
    pytest.importorskip("neurobench", reason="neurobench is not installed (extra `peers`)")
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity
    from neurobench.metrics.workload import ActivationSparsity, ClassificationAccuracy, SynapticOperations

    def run(netlist):
        payloads = make_payloads(netlist, 8)
        trace = simulate(netlist, payloads)
        labels = np.argmax(trace.readout[-1] * netlist.readouts[0].scale, axis=1)
        labels[0] = (labels[0] + 1) % netlist.readouts[0].shape[0]
        metrics = [[ConnectionSparsity], [ActivationSparsity, ClassificationAccuracy, SynapticOperations]]
        loader = torch.utils.data.DataLoader(Data(payloads, labels), batch_size=4)
        return Benchmark(neurobench_model(netlist), loader, [], [], metrics).run(quiet=True), trace

    return run


@pytest.mark.parametrize("phi", [1, 4])
@pytest.mark.parametrize("architecture", ["mlp", "cnn", "residual", "grouped", "signal"])
def test_neurobench_counts_what_we_count(architecture, phi, make, measure):
    netlist = make(architecture, seed=phi, phi=phi)
    results, trace = measure(netlist)
    operations = results["SynapticOperations"]
    effective = sum(c.effective for c in count(netlist, trace).connections)
    assert operations["Effective_MACs"] + operations["Effective_ACs"] == effective / 8
    assert effective > 0
    spikes = [trace.spikes[p.name] for p in netlist.spiking]
    zeros, total = sum(int((a == 0).sum()) for a in spikes), sum(a.size for a in spikes)
    assert results["ActivationSparsity"] == pytest.approx(zeros / total, abs=1e-9)
    assert results["ClassificationAccuracy"] == pytest.approx(7 / 8)


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "residual", "grouped", "signal"])
def test_single_spikes_are_accumulated(architecture, make, measure):
    netlist = make(architecture, seed=1, phi=1)
    results, trace = measure(netlist)
    inside = sum(c.effective for c in count(netlist, trace).connections if not c.from_input)
    assert results["SynapticOperations"]["Effective_ACs"] == inside / 8


@pytest.mark.parametrize("phi", [1, 4])
@pytest.mark.parametrize("architecture", ["mlp", "grouped"])
def test_neurobench_sees_our_zeros(architecture, phi, make, measure):
    """Without merged poolings, whose weights stand there several times."""
    netlist = make(architecture, seed=phi, phi=phi)
    results, _ = measure(netlist)
    weights = weigh(netlist)
    assert results["ConnectionSparsity"] == pytest.approx(weights.zeros / weights.total, abs=1e-3)
