"""Counts against brute force and by hand; energies as exact products."""

import io
import json
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_netlists import radix_netlist
from rich.console import Console

from sim import compile_netlist
from sim.activity import Activity
from sim.golden import simulate
from toolchain.energy import count, estimate_energy, read_prices, synapses
from toolchain.energy.readings import levels
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    ConvTranspose,
    FormatError,
    Input,
    InputError,
    Linear,
    MaxPool,
    Netlist,
    Pad,
    Permute,
    Provenance,
    Readout,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    Trace,
    apply_chain,
    fan_out,
)


def source(shape, *, signed=True, coding="direct"):
    ones = np.ones(shape[0])
    return Input("input", shape, 8, signed, 1 / 127, 0 * ones, ones, coding)


def neurons(name, shape, *, phi=4, threshold=40, bias=0):
    c = shape[0]
    full = np.full
    return AdaFire(name, shape, phi, full(c, threshold), full(c, bias), full(c, threshold // 2), np.ones(c))


def readout(name, shape):
    return Readout(name, shape, np.zeros(shape[0], np.int64), np.ones(shape[0]))


def conv(weight, *, stride=1, padding=1, dilation=1, groups=1):
    axes = weight.ndim - 2
    return Conv(weight, (stride,) * axes, ((padding, padding),) * axes, (dilation,) * axes, groups)


@pytest.fixture
def residual() -> Netlist:
    """Two convolutions, an option-A shortcut, an identity, pooling, a flatten and a linear readout."""
    rng = np.random.default_rng(3)

    def weight(*shape):
        return rng.integers(-20, 21, shape)

    return Netlist(
        populations=(
            source((2, 6, 5)),
            neurons("stem", (3, 6, 5)),
            neurons("down", (6, 3, 3)),
            neurons("plain", (6, 3, 3), phi=1),
            MaxPool("pool", (6, 3, 3), (2, 2), (1, 1), ((0, 0), (0, 0)), 1),
            readout("readout", (10,)),
        ),
        connections=(
            Connection("input", "stem", (conv(weight(3, 2, 3, 3)),)),
            Connection("stem", "down", (conv(weight(6, 3, 3, 3), stride=2),)),
            Connection(
                "stem",
                "down",
                (Slice(1, 0, 6, 2), Slice(2, 0, 5, 2), Pad(((1, 2), (0, 0), (0, 0))), Scale(weight(6))),
            ),
            Connection("down", "plain", (Scale(weight(6)),)),
            Connection("plain", "pool", ()),
            Connection(
                "down", "readout", (SumPool((3, 3), (3, 3), ((0, 0), (0, 0))), Reshape((6,)), Linear(weight(10, 6)))
            ),
            Connection("pool", "readout", (Reshape((24,)), Linear(weight(10, 24)))),
        ),
        timesteps=5,
    )


@pytest.fixture
def trace(residual) -> Trace:
    rng = np.random.default_rng(5)
    return simulate(residual, rng.integers(-127, 128, (4, 2, 6, 5)))


def test_digits_are_accumulates_and_the_base_is_unpriced():
    netlist = radix_netlist("residual", base=3, digits=3)
    payload = np.random.default_rng(0).integers(-127, 128, (4, *netlist.input.shape))
    trace = simulate(netlist, payload)
    counts = count(netlist, trace)
    assert counts.sops == sum(
        int((trace.spikes[c.source].astype(np.int64) * fan_out(c.operators, netlist[c.source].shape)).sum())
        for c in netlist.connections
        if c.source != "input"
    )
    assert counts.neuron_updates == 4 * 3 * sum(p.neurons for p in counts.neurons)
    report = estimate_energy(counts)
    totals = report.to_json()["totals"]
    # The input's number is sent once: there is no current to hold.
    assert totals["first_layer_macs_every_timestep"] == totals["first_layer_macs_held"]
    assert levels(counts) == 27
    multiplied = 4 * 2 * sum(p.neurons for p in counts.neurons)
    assert {o.what: o.times for o in report.omissions}["multiplications of membranes by the base"] == multiplied
    for chip in report.other_targets:
        assert chip.unpriced[-1].count == multiplied
        assert chip.energy is None


def brute_force_fan_out(operators, shape):
    """Push a unit vector through the operators and count the non-zero results; weights made positive."""
    marked = []
    for operator in operators:
        if hasattr(operator, "weight"):
            fields = {**operator.__dict__, "weight": np.ones_like(operator.weight)}
            operator = type(operator)(**fields)
        marked.append(operator)
    units = np.eye(int(np.prod(shape)), dtype=np.int64).reshape(-1, *shape)
    reached = apply_chain(tuple(marked), units, shape)
    return np.count_nonzero(reached.reshape(len(units), -1), axis=1).reshape(shape), reached


@given(
    channels=st.integers(1, 3),
    size=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    transposed=st.booleans(),
)
@settings(max_examples=40)
def test_fan_out_of_one_operator_is_what_unit_vectors_reach(
    channels, size, kernel, stride, padding, dilation, transposed
):
    shape = (channels, *size)
    weight = np.zeros((channels, 2, kernel, kernel), np.int64)
    if transposed:
        trim = min(padding, (kernel - 1) // 2)
        operator = ConvTranspose(weight, (stride, stride), ((trim, trim),) * 2)
    else:
        assume(dilation * (kernel - 1) + 1 <= min(size) + 2 * padding)
        operator = conv(weight.swapaxes(0, 1), stride=stride, padding=padding, dilation=dilation)
    net = Netlist(
        populations=(source(shape), readout("readout", operator.output_shape(shape))),
        connections=(Connection("input", "readout", (operator,)),),
        timesteps=1,
    )
    found = synapses(net, net.connections[0])
    expected, _ = brute_force_fan_out((operator,), shape)
    assert np.array_equal(found.fan_out, expected)
    assert found.counts.macs == expected.sum() <= found.counts.padded_macs
    assert not found.effective_fan_out.any()  # every weight is zero: a synapse all the same, but no effective one


def test_sops_are_payloads_times_brute_force_fan_out(residual, trace):
    counts = count(residual, trace)
    for connection, counted in zip(residual.connections, counts.connections, strict=True):
        shape = residual[connection.source].shape
        fan_out, _ = brute_force_fan_out(connection.operators, shape)
        payload = trace.spikes[connection.source].astype(np.int64)
        assert counted.sops_by_timestep == tuple((np.abs(payload) * fan_out).sum(axis=(1, *range(2, payload.ndim))))
        assert counted.sops == (np.abs(payload) * fan_out).sum()
        assert counted.events == ((payload != 0) * fan_out).sum()
        assert counted.synapses == fan_out.sum()


def test_structural_zeros_are_no_fan_out_and_quantised_zeros_are(residual):
    shortcut = next(c for c in residual.connections if len(c.operators) == 4)
    found = synapses(residual, shortcut)
    assert found.counts.synapses == 3 * 3 * 3  # the padded channels have no source
    assert found.counts.macs == 0  # an identity adds, it does not multiply
    assert found.counts.additions == 6 * 3 * 3
    zero = Connection("stem", "down", (*shortcut.operators[:3], Scale(np.zeros(6, np.int64))))
    again = synapses(residual, zero)
    assert np.array_equal(again.fan_out, found.fan_out)
    assert again.effective_fan_out.sum() == 0


def test_a_chain_counts_its_paths_and_the_ann_its_products(residual):
    pooled = next(c for c in residual.connections if c.name == "down->readout")
    found = synapses(residual, pooled)
    assert found.counts.synapses == 6 * 9 * 10  # every neuron reaches every class
    assert found.counts.macs == 6 * 10  # the ANN pools first
    assert found.counts.additions == 6 * 9


def test_counts_by_hand():
    """One neuron fires 3, 0, 1 into a 2x2 kernel; borders cut its fan-out."""
    net = Netlist(
        populations=(source((1, 2, 2)), neurons("a", (1, 2, 2), phi=4), readout("r", (1, 2, 2))),
        connections=(
            Connection("input", "a", (Scale(np.array([1])),)),
            Connection("a", "r", (conv(np.array([[[[1, 2], [0, 4]]]]), padding=0), Pad(((0, 0), (0, 1), (0, 1))))),
        ),
        timesteps=3,
    )
    spikes = np.zeros((3, 1, 1, 2, 2), np.uint8)
    spikes[:, 0, 0, 0, 0] = [3, 0, 1]
    spikes[:, 0, 0, 1, 0] = [0, 2, 0]
    trace = Trace(
        net.content_hash,
        "reference",
        {"input": np.full((3, 1, 1, 2, 2), -2, np.int8), "a": spikes},
        {"r": np.zeros((3, 1, 1, 2, 2), np.int64)},
    )
    counts = count(net, trace)
    stem, out = counts.connections
    assert (out.sops, out.sops_by_timestep) == (6, (3, 2, 1))
    assert out.events == 3
    assert out.effective == 2  # the weight at (1, 0) is zero
    assert (out.macs, out.padded_macs, out.synapses) == (4, 4, 4)
    assert stem.sops_by_timestep == (8, 8, 8)
    assert counts.populations[1].spikes == 6
    assert counts.populations[1].active == 3
    report = estimate_energy(counts)
    assert report.e_snn == Decimal("0.9") * 6
    assert report.e_ann == Decimal("4.6") * 4
    assert report.snn[1].energy == Decimal("1.1") * 3  # an 8-bit multiply and an accumulate per event


def test_the_papers_formula_on_a_dense_toy_net():
    """Without borders every neuron has the same fan-out, so SOPs = fr * T * FLOPs (eqs. 2 and 3)."""
    rng = np.random.default_rng(0)
    net = Netlist(
        populations=(
            source((6,), signed=False),
            neurons("a", (7,), phi=1),
            neurons("b", (5,), phi=1),
            readout("r", (3,)),
        ),
        connections=(
            Connection("input", "a", (Linear(rng.integers(-9, 30, (7, 6))),)),
            Connection("a", "b", (Linear(rng.integers(-9, 30, (5, 7))),)),
            Connection("b", "r", (Linear(rng.integers(-9, 30, (3, 5))),)),
        ),
        timesteps=8,
    )
    trace = simulate(net, rng.integers(0, 256, (9, 6)))
    report = estimate_energy(count(net, trace))
    expected = 9 * Decimal("4.6") * 42
    for name, flops in (("a", 35), ("b", 15)):
        spikes = int(trace.spikes[name].sum())
        neurons_ = trace.spikes[name][0, 0].size
        rate_times_t_times_flops = Decimal(spikes) / (neurons_ * 8 * 9) * 8 * flops * 9
        assert abs(rate_times_t_times_flops - spikes * flops // neurons_) < Decimal("1e-20")
        expected += Decimal("0.9") * (spikes * flops // neurons_)
    assert report.e_snn == expected
    assert report.e_ann == 9 * Decimal("4.6") * (42 + 35 + 15)
    # At the break-even rate the paper's model prices both alike.
    rate = report.break_even[0].rate
    assert abs(Decimal("4.6") * 42 + Decimal("0.9") * rate * 8 * 50 - report.e_ann / 9) < Decimal("1e-20")


def test_energies_are_exact_products_of_counts(residual, trace):
    report = estimate_energy(count(residual, trace))
    first = 4 * 1 * report.counts.connections[0].macs
    assert report.e_snn == Decimal("4.6") * first + Decimal("0.9") * report.sops
    assert report.e_snn == sum(layer.energy for layer in report.populations)
    assert report.e_ann == sum(layer.energy_ann for layer in report.populations) == Decimal("4.6") * report.ann_macs
    assert report.snn[1].energy == sum(layer.energy_graded for layer in report.populations)
    stepped = next(r for r in report.snn if r.name == "first layer every timestep")
    assert stepped.energy - report.e_snn == Decimal("4.6") * first * 4
    assert [layer.name for layer in report.populations] == ["stem", "down", "plain", "pool", "readout"]
    assert [layer.kind for layer in report.populations] == ["Conv", "Conv", "Scale", "MaxPool", "Linear"]


def test_counts_print_as_a_table(residual, trace):
    counts = count(residual, trace)
    for word in ("Operations per sample, mean of 4", "stem->down", f"{counts.connections[1].sops / 4:,.0f}"):
        assert word in str(counts)
        assert word.replace(">", "&gt;") in counts._repr_html_()


def test_batches_add_up(residual, trace):
    def batch(part):
        return Trace(
            trace.netlist_hash,
            trace.backend,
            {k: v[:, part] for k, v in trace.spikes.items()},
            {k: v[:, part] for k, v in trace.readouts.items()},
        )

    assert count(residual, (batch(slice(i, i + 2)) for i in (0, 2))) == count(residual, trace)
    with pytest.raises(InputError, match="no batch"):
        count(residual, [])


def test_the_simulators_own_sums_give_the_same_counts(residual, trace):
    batch = compile_netlist(residual).run(trace.spikes["input"][0], activity=True)
    found = count(residual, batch.activity)
    expected = count(residual, trace)
    assert [replace(c, sops_by_timestep=()) for c in expected.connections] == list(found.connections)
    assert (found.populations, found.samples, found.steps) == (expected.populations, 4, 20)
    with pytest.raises(InputError, match="not those of the netlist"):
        count(residual, Activity(1, 5, {}, {}))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({"class": "Net", "weights_sha256": "0", "ann_macs": "1234"}, (1234, None)),
        ({"class": "Net", "weights_sha256": "0", "ann_macs": "5", "ann_macs_with_padding": "9"}, (5, 9)),
        ({"class": "Net", "weights_sha256": "0", "ann_macs": "5", "ann_macs_with_padding": 9}, None),
        ({"class": "Net", "weights_sha256": "0", "ann_macs": "-3"}, None),
        ({"class": "Net", "weights_sha256": "0", "ann_macs": 7}, None),
        ({"ann_macs": "1234"}, None),
        ("x", None),
        (None, None),
    ],
)
def test_the_ann_is_priced_as_it_was_written(residual, trace, network, expected):
    counts = count(replace(residual, provenance=Provenance.from_json({"network": network})), trace)
    report = estimate_energy(counts)
    own = sum(layer.macs for layer in report.populations)
    totals = report.to_json()["totals"]
    padded = sum(c.padded_macs for c in counts.connections)
    macs, with_padding = (own // 4, padded) if expected is None else expected
    assert report.ann_macs == macs * 4
    assert totals["ann_macs_with_padding"] == (None if with_padding is None else with_padding * 4)
    assert report.e_ann == Decimal("4.6") * report.ann_macs
    assert totals["netlist_macs"] == own


def test_frames_cannot_be_held():
    net = Netlist(
        populations=(source((4,), coding="frames"), readout("r", (3,))),
        connections=(Connection("input", "r", (Linear(np.ones((3, 4), np.int64)),)),),
        timesteps=2,
    )
    report = estimate_energy(count(net, simulate(net, np.ones((2, 5, 4), np.int8))))
    assert report.e_snn == Decimal("4.6") * 12 * 5 * 2
    totals = report.to_json()["totals"]
    assert totals["first_layer_macs_held"] is None
    assert totals["first_layer_macs_every_timestep"] == 12 * 5 * 2


def test_json_has_the_keys_that_scripts_rely_on(residual, trace):
    report = estimate_energy(count(residual, trace))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    for layer in data["layers"]:
        assert {"name", "kind", "macs", "sops", "events", "neuron_updates", "energy_pj"} <= set(layer)
        assert all(isinstance(layer[key], int) for key in ("macs", "sops", "events", "neuron_updates"))
    assert {"ann_macs", "sops", "e_snn_pj", "e_ann_pj"} <= set(data["totals"])
    assert data["totals"]["sops"] == sum(layer["sops"] for layer in data["layers"])
    assert data["per_sample"]["sops"] == data["totals"]["sops"] / 4
    assert {"FP32 ANN", "INT8 ANN"} <= {b["name"] for b in data["baselines"]}
    assert next(t for t in data["other_targets"] if t["target"] == "loihi2")["energy_pj"] is None
    assert all(price["source"] for price in data["prices"].values())
    assert data["left_out"]


def test_chips_have_no_total_while_a_term_has_no_price(residual, trace):
    counts = count(residual, trace)
    told = {t["target"]: t for t in estimate_energy(counts).to_json()["other_targets"]}
    assert {"loihi1", "loihi2", "speck", "truenorth"} <= told.keys()
    sops = sum(c.sops for c in counts.connections if not c.from_input)
    loihi1 = told["loihi1"]
    assert loihi1["energy_pj"] is None
    assert [t["count"] for t in loihi1["terms"] if t["price"] == "loihi1_synaptic_op"] == [sops]
    assert loihi1["priced_pj"] == pytest.approx(sum(t["energy_pj"] for t in loihi1["terms"]), rel=1e-12)
    assert {"spike routing", "static power"} <= {t["what"] for t in loihi1["unpriced"]}
    assert told["truenorth"]["terms"][0]["energy_pj"] == pytest.approx(26 * sops, rel=1e-12)
    for chip in ("loihi2", "speck", "xylo_audio2", "akida1"):
        assert (told[chip]["terms"], told[chip]["priced_pj"], told[chip]["energy_pj"]) == ([], None, None)
        assert all(t["why"] for t in told[chip]["unpriced"])


def test_the_matched_baseline_has_as_many_bits_as_the_spikes_have_levels(residual, trace):
    report = estimate_energy(count(residual, trace))
    matched = report.baselines[2]
    assert matched.name == "5-bit ANN"  # phi 4 * T 5 + 1 = 21 levels
    assert matched.energy is None
    assert "int8_mac" in matched.rule


def test_neurobench_definitions(residual, trace):
    nb = estimate_energy(count(residual, trace)).to_json()["neurobench"]
    payloads = np.concatenate([trace.spikes[n].ravel() for n in ("stem", "down", "plain", "pool")])
    assert nb["activation_sparsity"] == np.count_nonzero(payloads == 0) / payloads.size
    weights = np.concatenate(
        [o.weight.ravel() for c in residual.connections for o in c.operators if hasattr(o, "weight")]
    )
    assert nb["connection_sparsity"] == np.count_nonzero(weights == 0) / weights.size
    assert nb["footprint"] == weights.size + 3 * (3 * (3 + 6 + 6) + 10)


def test_tables_fit_a_narrow_terminal(residual, trace):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(estimate_energy(count(residual, trace)))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "stem" in text
    assert "static power" in text


def test_a_trace_of_another_netlist_is_refused(residual, trace):
    other = Netlist(residual.populations, residual.connections, timesteps=6)
    with pytest.raises(InputError, match="is of netlist"):
        count(other, trace)


def test_operators_without_weights_have_no_macs():
    shape = (2, 3, 3)
    chain = (Permute((0, 2, 1)), Resample((np.array([[1], [1], [1]]).repeat(3, 1), np.eye(3, dtype=np.int64) * 2)))
    net = Netlist(
        populations=(source(shape), readout("r", (2, 3, 3))),
        connections=(Connection("input", "r", chain),),
        timesteps=1,
    )
    found = synapses(net, net.connections[0])
    expected, _ = brute_force_fan_out(chain, shape)
    assert np.array_equal(found.fan_out, expected)
    assert found.counts.macs == 0
    assert found.counts.kind == "Identity"


class TestPrices:
    def test_every_price_names_its_source(self):
        prices = read_prices()
        assert prices["fp32_mac"].value == Decimal("4.6")
        assert prices["int8_mac"].value == Decimal("0.23")
        assert all(p.source and p.node and p.voltage and p.precision for p in prices.values())

    def test_own_prices_are_read(self, tmp_path, residual, trace):
        text = (read_prices.__globals__["files"]("toolchain.energy") / "prices.toml").read_text()
        path = tmp_path / "mine.toml"
        path.write_text(text.replace("value = 0.9\n", "value = 1.25\n"))
        report = estimate_energy(count(residual, trace), read_prices(path))
        assert report.prices["fp32_add"].value == Decimal("1.25")
        assert "1.25 x SOPs" in report.snn[0].rule

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[fp32_mac", "no valid TOML"),
            ("[fp32_mac]\nvalue = 1", "keys"),
            ('[x]\nvalue="1"\nunit="pJ"\nnode="a"\nvoltage="b"\nprecision="c"\nsource="d"', "expected a number"),
            ('[x]\nvalue=1\nunit="nJ"\nnode="a"\nvoltage="b"\nprecision="c"\nsource="d"', "expected 'pJ'"),
            ('[x]\nvalue=1\nunit="pJ"\nnode="a"\nvoltage="b"\nprecision="c"\nsource=""', "source is empty"),
            ('[x]\nvalue=1\nunit="pJ"\nnode="a"\nvoltage="b"\nprecision="c"\nsource="d"', "no price for"),
        ],
    )
    def test_bad_lists_are_refused(self, tmp_path, text, message):
        path = tmp_path / "prices.toml"
        path.write_text(text)
        with pytest.raises(FormatError, match=message):
            read_prices(path)

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            read_prices(tmp_path / "none.toml")
