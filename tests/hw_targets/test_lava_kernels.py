"""The Lava models' connections equal the definition of the operators, on every number type."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw_targets.lava_runtime.blas import blas_environment, core_type
from hw_targets.lava_runtime.kernels import (
    build_burst,
    build_chain,
    build_kernel,
    build_window_maximum,
    chain_bound,
    exact_dtype,
)
from sim.golden import fire, max_over_windows
from toolchain.netlist import (
    BackendError,
    Connection,
    Conv,
    ConvTranspose,
    Input,
    Linear,
    MaxPool,
    Netlist,
    NetlistError,
    Pad,
    Permute,
    Readout,
    Resample,
    Reshape,
    Scale,
    Slice,
    SumPool,
    apply_chain,
    chain_shapes,
    partial_sum_bound,
)
from toolchain.netlist.shapes import size

spatial_axes = st.integers(1, 3)


def weights(draw, shape, bits):
    seed = draw(st.integers(0, 2**16))
    low = 2 ** (bits - 1)
    return np.random.default_rng(seed).integers(-low, low, shape)


def pairs(draw, axes, most=2):
    return tuple((draw(st.integers(0, most)), draw(st.integers(0, most))) for _ in range(axes))


def several(draw, axes, most):
    return tuple(draw(st.integers(1, most)) for _ in range(axes))


@st.composite
def operators(draw, shape, bits):
    """Draw an operator that fits `shape`."""
    axes = len(shape) - 1
    kinds = [Scale, Reshape, Permute, Slice, Pad]
    kinds += [Linear] if axes == 0 else [Conv, ConvTranspose, SumPool, Resample]
    kind = draw(st.sampled_from(kinds))
    groups = draw(st.sampled_from([g for g in (1, 2, shape[0]) if shape[0] % g == 0]))
    match kind.__name__:
        case "Conv":
            weight = weights(
                draw, (groups * draw(st.integers(1, 3)), shape[0] // groups, *several(draw, axes, 3)), bits
            )
            return Conv(weight, several(draw, axes, 3), pairs(draw, axes), several(draw, axes, 2), groups)
        case "ConvTranspose":
            weight = weights(draw, (shape[0], draw(st.integers(1, 3)), *several(draw, axes, 3)), bits)
            padding = tuple((draw(st.integers(0, 1)), draw(st.integers(-1, 1))) for _ in range(axes))
            return ConvTranspose(weight, several(draw, axes, 3), padding, groups)
        case "Linear":
            return Linear(weights(draw, (draw(st.integers(1, 6)), *shape), bits))
        case "Scale":
            return Scale(weights(draw, shape[:1], bits))
        case "SumPool":
            return SumPool(several(draw, axes, 3), several(draw, axes, 3), pairs(draw, axes, 1))
        case "Resample":
            return Resample(tuple(weights(draw, (draw(st.integers(1, 5)), n), 3) for n in shape[1:]))
        case "Reshape":
            return Reshape(draw(st.sampled_from([(size(shape),), (shape[0], size(shape[1:]))])))
        case "Permute":
            return Permute(tuple(draw(st.permutations(range(len(shape))))))
        case "Slice":
            axis = draw(st.integers(0, axes))
            start = draw(st.integers(0, shape[axis] - 1))
            return Slice(axis, start, draw(st.integers(start + 1, shape[axis])), draw(st.integers(1, 3)))
        case "Pad":
            return Pad(pairs(draw, len(shape)))


@st.composite
def connections(draw):
    """Draw a netlist of one connection: up to four operators on an input of one to four axes."""
    shape = tuple(draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 4))))
    bits = draw(st.sampled_from([2, 8, 16]))
    signed = draw(st.booleans())
    chain = []
    reached = shape
    for _ in range(draw(st.integers(0, 4))):
        operator = draw(operators(reached, bits))
        try:
            following = operator.output_shape(reached)
        except NetlistError:
            continue
        if size(following) <= 4000:
            chain.append(operator)
            reached = following
    source = Input("input", shape, 8, signed, 1.0, np.zeros(shape[0]), np.ones(shape[0]))
    readout = Readout("r", reached, np.zeros(reached[0], np.int64), np.ones(reached[0]))
    return Netlist((source, readout), (Connection("input", "r", tuple(chain)),), 1, weight_bits=16)


@given(connections(), st.integers(0, 2**16), st.integers(1, 3))
def test_kernels_equal_the_definition(netlist, seed, samples):
    (connection,) = netlist.connections
    low, high = netlist.payload_range("input")
    payload = np.random.default_rng(seed).integers(low, high + 1, (samples, *netlist.input.shape))
    payload = payload.astype(netlist.input.payload_dtype)
    # What 64 bits do not hold is refused, which is another test's.
    assume(chain_bound(connection.operators, max(-low, high)) < 2**63)
    kernel, bound = build_kernel(netlist, connection.source, connection.operators)
    expected = apply_chain(connection.operators, payload.astype(np.int64), netlist.input.shape)
    for _ in range(2):  # work buffers carry nothing over
        found = kernel(payload)
        assert found.dtype == exact_dtype(bound)
        np.testing.assert_array_equal(found.astype(np.int64), expected)


@given(connections())
def test_kernels_bound_their_sums_as_netlists_do(netlist):
    (connection,) = netlist.connections
    assume(chain_bound(connection.operators, max(map(abs, netlist.payload_range("input")))) < 2**53)
    _, bound = build_kernel(netlist, connection.source, connection.operators)
    assert bound >= partial_sum_bound(netlist, connection)


def test_padding_does_not_take_the_place_of_what_a_stride_skips():
    """One tap, as many outputs as inputs, and yet not one for one."""
    conv = Conv(np.ones((1, 1, 1), np.int64), (2,), ((0, 1),), (1,))
    kernel, _ = build_chain((conv,), (1, 2), 255)
    np.testing.assert_array_equal(kernel(np.array([[[217, 163]]], np.uint8)), [[[217, 0]]])


def test_every_operator_is_drawn():
    """The property test above is about all of them."""
    seen = set()

    @settings(max_examples=300, derandomize=True, database=None)
    @given(connections())
    def look(netlist):
        seen.update(type(o).__name__ for c in netlist.connections for o in c.operators)

    look()
    assert seen == {k.__name__ for k in (Conv, ConvTranspose, Linear, Scale, SumPool, Resample)} | {
        k.__name__ for k in (Reshape, Permute, Slice, Pad)
    }


@given(st.data())
def test_window_maximum(data):
    axes = data.draw(spatial_axes)
    shape = (data.draw(st.integers(1, 3)), *(data.draw(st.integers(2, 6)) for _ in range(axes)))
    kernel = several(data.draw, axes, 3)
    padding = tuple((data.draw(st.integers(0, k - 1)), data.draw(st.integers(0, k - 1))) for k in kernel)
    stride = several(data.draw, axes, 3)
    try:
        population = MaxPool("m", shape, kernel, stride, padding, 9)
    except NetlistError:
        return
    x = np.random.default_rng(data.draw(st.integers(0, 2**16))).integers(0, 30, (2, *shape))
    maximum = build_window_maximum(population.window, shape)
    np.testing.assert_array_equal(maximum(x), max_over_windows(x, population))


@pytest.mark.parametrize(
    ("bound", "dtype"),
    [(2**24 - 1, np.float32), (2**24, np.float64), (2**53 - 1, np.float64), (2**53, np.int64), (2**63 - 1, np.int64)],
)
def test_the_number_type_carries_the_bound(bound, dtype):
    assert exact_dtype(bound) == dtype
    assert int(np.array(bound, dtype)) == bound
    assert int(np.array(bound - 1, dtype)) == bound - 1


def test_more_than_64_bits_are_refused():
    with pytest.raises(BackendError, match="more than 64 bits"):
        exact_dtype(2**63)


def test_the_bound_is_reached():
    """Weights and payloads of one sign reach the bound: it is not only an upper limit."""
    chain = (
        Conv(np.full((1, 2, 3, 3), -128), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        SumPool((2, 2), (2, 2), ((0, 0), (0, 0))),
    )
    shape = (2, 4, 4)
    found = apply_chain(chain, np.full(shape, 255), shape)
    assert -int(found.min()) == chain_bound(chain, 255) == 128 * 2 * 9 * 4 * 255
    assert chain_shapes(chain, shape)[-1] == (1, 1, 1)


@given(st.data(), st.sampled_from([9, 24, 32]), st.sampled_from([1, 4, 255]))
def test_bursts_equal_integer_division(data, bits, phi):
    """Potentials at and around every multiple of the threshold, where rounding would show."""
    limit = 2 ** (bits - 1) - 1
    theta = data.draw(st.one_of(st.integers(1, limit), st.integers(max(1, limit - 300), limit), st.integers(1, 300)))
    multiples = np.array([0, 1, 2, 3, phi - 1, phi, phi + 1, limit // theta - 1, limit // theta]) * theta
    u = np.concatenate([multiples - 1, multiples, multiples + 1, data.draw(st.lists(st.integers(-limit, limit)))])
    u = np.clip(u, -limit, limit).astype(np.int64)
    expected, _ = fire(u, np.array(theta), phi)
    np.testing.assert_array_equal(build_burst(np.array(theta), phi, limit)(u), expected)


def test_blas_gets_what_the_processor_has(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    newest = "fpu sse2 avx2 fma avx512f avx512cd avx512bw avx512dq avx512vl amx_int8"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {newest}\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert blas_environment({}, cpuinfo)["OPENBLAS_CORETYPE"] == "SkylakeX"
    assert "OPENBLAS_CORETYPE" not in blas_environment({"OPENBLAS_CORETYPE": "ZEN"}, cpuinfo)
    assert blas_environment({}, tmp_path / "none") == {f"{n}_NUM_THREADS": "1" for n in ("OMP", "OPENBLAS", "MKL")}
    assert core_type(newest.replace("avx512vl", "").split()) == "Haswell"
    assert core_type(["sse2"]) is None
