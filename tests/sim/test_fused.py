"""The kernel for a GPU, on a GPU where there is one, else in Triton's interpreter: equal to the golden step."""

import numpy as np
import pytest
import torch
from random_netlists import radix_netlist

import sim.fused
from sim import compile_early_exit, compile_netlist, compile_recording, golden, gpu, simulate
from sim.activity import sums_on_device
from sim.columns import ColumnProduct
from sim.fused import Blocks, FusedLayer
from toolchain.netlist import AdaFire, Connection, Conv, Input, Linear, Netlist, Readout, Reshape, SumPool, apply_chain

triton = pytest.importorskip("triton", reason="no Triton: torch's builds for CUDA bring one")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def _fused(monkeypatch):
    monkeypatch.setattr("sim.compilation.has_loops", lambda population, device: False)
    monkeypatch.setattr("sim.gpu.has_kernels", lambda device: True)


def assert_equals_golden(netlist, payloads):
    got, expected = simulate(netlist, payloads, device=DEVICE), golden.simulate(netlist, payloads)
    for name, values in expected.populations.items():
        np.testing.assert_array_equal(got.populations[name], values)
    assert got.saturations == expected.saturations


def test_equals_golden(architecture, make_netlist, make_payloads):
    netlist = make_netlist(architecture)
    assert_equals_golden(netlist, make_payloads(netlist))
    layers = compile_netlist(netlist, device=DEVICE).layers
    assert {type(layer) for layer in layers if isinstance(layer.population, AdaFire)} <= {FusedLayer}


@pytest.mark.parametrize("architecture", ["residual", "shortcut", "upsampling"])
def test_digits_equal_golden(architecture, make_payloads):
    """Numbers are bytes above 127: taken as 128 less."""
    netlist = radix_netlist(architecture, base=2, digits=8)
    simulator = compile_netlist(netlist, device=DEVICE)
    assert any(
        isinstance(current, ColumnProduct) and current.shift is not None
        for layer in simulator.layers
        for _, current in layer.currents
    )
    assert_equals_golden(netlist, make_payloads(netlist))


@pytest.mark.parametrize("blocks", [Blocks(16, 16, 32, 4, 2), Blocks(64, 32, 64, 4, 3), Blocks(32, 16, 128, 4, 2)])
def test_blocks_change_nothing(blocks, make_netlist, make_payloads, monkeypatch):
    monkeypatch.setattr(sim.fused, "choose_blocks", lambda *what: blocks)
    netlist = make_netlist("residual")
    assert_equals_golden(netlist, make_payloads(netlist))


@pytest.mark.parametrize("shape", [(64, 3, 3), (32, 2, 5), (40, 4, 3)])
def test_columns_of_whole_and_of_cut_taps(shape, make_payloads):
    """A block of columns lies within a tap, covers several, or ends in one."""
    rng = np.random.default_rng(0)
    weights = [rng.integers(-128, 128, (n, m, 3, 3)) for n, m in ((shape[0], 2), (6, shape[0]))]
    geometry = ((2, 1), ((1, 0), (1, 1)), (1, 1)), ((1, 1), ((1, 1), (2, 1)), (1, 2))
    source = Input("input", (2, *shape[1:]), 8, False, 1.0, np.zeros(2), np.ones(2))
    populations, connections, sizes = [], [], [(2, *shape[1:])]
    for index, (weight, place) in enumerate(zip(weights, geometry, strict=True)):
        conv = Conv(weight, *place)
        sizes.append(conv.output_shape(sizes[-1]))
        names = ("input", "a", "b")[index : index + 2]
        connections.append(Connection(*names, (conv,)))
        channels = np.full(len(weight), 1)
        populations.append(
            AdaFire(names[1], sizes[-1], 5, 5000 * channels, 7 * channels, 100 * channels, np.ones(len(weight)))
        )
    netlist = Netlist((source, *populations, _readout("b", sizes[-1], connections)), tuple(connections), 3)
    assert_equals_golden(netlist, make_payloads(netlist, 4))


def _readout(last, shape, connections):
    size = int(np.prod(shape))
    weight = np.random.default_rng(1).integers(-128, 128, (3, size))
    connections.append(Connection(last, "output", (Reshape((size,)), Linear(weight))))
    return Readout("output", (3,), np.zeros(3, np.int64), np.ones(3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("held", [False, True])
def test_counts_are_those_of_the_definition(dtype, held, monkeypatch):
    rng = np.random.default_rng(0)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max + 1
    values = rng.integers(low, high, (1 if held else 40, 30, 3, 5, 7)).astype(dtype)
    steps = rng.integers(0, 41, 30)
    given = torch.from_numpy(values).to(DEVICE)
    got = sums_on_device(given, steps).cpu().numpy()
    ran = np.arange(40)[:, np.newaxis] < steps
    magnitudes = np.broadcast_to(np.abs(values.astype(np.int64)), (40, 30, 3, 5, 7)) * ran[..., None, None, None]
    np.testing.assert_array_equal(np.moveaxis(got[0], -1, 0), magnitudes.sum((0, 1)))
    np.testing.assert_array_equal(np.moveaxis(got[1], -1, 0), np.count_nonzero(magnitudes, (0, 1)))
    with monkeypatch.context() as patch:
        patch.setattr("sim.gpu.has_kernels", lambda device: False)
        np.testing.assert_array_equal(sums_on_device(given, steps).cpu().numpy(), got)


@pytest.mark.parametrize(
    ("shape", "pool"),
    [
        ((5, 8, 9), SumPool((2, 3), (2, 2), ((0, 1), (1, 0)))),
        ((300, 4, 4), SumPool((4, 4), (4, 4), ((0, 0), (0, 0)))),
        ((5, 12), SumPool((3,), (2,), ((1, 1),))),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_windows_are_summed_as_defined(shape, pool, dtype):
    values = np.random.default_rng(0).integers(0 if dtype is np.uint8 else -7, 8, (3, *shape)).astype(dtype)
    given = torch.from_numpy(values).to(DEVICE).movedim(1, -1)
    got = gpu.sum_windows(pool, given).movedim(-1, 1).cpu().numpy()
    np.testing.assert_array_equal(got, apply_chain((pool,), values.astype(np.int64), shape))


def test_samples_stop_as_they_would_in_a_whole_run(make_netlist, make_payloads):
    """State goes on from block to block, and samples move up in it."""
    netlist = make_netlist("residual", timesteps=6)
    payloads = make_payloads(netlist, 6)
    alpha = (0.2,) * 6
    got = compile_early_exit(netlist, alpha=alpha, block=2, device=DEVICE).run(payloads)
    sums = golden.simulate(netlist, payloads).readout
    np.testing.assert_array_equal(got.readout, sums[got.timesteps - 1, np.arange(6)])
    assert len(set(got.timesteps)) > 1


def test_state_goes_on_from_sample_to_sample(make_netlist, make_payloads):
    netlist = make_netlist("saturating")
    payloads = make_payloads(netlist, 3)
    whole = compile_recording(netlist, device=DEVICE).run(payloads)
    parts = compile_recording(netlist, device=DEVICE)
    single = [parts.run(payloads[i : i + 1]) for i in range(3)]
    for name in whole.readouts:
        np.testing.assert_array_equal(whole.readouts[name], np.concatenate([r.readouts[name] for r in single], axis=1))


def test_no_samples_give_no_payloads(make_netlist, make_payloads):
    netlist = make_netlist()
    assert simulate(netlist, make_payloads(netlist, 0), device=DEVICE).readout.shape[1] == 0
