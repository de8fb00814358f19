"""A netlist as a network of Lava Processes: one Process per population, one port per source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from lava.magma.core.model.model import AbstractProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import RunConfig

from hw_targets.lava_runtime.job import Job, LavaBatch
from hw_targets.lava_runtime.kernels import build_kernel
from hw_targets.lava_runtime.processes.leaky import (
    CubaLifModel,
    CubaLifProcess,
    LeakyReadoutModel,
    LeakyReadoutProcess,
)
from hw_targets.lava_runtime.processes.populations import (
    AdaFireModel,
    AdaFireProcess,
    MaxPoolModel,
    MaxPoolProcess,
    PopulationProcess,
    ReadoutModel,
    ReadoutProcess,
    SourceModel,
    SourceProcess,
    Types,
)
from hw_targets.lava_runtime.processes.windows import WindowModel, WindowProcess
from hw_targets.lava_runtime.task import Line, Messenger, Task
from hw_targets.schedule import Schedule, Window
from toolchain.netlist import AdaFire, CubaLif, Input, LeakyReadout, MaxPool, Netlist, Population, Readout

#: What runs each Process.
MODELS: dict[type[AbstractProcess], type[AbstractProcessModel]] = {
    model.implements_process: model
    for model in (
        SourceModel,
        AdaFireModel,
        WindowModel,
        MaxPoolModel,
        ReadoutModel,
        CubaLifModel,
        LeakyReadoutModel,
    )
}


class PopulationRun(RunConfig):
    """Runs every population on its fixed-point model, with ports and Vars as wide as it needs.

    It names each Process's model. Else Lava's compiler would look for them, which executes all files beside a Process
    once for every Process: half of the time that it takes.

    Parameters
    ----------
    processes : iterable of PopulationProcess
        All that will run.
    """

    def __init__(self, processes: Iterable[PopulationProcess]) -> None:
        super().__init__()
        self.exception_proc_model_map = {p: self.select(p, [MODELS[type(p)]]) for p in processes}

    def select(
        self, process: AbstractProcess, proc_models: list[type[AbstractProcessModel]]
    ) -> type[AbstractProcessModel]:
        """Return the Process's model, its Lava types replaced by the Process's own."""
        (model,) = proc_models
        types: Types = process.proc_params["types"]
        return type(model.__name__, (model,), dict(types))


def build_network(
    netlist: Netlist, schedule: Schedule, payloads: np.ndarray, batch: LavaBatch, job: Job, messenger: Messenger
) -> dict[str, PopulationProcess]:
    """Build and connect the Processes of a netlist.

    Parameters
    ----------
    netlist : Netlist
    schedule : Schedule
    payloads : ndarray (N, *shape), or (T, N, *shape) for frames
    batch : LavaBatch
    job : Job
        Its records and counters are created.
    messenger : Messenger

    Returns
    -------
    dict of str to PopulationProcess
        In the order of the netlist; all are connected, so that one call runs them all.
    """
    records = job.create_records(netlist, schedule, batch)
    counters = job.create_counters(netlist)
    sending = {p.name: schedule.sending(p.name, batch.rounds) for p in netlist.populations if p.emits}
    processes: dict[str, PopulationProcess] = {}
    ends: list[tuple[str, Any]] = []
    for index, population in enumerate(netlist.populations):
        window = schedule.window(population.name, batch.rounds)
        lines, bound = _lines(netlist, population, sending)
        task = Task(
            name=population.name,
            window=window,
            sending=sending.get(population.name, window),
            radix=netlist.radix,
            batch=batch,
            lines=tuple(lines.values()),
            limit=netlist.membrane_limit,
            record=records[population.name],
            counters=counters[index],
            messenger=messenger,
        )
        types: Types = {
            f"in_{i}": _payload_type(netlist, source, PyInPort.VEC_DENSE) for i, (source, _) in enumerate(lines)
        }
        if population.emits:
            types["out"] = _payload_type(netlist, population.name, PyOutPort.VEC_DENSE)
        common: dict[str, Any] = {
            "population": population,
            "lanes": batch.lanes,
            "inputs": tuple(netlist[source].shape for source, _ in lines),
            "task": task,
            "types": types,
        }
        process = _process(netlist, population, bound, payloads, common)
        ends += [(source, getattr(process, f"in_{i}")) for i, (source, _) in enumerate(lines)]
        processes[population.name] = process
    # All are there now: loops lead backwards.
    for source, port in ends:
        processes[source].out.connect(port)
    return processes


def _payload_type(netlist: Netlist, source: str, port: type) -> LavaPyType:
    """Return the Lava type of a port that carries a population's payload: 8 bits, and how many of them it uses."""
    low, high = netlist.payload_range(source)
    return LavaPyType(port, np.int8 if low < 0 else np.uint8, precision=max(-low, high).bit_length() + (low < 0))


def _lines(
    netlist: Netlist, population: Population, sending: Mapping[str, Window]
) -> tuple[dict[tuple[str, int], Line], int]:
    """Group a population's connections by source and delay; bound its whole current."""
    lines: dict[tuple[str, int], Line] = {}
    bound = 0
    for connection in netlist.inputs(population.name):
        source = connection.source
        for delay, operators in connection.parts:
            kernel, partial = build_kernel(netlist, source, operators)
            bound += partial
            line = lines.setdefault((source, delay), Line(sending[source], (), delay))
            line.kernels = (*line.kernels, kernel)
    if not lines and not isinstance(population, Input):
        # Lava runs the Processes that it can reach along ports: a population without inputs
        # hangs on a line of the input's that nothing is done with.
        lines[netlist.input.name, 0] = Line(sending[netlist.input.name], ())
    return lines, bound


def _process(
    netlist: Netlist, population: Population, bound: int, payloads: np.ndarray, common: dict[str, Any]
) -> PopulationProcess:
    """Build a population's Process; its state is as wide as the bound on its current asks for."""
    types: Types = common["types"]
    match population:
        case Input():
            return SourceProcess(payloads=payloads, **common)
        case AdaFire():
            # Before it is clipped: what the potential was, times the base in radix code, and all that is added.
            grown = netlist.membrane_limit * (1 if netlist.radix is None else netlist.radix.base)
            reach = bound + int(np.abs(population.bias).max()) + int(np.abs(population.initial).max()) + grown
            width = np.int32 if reach < 2**31 else np.int64
            names = ("u", "threshold", "bias", "initial")
            types.update({n: LavaPyType(np.ndarray, width, precision=netlist.membrane_bits) for n in names})
            if netlist.radix is None:
                return AdaFireProcess(**common)
            types["number"] = LavaPyType(np.ndarray, np.uint8)
            return WindowProcess(**common)
        case MaxPool():
            most = netlist.timesteps if netlist.radix is None else netlist.radix.greatest
            width = np.int32 if bound * most < 2**31 else np.int64
            types.update({n: LavaPyType(np.ndarray, width) for n in ("total", "maximum")})
            return MaxPoolProcess(**common)
        case CubaLif():
            return CubaLifProcess(**common)
        case LeakyReadout():
            return LeakyReadoutProcess(**common)
        case Readout():
            return ReadoutProcess(**common)
