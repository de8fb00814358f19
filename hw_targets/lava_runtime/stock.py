"""The same layers on Lava's stock Conv and LIF, timed against our Processes.

The stock models compute something else (hard reset, no bursts), so only the time per step is compared:
same shapes, same weights, same payload, one step after the other. Run as a worker:
``python -m hw_targets.lava_runtime.stock JOBDIR``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hw_targets.lava_runtime.job import Job, LavaBatch, job_folder
from hw_targets.lava_runtime.run import measure_on_lava
from hw_targets.lava_runtime.shim import load_lava, require_lava
from hw_targets.lava_runtime.supervise import supervise
from hw_targets.lava_runtime.task import Messenger
from hw_targets.lava_runtime.worker import phase, serve
from toolchain.display import Displayed
from toolchain.netlist import AdaFire, Conv, InputError, Netlist, per_channel

if TYPE_CHECKING:
    from rich.console import RenderableType

WORKER = (sys.executable, "-P", "-m", "hw_targets.lava_runtime.stock")


@dataclass(frozen=True)
class StockComparison(Displayed):
    """Seconds per step of the same layers.

    Parameters
    ----------
    layers : tuple of str
        The `AdaFire` populations compared.
    steps : int
    stock, adafire : float
        Seconds per step on stock Conv and LIF, and on our Processes (one lane).
    lanes : int
        Samples side by side in the last figure.
    adafire_with_lanes : float
        Seconds per timestep of one sample with `lanes` samples side by side, filling the pipeline included.
    """

    layers: tuple[str, ...]
    steps: int
    stock: float
    adafire: float
    lanes: int
    adafire_with_lanes: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, ratios included."""
        return {
            **asdict(self),
            "ratio": self.stock / self.adafire,
            "ratio_with_lanes": self.stock / self.adafire_with_lanes,
        }

    def __rich__(self) -> RenderableType:
        """Show the times per step."""
        from rich.table import Table

        table = Table("processes", "ms per step", "ratio", title=f"{len(self.layers)} layers, {self.steps} steps")
        for name, seconds in (
            ("Lava's Conv and LIF", self.stock),
            ("ours", self.adafire),
            (f"ours, {self.lanes} samples side by side", self.adafire_with_lanes),
        ):
            table.add_row(name, f"{1e3 * seconds:.3g}", f"{self.stock / seconds:.3g}")
        return table


def compare_with_stock(
    netlist: Netlist, payloads: np.ndarray, *, lanes: int = 8, time_limit: float = 600
) -> StockComparison:
    """Time a sequence of convolutional layers on stock Processes and on ours.

    Parameters
    ----------
    netlist : Netlist
        A sequence input -> AdaFire -> ... -> AdaFire -> readout; every connection between `AdaFire`
        populations is one Conv over two axes. The readout has no stock counterpart and is left out there.
    payloads : ndarray (N, *shape), integer
        Direct coding; N * T steps are timed.
    lanes : int
    time_limit : float
        Seconds for each of the three runs.

    Returns
    -------
    StockComparison

    Raises
    ------
    InputError
        When the netlist is no such sequence.
    BackendError
        As `run_on_lava`.
    """
    layers = _convolutions(netlist)
    require_lava()
    samples = len(payloads)
    with job_folder() as job:
        job.write(netlist, payloads, LavaBatch(samples, 1))
        phases = supervise([*WORKER, str(job.folder)], job, time_limit=time_limit)
    single = measure_on_lava(netlist, payloads, lanes=1, time_limit=time_limit).timing
    several = measure_on_lava(netlist, payloads, lanes=lanes, time_limit=time_limit).timing
    return StockComparison(
        layers=tuple(population.name for population, _ in layers),
        steps=samples * netlist.timesteps,
        stock=phases["run"] / (samples * netlist.timesteps),
        adafire=single.step,
        lanes=several.lanes,
        adafire_with_lanes=several.phases["run"] / (samples * netlist.timesteps),
    )


def _convolutions(netlist: Netlist) -> list[tuple[AdaFire, Conv]]:
    """Return the one convolution into each `AdaFire` population of a sequence."""
    found: list[tuple[AdaFire, Conv]] = []
    before = netlist.input.name
    for population in netlist.populations[1:]:
        incoming = netlist.inputs(population.name)
        if [c.source for c in incoming] != [before]:
            raise InputError(population.name, f"fed by {[c.source for c in incoming]}, expected a sequence of layers")
        before = population.name
        if isinstance(population, AdaFire):
            match incoming[0].operators:
                case [Conv(weight=weight, padding=padding) as conv] if weight.ndim == 4 and all(
                    a == b for a, b in padding
                ):
                    found.append((population, conv))
                case _:
                    raise InputError(
                        incoming[0].name, "expected one Conv over two axes, with equal padding on both sides"
                    )
    return found


def run_stock(job: Job, messenger: Messenger) -> None:
    """Run a job's convolutional layers on Lava's own Conv and LIF."""
    load_lava()
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.conv.process import Conv as StockConv
    from lava.proc.io.source import RingBuffer
    from lava.proc.lif.process import LIF

    netlist, payloads, batch = job.read()
    # (W, H, C) and one payload per step, the sample of each T steps.
    frames = np.repeat(np.asarray(payloads, np.int32).transpose(3, 2, 1, 0), netlist.timesteps, axis=-1)
    source = RingBuffer(data=frames)
    last = source.s_out
    for population, conv in _convolutions(netlist):
        # True convolution in (C_out, W, H, C_in): flipped and transposed.
        weight = conv.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
        synapse = StockConv(
            weight=np.ascontiguousarray(weight, np.int32),
            input_shape=tuple(last.shape),
            stride=conv.stride[::-1],
            padding=tuple(before for before, _ in conv.padding)[::-1],
            dilation=conv.dilation[::-1],
            groups=conv.groups,
            num_message_bits=8,
        )
        bias = np.broadcast_to(per_channel(population.bias, population.shape), population.shape)
        neurons = LIF(
            shape=synapse.a_out.shape,
            du=4095,
            dv=0,
            vth=int(population.threshold.min()) >> 6,
            bias_mant=bias.transpose(2, 1, 0).astype(np.int32) >> 6,
        )
        last.connect(synapse.s_in)
        synapse.a_out.connect(neurons.a_in)
        last = neurons.s_out
    source.create_runtime(run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    with phase("run", messenger):
        source.run(condition=RunSteps(num_steps=batch.samples * netlist.timesteps))
    source.stop()


if __name__ == "__main__":
    sys.exit(serve(run_stock, sys.argv[1]))
