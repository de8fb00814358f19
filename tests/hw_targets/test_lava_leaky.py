"""A recurrent network of leaky neurons on Lava's own Dense and LIF, beside ours: every spike at every timestep."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from hw_targets.lava_runtime import run_on_lava
from sim import golden, simulate
from toolchain.netlist import Connection, CubaLif, Input, Linear, Netlist, Readout

STOCK = """
    import sys
    import numpy as np
    from hw_targets.lava_runtime.shim import load_lava
    load_lava()
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.proc.lif.process import LIF

    data = np.load(sys.argv[1])
    timesteps = data["frames"].shape[0]
    source = Source(data=np.ascontiguousarray(data["frames"].T, np.int32))
    # Stock Dense cuts the lowest bit of weights of both signs: twice the weight, and a shift down of the sum.
    synapse = lambda name, bits: Dense(weights=2 * data[name], weight_exp=-1, num_message_bits=bits)

    def neurons(name):
        du, dv, theta, bias = (int(v) for v in data[name])
        return LIF(shape=(data[f"{name}_size"].item(),), du=du - 1, dv=dv, vth=theta, bias_mant=bias, bias_exp=3)

    a, b = neurons("a"), neurons("b")
    into, itself, onward, back = synapse("into", 5), synapse("itself", 0), synapse("onward", 0), synapse("back", 0)
    source.s_out.connect(into.s_in)
    for start, through, end in ((a, itself, a), (a, onward, b), (b, back, a)):
        start.s_out.connect(through.s_in)
        through.a_out.connect(end.a_in)
    into.a_out.connect(a.a_in)
    sinks = [Sink(shape=p.s_out.shape, buffer=timesteps + 2) for p in (a, b)]
    for process, sink in zip((a, b), sinks):
        process.s_out.connect(sink.a_in)
    source.run(RunSteps(timesteps + 2), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    # A synapse takes a step, and so a is one step behind the input, b two.
    found = [sink.data.get()[:, late : late + timesteps].T for late, sink in enumerate(sinks, 1)]
    source.stop()
    np.savez(sys.argv[2], a=found[0], b=found[1])
"""


@pytest.mark.lava
def test_a_recurrent_network_is_lavas(tmp_path):
    """A layer that feeds itself, another that it feeds and is fed by, graded frames: the same on stock processes."""
    rng, timesteps = np.random.default_rng(4), 60
    decays = {"a": (600, 200, 90, 0), "b": (2000, 500, 70, 0)}
    sizes = {"a": 9, "b": 6}
    weights = {
        "into": rng.integers(-20, 30, (9, 5)),
        "itself": rng.integers(-60, 61, (9, 9)),
        "onward": rng.integers(-60, 80, (6, 9)),
        "back": rng.integers(-60, 61, (9, 6)),
    }
    frames = rng.integers(0, 4, (timesteps, 5)) * (rng.random((timesteps, 5)) < 0.5)
    numbers = {f"{name}_size": np.array(n) for name, n in sizes.items()}
    np.savez(tmp_path / "given.npz", frames=frames, **weights, **decays, **numbers)
    command = [sys.executable, "-c", textwrap.dedent(STOCK), str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    stock = np.load(tmp_path / "found.npz")

    def population(name):
        du, dv, theta, bias = decays[name]
        full = lambda value: np.full(sizes[name], value, np.int64)  # noqa: E731
        return CubaLif(name, (sizes[name],), full(theta), full(du), full(dv), full(bias << 3))

    source = Input("input", (5,), 2, False, 1.0, np.zeros(5), np.ones(5), "frames")
    count = Readout("count", (6,), np.zeros(6, np.int64), np.ones(6))
    ends = {"into": ("input", "a", 0), "itself": ("a", "a", 1), "onward": ("a", "b", 0), "back": ("b", "a", 2)}
    connections = [Connection(s, t, (Linear(weights[name]),), delay) for name, (s, t, delay) in ends.items()]
    netlist = Netlist(
        (source, population("a"), population("b"), count), (*connections, Connection("b", "count", ())), timesteps
    )
    payloads = frames[:, np.newaxis].astype(np.uint8)
    traces = [golden.simulate(netlist, payloads), simulate(netlist, payloads), run_on_lava(netlist, payloads)]
    for name in ("a", "b"):
        assert 0.02 < stock[name].mean() < 0.98
        for trace in traces:
            np.testing.assert_array_equal(trace.spikes[name][:, 0], stock[name], err_msg=f"{name} of {trace.backend}")
