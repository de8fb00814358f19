"""Design rules: each one catches what it is for, all at once, and its fix works."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from random_netlists import radix_netlist
from rich.console import Console

from hw_targets.rules import RULES, check
from hw_targets.target import available_targets, load_target
from hw_targets.unroll import unroll
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    Input,
    Linear,
    MaxPool,
    Netlist,
    Readout,
    Reshape,
    SumPool,
    TargetError,
)
from toolchain.netlist.operators import Scale


def rules_of(report) -> set[str]:
    return {v.rule for v in report.violations}


def change(netlist: Netlist, name: str, **fields) -> Netlist:
    populations = tuple(replace(p, **fields) if p.name == name else p for p in netlist.populations)
    return replace(netlist, populations=populations)


def with_operators(netlist: Netlist, source: str, target: str, *operators) -> Netlist:
    connections = tuple(
        Connection(source, target, operators) if (c.source, c.target) == (source, target) else c
        for c in netlist.connections
    )
    return replace(netlist, connections=connections)


@pytest.mark.parametrize(
    ("target", "refused"), [("loihi2", False), ("loihi1", True), ("speck", True), ("akida1", False)]
)
def test_digits_need_a_neuron_that_multiplies(target, refused):
    netlist = radix_netlist("residual", digits=3)
    report = check(netlist, load_target(target))
    assert ("digits" in rules_of(report)) == refused
    assert any("multiplies_potential" in note for note in report.notes) == (target == "akida1")
    # One digit is not multiplied; rates never are.
    assert "digits" not in rules_of(check(radix_netlist("residual", digits=1), load_target(target)))
    with pytest.raises(TargetError, match="digits in base 2"):
        check(netlist, load_target(target), unroll=True)


def test_skips_wait_whole_windows():
    """A path of two layers more is two windows of 8 timesteps and the hop of a readout: more than a small delay."""
    chip = replace(load_target("loihi2"), delay=7)
    assert "skip_delay" in rules_of(check(radix_netlist("residual", digits=8), chip))
    assert "skip_delay" not in rules_of(check(radix_netlist("residual", digits=3), chip))


def test_each_rule_is_named_once_and_looks_at_numbers_that_exist():
    names = [rule.__name__ for rule, _ in RULES]
    assert len(set(names)) == len(names)
    facts = load_target("loihi2").facts
    assert all(name in facts for _, numbers in RULES for name in numbers)


@pytest.mark.parametrize(
    ("make", "target"),
    [
        *itertools.product(["resnet20", "vgg16"], ["loihi2", "kapoho_point", "hala_point"]),
        ("resnet20", "oheo_gulch"),
    ],
)
def test_real_shapes_pass_on_loihi2(make, target, request):
    report = check(request.getfixturevalue(make)(), load_target(target))
    assert report.passed, report.violations
    used, most = report.utilization["cores"]
    assert most is None or 0 < used <= most


def test_vgg16_takes_more_than_one_loihi2(vgg16):
    (cores,) = check(vgg16(), load_target("oheo_gulch")).violations
    assert (cores.rule, cores.limit, cores.actual) == ("core_cores", 128, 168)
    assert "kapoho_point" in cores.fix


def test_bursts_are_refused_for_loihi1_and_every_violation_has_a_fix(resnet20):
    report = check(resnet20(), load_target("kapoho_bay"))
    assert {"payload_width", "input_payload"} <= rules_of(report)
    assert all(v.fix for v in report.violations)
    payload = [v for v in report.violations if v.rule == "payload_width"]
    assert len(payload) == 19
    assert all((v.limit, v.actual, v.margin) == (1, 4, -3) for v in payload)
    assert "`unroll`" in payload[0].fix


def test_unrolled_bursts_pass_on_loihi1(fits_loihi1):
    target = load_target("kapoho_bay")
    assert rules_of(check(fits_loihi1, target)) == {"payload_width", "input_payload"}
    report = check(fits_loihi1, target, unroll=True)
    assert report.passed, report.violations
    assert report.utilization["payload"] == (1, 1)
    assert report.netlist_hash == fits_loihi1.content_hash


def test_the_other_fix_works_too(fits_loihi1):
    single = fits_loihi1
    for p in fits_loihi1.populations:
        if isinstance(p, AdaFire):
            single = change(single, p.name, phi=1)
    assert rules_of(check(single, load_target("kapoho_bay"))) == {"input_payload"}
    assert check(single, load_target("kapoho_bay"), unroll=True).passed


def test_a_membrane_without_room_for_gates_is_a_violation_with_its_numbers(fits_loihi1):
    report = check(fits_loihi1, replace(load_target("loihi1"), membrane_bits=14), unroll=True)
    assert "unroll_room" in rules_of(report)
    room = next(v for v in report.violations if v.rule == "unroll_room")
    assert room.limit == 2**13 - 1 < room.actual
    assert "lower `phi`" in room.fix


def test_burst_length(small_resnet):
    report = check(small_resnet, replace(load_target("loihi2"), phi=3))
    assert [(v.rule, v.where, v.limit, v.actual) for v in report.violations] == [("burst_length", "a", 3, 4)]


def test_weight_width(small_resnet):
    report = check(small_resnet, replace(load_target("loihi2"), weight_bits=(2, 4)))
    assert {v.where for v in report.violations} == {c.name for c in small_resnet.connections}
    assert all(v.fix == "use `weight_bits` of 4" for v in report.violations)


def test_weight_products(small_resnet):
    shape = small_resnet["a"].shape
    conv = next(c for c in small_resnet.inputs("b") if isinstance(c.operators[0], Conv)).operators[0]
    free = with_operators(small_resnet, "a", "b", conv, Scale(np.full(shape[0], 3)))
    assert rules_of(check(free, load_target("loihi2"))) == {"weight_products"}
    power = with_operators(small_resnet, "a", "b", conv, Scale(np.full(shape[0], 4)))
    assert check(power, load_target("loihi2")).passed


def test_weight_values(small_resnet):
    report = check(small_resnet, load_target("truenorth"))
    few = next(v for v in report.violations if v.rule == "weight_values" and v.where == "readout")
    row = small_resnet.inputs("readout")[0].operators[-1].weight
    assert (few.limit, few.actual) == (4, max(len(set(r[r != 0])) for r in row))


def test_threshold_field(small_resnet):
    theta = small_resnet["a"].threshold.copy()
    theta[0], theta[1] = 131073, 8
    report = check(change(small_resnet, "a", threshold=theta), load_target("loihi2"))
    assert [(v.rule, v.where, v.limit, v.actual) for v in report.violations] == [
        ("threshold_field", "a", 131072, 131073)
    ]
    assert "`target` loihi2" in report.violations[0].fix


def test_bias_field(small_resnet):
    bias = np.array([5001, 0, 0, 0])
    report = check(change(small_resnet, "b", bias=bias), load_target("loihi2"))
    assert [(v.rule, v.where, v.limit, v.actual) for v in report.violations] == [("bias_field", "b", 5000, 5001)]
    far = check(change(small_resnet, "b", bias=bias * 1000), load_target("loihi2"))
    assert far.violations[0].rule == "bias_field"
    assert "holds -4096 .. 4095 times up to 2**7" in far.violations[0].limit


def test_biases_where_the_chip_has_none(small_resnet):
    report = check(small_resnet, replace(load_target("loihi2"), biases=False))
    assert {v.where for v in report.violations if v.rule == "biases"} == {"a", "b", "readout"}


def test_membrane_range(small_resnet):
    narrow = replace(load_target("loihi2"), membrane_bits=15)
    report = check(small_resnet, narrow)
    assert rules_of(report) == {"membrane_range"}
    assert all(v.limit == 2**14 - 1 < v.actual for v in report.violations)
    # Where both saturate at the same width, the reference computes what the chip does.
    assert check(replace(small_resnet, membrane_bits=15), narrow).passed


def test_accumulator_range(small_resnet):
    report = check(small_resnet, replace(load_target("loihi2"), accumulator_bits=12))
    assert "accumulator_range" in rules_of(report)
    assert all(v.limit == 2**11 - 1 for v in report.violations)


def pooled(small_resnet) -> Netlist:
    shape = small_resnet["b"].shape
    pool = MaxPool("pool", shape, (2, 2), (2, 2), ((0, 0), (0, 0)), 3)
    size = int(np.prod(pool.shape))
    return Netlist(
        (*small_resnet.populations[:-1], pool, Readout("readout", (2,), np.zeros(2, int), np.ones(2))),
        (
            *(c for c in small_resnet.connections if c.target != "readout"),
            Connection("b", "pool", ()),
            Connection("pool", "readout", (Reshape((size,)), Linear(np.ones((2, size), int)))),
        ),
        3,
    )


def test_max_pooling(small_resnet):
    report = check(pooled(small_resnet), replace(load_target("loihi2"), max_pool=False))
    assert [(v.rule, v.where) for v in report.violations] == [("max_pooling", "pool")]
    assert "average" in report.violations[0].fix
    unknown = check(pooled(small_resnet), load_target("loihi2"))
    assert any(note.startswith("max_pooling") for note in unknown.notes)


@pytest.mark.parametrize(
    ("facts", "conv", "limit", "actual"),
    [
        ({"square_kernels": True}, {"kernel": (3, 1)}, "square", "3x1"),
        ({"kernel_sizes": (1, 5)}, {"kernel": (3, 3)}, "1, 5", "3x3"),
        ({"strides": (2,)}, {"kernel": (3, 3)}, "2", "stride 1"),
        ({"dilated_kernels": False}, {"kernel": (3, 3), "dilation": 2}, "no dilation", "dilation 2"),
        ({"grouped_kernels": False}, {"kernel": (3, 3), "groups": 2}, "no groups", "2 groups"),
    ],
)
def test_kernel_shape(facts, conv, limit, actual):
    kernel, dilation, groups = conv["kernel"], conv.get("dilation", 1), conv.get("groups", 1)
    operator = Conv(np.ones((2, 2 // groups, *kernel), int), (1, 1), ((0, 0), (0, 0)), (dilation, dilation), groups)
    shape = operator.output_shape((2, 8, 8))
    size = int(np.prod(shape))
    netlist = Netlist(
        (
            Input("input", (2, 8, 8), 8, False, 1.0, np.zeros(2), np.ones(2)),
            AdaFire("a", shape, 1, np.full(2, 64), np.zeros(2, int), np.zeros(2, int), np.ones(2)),
            Readout("readout", (1,), np.zeros(1, int), np.ones(1)),
        ),
        (
            Connection("input", "a", (operator,)),
            Connection("a", "readout", (Reshape((size,)), Linear(np.ones((1, size), int)))),
        ),
        2,
    )
    report = check(netlist, replace(load_target("loihi2"), **facts))
    assert [(v.rule, v.where, v.limit, v.actual) for v in report.violations] == [
        ("kernel_shape", "input->a", limit, actual)
    ]
    assert report.violations[0].fix


def test_skip_delay_destinations_fan_in_and_fan_out(small_resnet):
    target = load_target("loihi2")
    skip = check(
        replace(
            small_resnet,
            connections=(
                *small_resnet.connections,
                Connection("a", "readout", (Reshape((144,)), Linear(np.ones((3, 144), int)))),
            ),
        ),
        replace(target, delay=0),
    )
    assert [(v.rule, v.where, v.limit, v.actual) for v in skip.violations] == [("skip_delay", "a->readout", 0, 1)]
    assert check(small_resnet, replace(target, destinations=1)).passed
    assert check(small_resnet, replace(target, fan_in=144)).passed
    narrow = check(small_resnet, replace(target, fan_in=20))
    assert {(v.where, v.actual) for v in narrow.violations} == {("b", 37), ("readout", 144)}
    reach = check(small_resnet, replace(target, fan_out=36))
    assert [(v.rule, v.where, v.actual) for v in reach.violations] == [("fan_out_limit", "a", 37)]


def test_destinations(small_resnet):
    both = replace(
        small_resnet,
        connections=(
            *small_resnet.connections,
            Connection(
                "a",
                "readout",
                (SumPool((3, 3), (3, 3), ((0, 0), (0, 0))), Reshape((16,)), Linear(np.ones((3, 16), int))),
            ),
        ),
    )
    report = check(both, replace(load_target("loihi2"), destinations=1))
    assert [(v.rule, v.where, v.limit, v.actual) for v in report.violations] == [("destinations", "a", 1, 2)]


def test_channels_neurons_and_state(small_resnet):
    report = check(small_resnet, replace(load_target("loihi2"), inputs=16, outputs=2, neurons_per_chip=100, chips=1))
    found = {(v.rule, v.limit, v.actual) for v in report.violations}
    assert found == {
        ("channels_in_and_out", 16, 72),
        ("channels_in_and_out", 2, 3),
        ("neurons_per_chip", 100, 288),
    }
    state = check(small_resnet, replace(load_target("loihi2"), state_bytes_per_neuron=4))
    assert [(v.rule, v.limit, v.actual) for v in state.violations] == [("neuron_state", 4, 8)]


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ({"memory_bytes_per_core": 100}, "core_memory_bytes"),
        ({"synapse_bytes_per_core": 100}, "core_synapse_bytes"),
        ({"in_axons_per_core": 8}, "core_in_axons"),
        ({"chips": 1, "cores_per_chip": 2, "neurons_per_core": 50}, "core_cores"),
    ],
)
def test_a_network_too_large_by_one_resource_is_refused_naming_it(small_resnet, limits, rule):
    report = check(small_resnet, replace(load_target("loihi2"), **limits))
    assert rules_of(report) == {rule}
    assert all(v.margin < 0 and v.fix for v in report.violations)


def test_too_many_cores_name_a_system_that_has_enough(vgg16):
    report = check(vgg16(phi=1), load_target("kapoho_bay"))
    cores = next(v for v in report.violations if v.rule == "core_cores")
    assert (cores.limit, cores.actual) == (256, 691)
    assert "nahuku (4,096 cores)" in cores.fix
    assert report.utilization["cores"] == (691, 256)


def test_all_violations_are_shown_at_once(small_resnet):
    tight = replace(load_target("loihi1"), weight_bits=(2,), membrane_bits=12, in_axons_per_core=4, destinations=0)
    assert {
        "payload_width",
        "input_payload",
        "weight_width",
        "membrane_range",
        "destinations",
        "core_in_axons",
    } <= rules_of(check(small_resnet, tight))


@pytest.mark.parametrize("name", available_targets())
def test_a_report_can_be_printed_and_read_for_every_target(small_resnet, name):
    report = check(small_resnet, load_target(name))
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert {"target", "violations", "utilization"} <= told.keys()
    assert all({"rule", "where", "limit", "actual", "margin", "fix"} == v.keys() for v in told["violations"])
    assert all(len(pair) == 2 for pair in told["utilization"].values())
    console = Console(record=True, width=200)
    console.print(report)
    text = console.export_text()
    assert load_target(name).title in text
    for violation in report.violations:
        assert violation.rule in text


def test_what_no_source_states_is_noted(small_resnet):
    notes = check(small_resnet, load_target("loihi2")).notes
    assert "fan_in: no limit for fan_in (not published)" in notes
    assert any("no timesteps" in note for note in check(small_resnet, load_target("speck")).notes)


def test_the_unrolled_network_fits_the_fields_of_loihi1(fits_loihi1):
    """What `check` leaves out for unrolled networks is what unrolling proves, nothing else."""
    report = check(unroll(fits_loihi1).netlist, load_target("loihi1"))
    assert rules_of(report) <= {"membrane_range"}
