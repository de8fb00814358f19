"""Programs that run lava-dl's own Network, in processes of their own: Lava changes how a process starts others."""

import json
import subprocess
import sys
import textwrap

RUN = """
    import sys
    import numpy as np
    from hw_targets.lava_runtime.netx_network import load_network
    from hw_targets.lava_runtime.shim import load_lava_dl

    load_lava_dl()
    from lava.lib.dl.netx.hdf5 import Network
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source


    def run(network, payloads, delay):
        '''Feed payloads (T, N, *shape), sample after sample; return what comes out, (T, N, *shape).'''
        timesteps, samples = payloads.shape[:2]
        stream = payloads.swapaxes(0, 1).reshape(timesteps * samples, *payloads.shape[2:])
        stream = stream.reshape(len(stream), *reversed(network.inp.shape)).transpose()
        source = Source(data=np.ascontiguousarray(stream, dtype=np.int32))
        sink = Sink(shape=network.out.shape, buffer=timesteps * samples + delay)
        source.s_out.connect(network.inp)
        network.out.connect(sink.a_in)
        source.run(RunSteps(timesteps * samples + delay), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        found = sink.data.get().astype(np.int64)[..., delay:].transpose()
        source.stop()
        return found.reshape(samples, timesteps, *found.shape[1:]).swapaxes(0, 1)
"""


def lava_dl(program, *arguments, timeout=120):
    """Run a program with `RUN` before it; return the JSON that it prints last."""
    text = textwrap.dedent(RUN) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
