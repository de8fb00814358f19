"""Kernels: whichever is chosen, by bound, shape or processor, the sums are those of the definition."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import compile_netlist, currents, event_loops, event_pixels, events, golden, scan, simulate, vnni
from sim.activity import Counter, sums_on_device
from sim.columns import ColumnProduct, compile_plain
from sim.currents import ByteConv, ByteMatrix, FloatCurrent, compile_current
from sim.processor import has_byte_kernels, has_integer_products
from sim.threads import each_alone, for_each
from toolchain.netlist import (
    AdaFire,
    Connection,
    Conv,
    Input,
    Linear,
    NetlistError,
    Pad,
    Permute,
    Reshape,
    Slice,
    SumPool,
    apply_chain,
)
from toolchain.network import chunks, each_chunk

needs_bytes = pytest.mark.skipif(not has_byte_kernels(), reason="this processor has no fast int8 products")


def _source(shape, signed=False, bits=8):
    return Input("input", shape, bits, signed, 1.0, np.zeros(shape[0]), np.ones(shape[0]))


def _check(operators, source, plain=False, device=None):
    """Run random and extreme payloads through the compiled connection; return its kernel."""
    rng = np.random.default_rng(0)
    low, high = source.payload_range
    random = rng.integers(low, high + 1, (3, *source.shape))
    payload = np.concatenate([random, np.full_like(random[:1], high), np.full_like(random[:1], low)])
    connection, given = Connection("input", "x", operators), torch.from_numpy(payload.astype(source.payload_dtype))
    if device is None:
        current = compile_current(connection, source, plain=plain)
    else:
        current, given = compile_plain(connection, source, torch.device(device)), given.to(device)
    got = current(given).cpu()
    expected = apply_chain(operators, payload, source.shape)
    np.testing.assert_array_equal(got.numpy(), expected)
    assert np.abs(expected).max() <= current.bound
    return current


def _weight(*shape, low=-128, high=128):
    return np.random.default_rng(1).integers(low, high, shape)


CHAINS = {
    "conv": ((Conv(_weight(16, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),), (8, 9, 9), ByteConv),
    "stride and dilation": ((Conv(_weight(5, 3, 3, 2), (2, 1), ((2, 2), (0, 0)), (2, 3)),), (3, 12, 11), ByteConv),
    "asymmetric padding": ((Conv(_weight(5, 3, 3, 3), (1, 1), ((0, 1), (2, 0)), (1, 1)),), (3, 6, 7), ByteConv),
    "groups": ((Conv(_weight(6, 2, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),), (6, 7, 7), ByteConv),
    "depthwise": ((Conv(_weight(16, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 16),), (16, 7, 7), ByteConv),
    "one axis": ((Conv(_weight(6, 4, 5), (2,), ((2, 2),), (1,)),), (4, 20), ByteConv),
    "tiny map": ((Conv(_weight(9, 5, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),), (5, 2, 2), ByteMatrix),
    "tiny map, groups": ((Conv(_weight(9, 2, 3, 3), (2, 1), ((1, 1), (2, 1)), (1, 1), 3),), (6, 2, 3), ByteMatrix),
    "tiny sequence": ((Conv(_weight(6, 4, 3), (1,), ((1, 1),), (1,)),), (4, 2), ByteMatrix),
    "pointwise": ((Conv(_weight(9, 5, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),), (5, 6, 7), ByteConv),
    "pointwise, stride": ((Conv(_weight(9, 5, 1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1)),), (5, 7, 8), ByteConv),
    "pointwise, one axis": ((Conv(_weight(9, 5, 1), (2,), ((0, 0),), (1,)),), (5, 9), ByteConv),
    "pointwise, padding": ((Conv(_weight(9, 5, 1, 1), (1, 1), ((1, 1), (0, 1)), (1, 1)),), (5, 6, 7), ByteConv),
    "linear": ((Linear(_weight(7, 12)),), (12,), ByteMatrix),
    "flattened": ((Reshape((24,)), Linear(_weight(7, 24))), (2, 3, 4), ByteMatrix),
    "structure": (
        (
            Slice(1, 1, 8, 2),
            Pad(((0, 0), (1, 0), (0, 2))),
            Permute((0, 2, 1)),
            Conv(_weight(5, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
            Reshape((5, 50)),
        ),
        (3, 8, 8),
        ByteConv,
    ),
    "two convolutions": (
        (
            Conv(_weight(4, 3, 3, 3, low=-4, high=4), (1, 1), ((1, 1), (1, 1)), (1, 1)),
            Conv(_weight(4, 4, 1, 1, low=-4, high=4), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        ),
        (3, 5, 5),
        FloatCurrent,
    ),
}


@pytest.mark.parametrize("case", CHAINS)
@pytest.mark.parametrize("bits", [4, 8])
def test_chains_equal_the_definition(case, bits):
    operators, shape, kind = CHAINS[case]
    current = _check(operators, _source(shape, bits=bits))
    if has_byte_kernels():
        assert isinstance(current, kind)
    assert isinstance(_check(operators, _source(shape, bits=bits), plain=True), FloatCurrent)


#: Where plain torch runs: on a CPU the same kernels as on CUDA.
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("bits", "signed"), [(7, False), (8, False), (8, True)])
@pytest.mark.parametrize("case", CHAINS)
def test_columns_equal_the_definition(case, bits, signed, device):
    operators, shape, kind = CHAINS[case]
    current = _check(operators, _source(shape, signed=signed, bits=bits), device=device)
    grouped = any(isinstance(o, Conv) and o.groups > 1 for o in operators)
    if has_integer_products(device):
        assert isinstance(current, FloatCurrent if grouped or kind is FloatCurrent else ColumnProduct)


@pytest.mark.parametrize("device", DEVICES)
def test_columns_of_volumes_pools_and_parts(device, monkeypatch):
    volume = Conv(_weight(5, 3, 3, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (1, 0)), (1, 1, 2))
    _check((volume,), _source((3, 6, 5, 7), bits=7), device=device)
    pool, conv = SumPool((2, 2), (2, 2), ((0, 1), (0, 0))), Conv(_weight(8, 4, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1))
    _check((pool, conv), _source((4, 7, 8), bits=4), device=device)  # 4 * 15 <= 127: bytes
    _check((pool, conv), _source((4, 7, 8), bits=6), device=device)  # 4 * 63 > 127: bytes taken as 128 less
    _check((pool, conv), _source((4, 7, 8), bits=7), device=device)  # 4 * 127 > 255: floats
    monkeypatch.setattr("sim.columns.COLUMN_BYTES", 1)
    _check((volume,), _source((3, 6, 5, 7), bits=7), device=device)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("kind", [torch.int8, torch.uint8])
def test_counts_on_a_device_are_those_of_the_loops(kind, held):
    rng = np.random.default_rng(0)
    info = torch.iinfo(kind)
    values = torch.from_numpy(rng.integers(info.min, info.max + 1, (1 if held else 5, 3, 4, 2, 3))).to(kind)
    values[0, 0, 0, 0, 0] = info.min
    for steps in (5, np.array([5, 2, 1])):
        counter = Counter()
        counter.count("x", values, steps)
        expected = counter.activity(3, 8, {})
        payloads, events = np.moveaxis(sums_on_device(values, steps).numpy(), -1, 1)
        np.testing.assert_array_equal(payloads, expected.payloads["x"])
        np.testing.assert_array_equal(events, expected.events["x"])


@needs_bytes
def test_pooled_bytes_stay_bytes_while_they_fit():
    pool, conv = SumPool((2, 2), (2, 2), ((0, 1), (0, 0))), Conv(_weight(8, 4, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1))
    assert isinstance(_check((pool, conv), _source((4, 7, 8), bits=5)), ByteConv)  # 4 * 31 <= 255
    assert isinstance(_check((pool, conv), _source((4, 7, 8), bits=7)), FloatCurrent)  # 4 * 127 > 255
    one = SumPool((3,), (2,), ((1, 1),))
    assert isinstance(_check((one, Conv(_weight(8, 4, 1), (1,), ((0, 0),), (1,))), _source((4, 9), bits=4)), ByteConv)


def test_signed_payloads_are_exact():
    _check((Conv(_weight(8, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),), _source((3, 9, 9), signed=True))


def test_the_type_follows_the_bound():
    """255 * 128 * 514 is just below 2**24, 255 * 128 * 515 above."""
    weight = np.full((4, 514), -128)
    _check((Linear(weight),), _source((514,)))
    assert (
        compile_current(Connection("input", "x", (Linear(weight),)), _source((514,)), plain=True).dtype == torch.float32
    )
    wide = np.full((4, 515), -128)
    current = _check((Linear(wide),), _source((515,)))
    assert isinstance(current, FloatCurrent)
    assert current.dtype == torch.float64


def test_weights_beyond_a_byte_take_floats():
    assert isinstance(_check((Linear(_weight(4, 9, low=-300, high=300)),), _source((9,))), FloatCurrent)


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_golden_without_byte_kernels(architecture, seed, make_netlist, make_payloads, monkeypatch):
    monkeypatch.setattr(currents, "has_byte_kernels", lambda: False)
    netlist = make_netlist(architecture, seed)
    payloads = make_payloads(netlist)
    got, expected = simulate(netlist, payloads), golden.simulate(netlist, payloads)
    for name, values in expected.populations.items():
        np.testing.assert_array_equal(got.populations[name], values)


PROGRAM = """
import json, sys
import numpy as np
from sim import simulate
from sim.processor import has_byte_kernels
from toolchain.files import read_netlist
netlist = read_netlist(sys.argv[1])
trace = simulate(netlist, np.load(sys.argv[2]))
np.savez(sys.argv[3], **trace.populations)
print(json.dumps(has_byte_kernels()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="oneDNN's switch is tested on Linux")
@pytest.mark.parametrize("instructions", ["AVX512_CORE", "AVX2", "SSE41"])
def test_processors_without_vnni_give_the_same(instructions, tmp_path, make_netlist, make_payloads):
    """oneDNN keeps to older instructions, whose int8 products saturate: the probe must notice."""
    from toolchain.files import write_netlist

    netlist = make_netlist("residual")
    payloads = make_payloads(netlist)
    write_netlist(netlist, tmp_path / "net.h5")
    np.save(tmp_path / "payloads.npy", payloads)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "net.h5", tmp_path / "payloads.npy", tmp_path / "out.npz"],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(result.stdout) is False
    expected = golden.simulate(netlist, payloads)
    with np.load(tmp_path / "out.npz") as got:
        for name, values in expected.populations.items():
            np.testing.assert_array_equal(got[name], values)


@pytest.mark.parametrize("device", DEVICES)
def test_plain_torch_gives_the_same(architecture, device, make_netlist, make_payloads, monkeypatch):
    monkeypatch.setattr("sim.compilation.has_loops", lambda population, device: False)
    netlist = make_netlist(architecture)
    payloads = make_payloads(netlist)
    got, expected = simulate(netlist, payloads, device=device), golden.simulate(netlist, payloads)
    for name, values in expected.populations.items():
        np.testing.assert_array_equal(got.populations[name], values)
    assert got.saturations == expected.saturations
    activity = compile_netlist(netlist, device=device).run(payloads, activity=True).activity
    for name, values in expected.spikes.items():
        np.testing.assert_array_equal(activity.payloads[name], np.abs(values.astype(np.int64)).sum((0, 1)))


@settings(max_examples=300)
@given(
    theta=st.integers(1, 2**20),
    phi=st.integers(1, 255),
    near=st.integers(0, 256),
    offset=st.integers(-2, 2),
    double=st.booleans(),
)
def test_the_scan_divides_exactly_at_every_multiple(theta, phi, near, offset, double):
    """Potentials around k * theta, where a rounded quotient would tip over."""
    potential = near * theta + offset
    kind = np.float64 if double else np.float32
    if not double and (4 * (phi + 1) * theta >= 2**24 or 2 * abs(potential) >= 2**24):
        return  # the layer would take float64: see scan_dtype
    constants = np.array([theta], kind)
    burst, left = np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1), kind)
    scan.fire(
        np.array([[[potential]]], kind),
        np.zeros((1, 0, 1), np.uint8),
        np.zeros(1, kind),
        constants,
        kind(1) / constants,
        np.zeros(1, kind),
        np.zeros(1, kind),
        left,
        np.zeros(1, np.int64),
        False,
        True,
        phi,
        0.0,
        burst,
    )
    expected, rest = golden.fire(np.array([potential]), np.array([theta]), phi)
    assert burst[0, 0, 0] == expected[0]
    assert left[0, 0] == rest[0]


EVENT_CONVS = {
    "plain": (Conv(_weight(32, 5, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), (5, 6, 7)),
    "wide": (Conv(_weight(64, 70, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), (70, 4, 4)),
    "stride": (Conv(_weight(32, 8, 3, 2), (2, 3), ((0, 0), (1, 1)), (1, 1)), (8, 9, 8)),
    "dilation": (Conv(_weight(32, 8, 3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2)), (8, 7, 7)),
    "narrow maps": (Conv(_weight(64, 9, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), (9, 4, 2)),
    "rows": (Conv(_weight(16, 20, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), (20, 5, 7)),
    "rows apart": (Conv(_weight(48, 5, 2, 3), (2, 1), ((1, 2), (1, 1)), (2, 1)), (5, 7, 6)),
    "rows of one pixel": (Conv(_weight(16, 4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), (4, 3, 1)),
    "one row": (Conv(_weight(16, 6, 3), (1,), ((1, 1),), (1,)), (6, 20)),
    "one axis": (Conv(_weight(32, 6, 5), (2,), ((2, 2),), (1,)), (6, 20)),
}


def _payloads_with_silence(shape, active, timesteps=8):
    """Three samples, timesteps after each other, of whose neurons the share `active` may fire."""
    rng = np.random.default_rng(0)
    fires = rng.random((3, 1, *shape)) < active
    return (rng.integers(0, 256, (3, timesteps, *shape)) * fires).astype(np.uint8).reshape(-1, *shape)


@pytest.mark.skipif(not vnni.has_instruction(), reason="the event kernel is made of AVX-512 VNNI, not found here")
@pytest.mark.parametrize("channels", [1, 4, 5, 16, 70])
@pytest.mark.parametrize("active", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("steps", vnni.STEPS)
def test_what_fires_is_listed_once_and_what_is_listed_fires(channels, active, steps):
    x = np.ascontiguousarray(np.moveaxis(_payloads_with_silence((channels, 7), active, steps), 1, -1))
    x = x.reshape(3, steps, 7, channels)
    most = event_loops.most_quads(7, channels)
    payloads, listed = np.full((3, most, 4, 4), 99, np.uint8), np.full((3, most, 4), 99, np.int32)
    starts = np.full((3, 8), 99)
    event_loops._list_active(x, payloads, listed, starts)
    for n, p in np.ndindex(3, 7):
        (expected,) = np.nonzero(x[n, :, p].any(0))
        count, some = len(expected), slice(starts[n, p], starts[n, p + 1])
        assert starts[n, p + 1] - starts[n, p] == -(-count // 4)
        np.testing.assert_array_equal(listed[n, some].ravel()[:count], channels * p + expected)
        # What fills the last four up is some channel of the pixel: its weights are read.
        assert (listed[n, some].ravel()[count:] == channels * p).all()
        by_step = np.moveaxis(payloads[n, some], 1, 0).reshape(4, -1)
        np.testing.assert_array_equal(by_step[:steps, :count], x[n, :, p, expected].T)
        assert not by_step[steps:].any()
        assert not by_step[:, count:].any()


def test_taps_that_see_one_pixel_after_the_other_are_one_run():
    taps = np.array([[-1, 0, 1, -1, 3, 4], [0, 1, 2, 3, 5, 4], [-1, -1, -1, -1, -1, -1]])
    runs = event_pixels._runs(taps)
    assert runs.tolist() == [
        [[0, 2, 1], [3, 5, 1], [0, 0, 0]],
        [[0, 4, 0], [5, 6, -1], [4, 5, 1]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ]


@pytest.mark.skipif(not vnni.has_instruction(), reason="the event kernel is made of AVX-512 VNNI, not found here")
@pytest.mark.parametrize("case", EVENT_CONVS)
@pytest.mark.parametrize("timesteps", [2, 3, 8, 9, 10])
@pytest.mark.parametrize("active", [0.0, 0.05, 0.3, 1.0])
def test_convolution_over_events_is_the_dense_one(case, timesteps, active, monkeypatch):
    # With AMX dense kernels win, but events are as exact.
    monkeypatch.setattr(events, "dense_speed", lambda weights: 1.0)
    monkeypatch.setattr(events, "COSTS", dict.fromkeys(events.COSTS, (1e-9, 0)))
    conv, shape = EVENT_CONVS[case]
    payload = _payloads_with_silence(shape, active, timesteps)
    kernel = events.compile_events(conv, shape)
    assert kernel is not None
    got = kernel.run(torch.from_numpy(payload), timesteps)
    assert got is not None
    np.testing.assert_array_equal(got.numpy(), apply_chain((conv,), payload.astype(np.int64), shape))
    monkeypatch.setattr(events, "COSTS", dict.fromkeys(events.COSTS, (2.0, 0)))
    kernel = events.compile_events(conv, shape)
    assert (kernel.run(torch.from_numpy(payload), timesteps) is None) == (active == 1.0)


@pytest.mark.skipif(not vnni.has_instruction(), reason="the event kernel is made of AVX-512 VNNI, not found here")
def test_events_are_left_to_dense_kernels_where_timesteps_make_no_groups_or_listing_costs_too_much(monkeypatch):
    monkeypatch.setattr(events, "dense_speed", lambda weights: 1.0)
    conv, shape = EVENT_CONVS["dilation"]
    payload = torch.from_numpy(_payloads_with_silence(shape, 0.05, 12))
    assert events.compile_events(conv, shape).run(payload, 12) is not None
    assert events.compile_events(conv, shape).run(payload[:33], 11) is None
    monkeypatch.setattr(events, "COSTS", dict.fromkeys(events.COSTS, (1.0, 10**6)))
    assert events.compile_events(conv, shape).run(payload, 12) is None


@pytest.mark.skipif(not vnni.has_instruction(), reason="the event kernel is made of AVX-512 VNNI, not found here")
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("steps", vnni.STEPS)
@pytest.mark.parametrize("channels", [64, 32, 16])
def test_convolution_over_events_is_exact_up_to_its_bound(sign, steps, channels, monkeypatch):
    """The largest products, as many as keep the bound below 2**24: 255 * 128 * 513."""
    monkeypatch.setattr(events, "dense_speed", lambda weights: 1.0)
    monkeypatch.setattr(events, "COSTS", dict.fromkeys(events.COSTS, (1e-9, 0)))
    conv = Conv(np.full((channels, 57, 3, 3), -128 if sign < 0 else 127), (1, 1), ((0, 0), (1, 1)), (1, 1))
    payload = np.full((steps, 57, 3, 3), 255, np.uint8)
    got = events.compile_events(conv, (57, 3, 3)).run(torch.from_numpy(payload), steps)
    np.testing.assert_array_equal(got.numpy(), apply_chain((conv,), payload.astype(np.int64), (57, 3, 3)))


def test_large_thresholds_take_double_precision(make_netlist, make_payloads):
    """A threshold whose multiples reach beyond float32: the layer must not divide in it."""
    from sim import compile_layer

    source = _source((3,))
    population = AdaFire("a", (2,), 15, np.array([400_001, 3]), np.array([399_999, 0]), np.array([1, 0]), np.ones(2))
    connection = Connection("input", "a", (Linear(_weight(2, 3)),))
    layer = compile_layer(population, [connection], {"input": source}, 2**23 - 1, 4)
    assert layer.dtype == torch.float64
    with pytest.raises(NetlistError, match="not a layer"):
        compile_layer(source, [connection], {"input": source}, 2**23 - 1, 4)


def test_arithmetic_stays_exact_while_any_thread_needs_it():
    """torch's switches are the process's: one thread that is done must not turn them back under another."""
    from sim.processor import exact_arithmetic

    def switches():
        backends = torch.backends
        return backends.cuda.matmul.allow_tf32, backends.cudnn.enabled, torch._C._get_nnpack_enabled()

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        outside = switches()
        assert any(outside)
        first, second = exact_arithmetic(), exact_arithmetic()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not any(switches())
        second.__exit__(None, None, None)
        assert switches() == outside
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_a_core_takes_one_part_and_starts_no_threads_of_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert for_each(lambda part: torch.get_num_threads(), range(4)) == [1] * 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_part_is_one_cores_even_the_only_one(count):
    """Chunks are worked off in waves, and the last may be of one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert each_alone(lambda part: torch.get_num_threads(), range(count)) == [1] * count
        assert list(each_chunk(lambda part: torch.get_num_threads(), chunks(32 * count, 1))) == [1] * count
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_part_reaches_the_caller(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    def work(part):
        if part == 3:
            raise ValueError("part 3")
        return part

    try:
        assert for_each(work, [0, 1, 2]) == [0, 1, 2]
        with pytest.raises(ValueError, match="part 3"):
            for_each(work, range(5))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
