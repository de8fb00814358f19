"""Search: exact frontiers, measurements that survive a kill, promises that hold as measured."""

import itertools
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_modules import ResidualCNN

from hw_targets.lava_runtime import run_on_lava
from sim import golden, simulate
from toolchain.calibrate import CalibrationData, Thresholds, collect_histograms, fire_with
from toolchain.calibrate.early_exit import fit_alpha
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset, choose_input, parse_normalization
from toolchain.frontend import read_module
from toolchain.netlist import BackendError, InputError, fan_outs
from toolchain.network import SpikingNetwork, activations
from toolchain.quantize import Precision, quantize
from toolchain.search import (
    BaseNetwork,
    Judge,
    MeasurementCache,
    Measuring,
    Workbench,
    measure_sensitivities,
    pareto_frontier,
)
from toolchain.search import executor as executor_module
from toolchain.tasks import same_decisions

NORMALIZATION = parse_normalization("0.5/0.25", 2)


@pytest.fixture(scope="module")
def network():
    return read_module(ResidualCNN(seed=3, gain=8).eval(), (2, 8, 8))


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    # Pictures that differ in more than noise, so that decisions differ.
    centres = rng.integers(0, 256, (12, 2, 8, 8))
    pictures = centres[rng.integers(0, 12, 400)] * 0.7 + rng.integers(0, 256, (400, 2, 8, 8)) * 0.3
    return Dataset("pictures.npz", pictures.astype(np.uint8))


@pytest.fixture(scope="module")
def base(network, data):
    part = data.select(np.arange(256))
    x = part.normalized(NORMALIZATION.mean, NORMALIZATION.std)
    ann = torch.from_numpy(x).float()
    source = choose_input(network.source.name, part, x, NORMALIZATION)
    firing = fire_with(
        network, collect_histograms(network, ann), {u.name: 2 for u in network.activations}, Thresholds(3)
    )
    payload = torch.from_numpy(part.payloads(source))[:, None]
    return BaseNetwork(network, SpikingNetwork(network, source, firing, 3), CalibrationData(ann, payload), Precision())


def options(base, settings_):
    return {n: [replace(f, rho=float(r)) for r in settings_] for n, f in base.spiking.firing.items()}


@settings(max_examples=80)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 20), st.integers(-10, 30)), min_size=1, max_size=4), min_size=1, max_size=5
    ),
    st.integers(0, 100),
)
def test_the_frontier_is_that_of_brute_force(layers, budget):
    costs = [np.array([c for c, _ in layer]) for layer in layers]
    losses = [np.array([s for _, s in layer]) for layer in layers]
    sums = {}
    for choice in itertools.product(*layers):
        cost, loss = sum(c for c, _ in choice), sum(s for _, s in choice)
        sums[cost] = min(loss, sums.get(cost, loss))
    expected, least = [], np.inf
    for cost in sorted(sums):
        if sums[cost] < least:
            least = sums[cost]
            expected.append((cost, least))
    whole = pareto_frontier(costs, losses)
    assert list(zip(whole.cost, whole.loss, strict=True)) == expected
    affordable = [e for e in expected if e[0] <= budget]
    if not affordable:
        with pytest.raises(InputError, match=f"least feasible one is {expected[0][0]}"):
            pareto_frontier(costs, losses, budget=budget)
        return
    limited = pareto_frontier(costs, losses, budget=budget)
    assert list(zip(limited.cost, limited.loss, strict=True)) == affordable
    for node, (cost, loss) in enumerate(affordable):
        assert sum(c[i] for c, i in zip(costs, limited.choice[node], strict=True)) == cost
        assert sum(s[i] for s, i in zip(losses, limited.choice[node], strict=True)) == loss
    assert limited.within_cost(budget) == len(affordable) - 1
    cheapest = next(i for i, (_, loss) in enumerate(affordable) if loss <= affordable[0][1])
    assert limited.within_loss(affordable[0][1]) == cheapest


def test_a_tolerance_below_the_least_loss_names_it():
    frontier = pareto_frontier([np.array([1, 2])], [np.array([5.0, 3.0])])
    with pytest.raises(InputError, match="least feasible one is 3"):
        frontier.within_loss(2.0)


def one_layer_varied(base, name, firing):
    """Return the base with one layer firing differently, its bias shifted by its mean error: written out, eq. 14."""
    varied = replace(base.spiking, firing={**base.spiking.firing, name: firing})
    netlist = quantize(varied, base.precision)
    bursts = golden.simulate(netlist, base.data.emitted(slice(None))).spikes[name]
    population = netlist[name]
    emitted = bursts.mean(axis=(0, 1, 3, 4)) * population.threshold * population.scale
    wanted = activations(base.network, base.data.x)[name].double().mean(dim=(0, 2, 3)).numpy()
    units = (replace(u, bias=u.bias + wanted - emitted) if u.name == name else u for u in varied.network.units)
    return replace(varied, network=replace(varied.network, units=tuple(units)))


@pytest.mark.parametrize("name", ["conv1", "conv2"])
@pytest.mark.parametrize("change", [{}, {"rho": 2.0}, {"phi": 1}])
def test_a_workbench_measures_what_the_whole_network_does(base, name, change):
    """One layer varied on kept spikes is what quantising and running the whole varied network gives."""
    firing = replace(base.spiking.firing[name], **change)
    measured = Workbench(base).measure(name, firing)
    whole = one_layer_varied(base, name, firing)
    judged = Judge(base.network, base.data, base.precision).measure(whole)
    netlist = quantize(whole, base.precision)
    # The ANN runs in chunks of another size there, so its last bits may differ.
    assert measured.divergence == pytest.approx(judged.divergence, rel=1e-6)
    bursts = golden.simulate(netlist, base.data.emitted(slice(None))).spikes[name].sum(axis=(0, 1))
    synapses = fan_outs(netlist.connections, {p.name: p.shape for p in netlist.populations})[name]
    assert measured.operations == (bursts * synapses).sum() / len(base.data)


def test_measurements_are_stored_and_not_repeated(base, tmp_path, monkeypatch):
    cache = MeasurementCache(tmp_path / "cache")
    measuring = Measuring(executor="local:1", cache=cache)
    first = measure_sensitivities(base, options(base, (1, 2)), (1, 2), [0, 0], measuring)
    monkeypatch.setattr(executor_module, "_measure", lambda *_: pytest.fail("measured again"))
    again = measure_sensitivities(base, options(base, (1, 2)), (1, 2), [0, 0], measuring)
    np.testing.assert_array_equal(first.divergence, again.divergence)
    np.testing.assert_array_equal(first.operations, again.operations)
    assert (first.increase[:, 0] == 0).all()
    assert (first.operations[:, 1] < first.operations[:, 0]).all()


def test_a_damaged_measurement_is_taken_again(base, tmp_path):
    measuring = Measuring(executor="local:1", cache=MeasurementCache(tmp_path))
    first = measure_sensitivities(base, options(base, (1,)), (1,), [0, 0], measuring)
    for file in tmp_path.rglob("*.json"):
        file.write_text(file.read_text()[:20])
    again = measure_sensitivities(base, options(base, (1,)), (1,), [0, 0], measuring)
    np.testing.assert_array_equal(first.divergence, again.divergence)
    assert all(json.loads(f.read_text())["phi"] for f in tmp_path.rglob("*.json"))


def test_two_processes_measure_what_one_does(base):
    one = measure_sensitivities(base, options(base, (1, 3)), (1, 3), [0, 0], Measuring(executor="local:1"))
    two = measure_sensitivities(base, options(base, (1, 3)), (1, 3), [0, 0], Measuring(executor="local:2"))
    np.testing.assert_allclose(two.divergence, one.divergence, rtol=1e-9)
    np.testing.assert_array_equal(two.operations, one.operations)


_KILLED = """
import sys, pickle
import numpy as np
from pathlib import Path
from toolchain.search import MeasurementCache, Measuring, measure_sensitivities
base, options = pickle.loads(Path(sys.argv[1]).read_bytes())
measuring = Measuring(executor="local:1", cache=MeasurementCache(Path(sys.argv[2])))
measure_sensitivities(base, options, (1, 2, 3, 4), [0, 0], measuring)
"""


def test_a_killed_search_keeps_what_it_measured(base, tmp_path):
    import pickle

    job, cache = tmp_path / "job.pickle", tmp_path / "cache"
    job.write_bytes(pickle.dumps((base, options(base, (1, 2, 3, 4)))))
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(job), str(cache)], cwd=Path.cwd())
    deadline = time.monotonic() + 120
    while len(list(cache.rglob("*.json"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {f.name: f.stat().st_mtime_ns for f in cache.rglob("*.json")}
    assert len(kept) >= 2
    measuring = Measuring(executor="local:1", cache=MeasurementCache(cache))
    table = measure_sensitivities(base, options(base, (1, 2, 3, 4)), (1, 2, 3, 4), [0, 0], measuring)
    assert np.isfinite(table.divergence).all()
    after = {f.name: f.stat().st_mtime_ns for f in cache.rglob("*.json")}
    assert len(after) == 8
    assert kept.items() <= after.items()


@pytest.mark.slow
def test_a_dask_cluster_measures_what_this_process_does(base, tmp_path):
    from distributed import LocalCluster

    expected = measure_sensitivities(base, options(base, (1, 2)), (1, 2), [0, 0], Measuring(executor="local:1"))
    cache = MeasurementCache(tmp_path)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        found = measure_sensitivities(
            base, options(base, (1, 2)), (1, 2), [0, 0], Measuring(executor=address, cache=cache)
        )
    np.testing.assert_allclose(found.divergence, expected.divergence, rtol=1e-9)
    np.testing.assert_array_equal(found.operations, expected.operations)
    assert len(list(tmp_path.rglob("*.json"))) == 4


@pytest.mark.parametrize("executor", ["local:0", "local:x", "dask:", "threads"])
def test_unknown_executors_are_refused(executor):
    with pytest.raises(InputError, match="expected local, local:N or dask"):
        Measuring(executor=executor)


def test_a_scheduler_that_does_not_answer_is_named(base, monkeypatch):
    import distributed

    def refuse(address, **_):
        raise OSError("connection refused")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(BackendError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        measure_sensitivities(base, options(base, (1,)), (1,), [0, 0], Measuring(executor="dask://127.0.0.1:9"))


def test_too_few_samples_are_refused(base, network, data):
    few = replace(base, data=base.data.part(0, 100))
    with pytest.raises(InputError, match=r"100 samples found .* expected at least 256"):
        measure_sensitivities(few, options(base, (1,)), (1,), [0, 0], Measuring())
    with pytest.raises(InputError, match="90 samples found, expected at least 256"):
        search(network, data.select(np.arange(90)), search=True)


def search(network, data, **fields):
    recipe = Recipe(timesteps=4, phi=2, samples=300, executor="local:1", normalize="0.5/0.25", **fields)
    return convert_network(network, data, recipe)


@pytest.mark.parametrize("strategy", ["channels", "layers"])
@pytest.mark.parametrize("budget", [0.7, 1.0])
def test_a_budget_is_kept_as_measured(network, data, strategy, budget):
    netlist = search(network, data, search=True, budget=budget, strategy=strategy)
    record = netlist.provenance.search
    uniform = record.firing.uniform or record.uniform
    assert record.firing.measured.operations <= budget * uniform.operations
    # Uniform phi is a candidate where it keeps the budget.
    assert budget < 1 or record.firing.measured.divergence <= uniform.divergence


@pytest.mark.parametrize("strategy", ["channels", "layers"])
def test_a_tolerance_is_kept_as_measured(network, data, strategy):
    netlist = search(network, data, compress=True, tolerance=0.02, strategy=strategy)
    compression = netlist.provenance.search.compression
    before, after = compression.before, compression.measured
    assert after.divergence <= before.divergence + 0.02
    assert after.operations <= before.operations


@pytest.mark.parametrize("strategy", ["channels", "layers"])
def test_infeasible_budgets_and_tolerances_name_the_least_feasible_one(network, data, strategy):
    with pytest.raises(InputError, match=r"budget: 1e-09 .*least feasible one is"):
        search(network, data, search=True, budget=1e-9, strategy=strategy)
    with pytest.raises(InputError, match="tolerance: -1 found, the least feasible one is 0"):
        search(network, data, compress=True, tolerance=-1.0, strategy=strategy)
    with pytest.raises(InputError, match="phi_max: 1 found, expected at least `phi`, 2"):
        search(network, data, search=True, phi_max=1)


@pytest.mark.lava
def test_a_searched_compressed_early_exit_netlist_agrees_everywhere(network, data):
    netlist = search(network, data, search=True, compress=True, early_exit=True, calibrate="advanced", tolerance=0.05)
    assert len(netlist.alpha) == 4
    payloads = data.payloads(netlist.input, 0, 4)
    expected, reference = golden.simulate(netlist, payloads), simulate(netlist, payloads)
    lava = run_on_lava(netlist, payloads)
    for name, values in expected.populations.items():
        np.testing.assert_array_equal(reference.populations[name], values)
        np.testing.assert_array_equal(lava.populations[name], values)


def test_early_exit_keeps_the_agreement_it_promises(network, data):
    netlist = search(network, data, early_exit=True)
    record = netlist.provenance.early_exit
    splits = record.samples, record.pairs
    assert sum(s.full_agreement - s.agreement for s in splits) <= 1e-9
    assert all(1 <= s.mean_timesteps <= 4 for s in splits)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 40), st.sampled_from([0.001, 0.5, 1.0]))
def test_fitted_alpha_loses_no_decision_it_was_fitted_on(seed, timesteps, samples, margin):
    rng = np.random.default_rng(seed)
    sure = np.round(rng.random((timesteps, samples)), 1)
    right = rng.random((timesteps, samples)) < sure
    alpha = fit_alpha(sure, right, margin)
    stops = sure > np.array(alpha)[:, None]
    stops[-1] = True
    exits = stops.argmax(0)
    kept = right[exits, np.arange(samples)]
    assert kept.sum() >= right[-1].sum()


@pytest.fixture(autouse=True)
def _no_stray_workers():
    yield
    from joblib.externals.loky import get_reusable_executor

    if multiprocessing.active_children():
        get_reusable_executor().shutdown(wait=True)


def test_a_single_logit_decides_by_its_sign():
    """The largest of one is always the first: decisions that differ agreed by 100 %."""
    one, other = torch.tensor([[1.0], [-2.0], [0.5], [-0.1]]), torch.tensor([[2.0], [1.0], [0.1], [0.0]])
    assert same_decisions(one, other) == 0.75
    assert same_decisions(torch.eye(3), torch.eye(3)) == 1
