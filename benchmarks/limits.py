"""What the simulator's time is made of, against what this machine can do at most.

    python benchmarks/limits.py [--json]

One thread, processor time. Measures the processor's int8 and float32 products and its copying speed, then VGG16
(batch 32, T = 8) stage by stage: convolution, pooling, neuron scan, and the rest (calls, Python). Last,
what the event kernel saves: whole networks with and without it, interleaved.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from math import prod
from time import process_time
from typing import Any

import numpy as np
import torch
from measure import finish, interleave, print_table, ratio
from resnet20 import random_resnet20
from vgg16 import vgg16

from sim import arrange, compile_netlist, currents, scan
from sim.currents import ByteConv, ByteMatrix
from sim.events import EventConv
from sim.layer import Layer
from sim.parts import PART_BYTES, LoopLayer
from sim.processor import has_byte_kernels, multiply_bytes, pack_matrix
from toolchain.netlist import Connection, Conv, Linear, Netlist, chain_shapes


def best(function: Callable[[], object], rounds: int = 7) -> float:
    seconds = []
    for _ in range(rounds):
        start = process_time()
        function()
        seconds.append(process_time() - start)
    return min(seconds)


def machine_limits() -> dict[str, float | None]:
    """Measure products per second (large matrices) and bytes copied per second (out of cache)."""
    size = 1024
    a, b = torch.rand(size, size), torch.rand(size, size)
    macs = size**3
    int8 = None
    if has_byte_kernels():
        payload = torch.randint(0, 5, (size, size), dtype=torch.uint8)
        packed = pack_matrix(torch.randint(-128, 128, (size, size), dtype=torch.int8))
        ones, zeros = torch.ones(size), torch.zeros(size, dtype=torch.int32)
        int8 = macs / best(lambda: multiply_bytes(payload, packed, ones, zeros), 20) / 1e9
    large = np.zeros(2**28, np.uint8)
    copy = np.empty_like(large)
    return {
        "int8 GMAC/s": int8,
        "float32 GMAC/s": macs / best(lambda: a @ b, 20) / 1e9,
        "copy GB/s (read + write)": 2 * large.nbytes / best(lambda: np.copyto(copy, large)) / 1e9,
    }


def macs_per_step(netlist: Netlist, connection: Connection) -> int:
    """Count the products of one timestep, padding left out."""
    shapes = chain_shapes(connection.operators, netlist[connection.source].shape)
    total = 0
    for operator, before, after in zip(connection.operators, shapes, shapes[1:], strict=False):
        if isinstance(operator, Conv):
            taps = 1
            for n, out, k, s, (pad, _) in zip(
                before[1:], after[1:], operator.weight.shape[2:], operator.stride, operator.padding, strict=True
            ):
                taps *= sum(0 <= o * s + i - pad < n for o in range(out) for i in range(k))
            total += after[0] * operator.weight.shape[1] * taps
        elif isinstance(operator, Linear):
            total += prod(operator.weight.shape)
    return total


class Stopwatch:
    """Adds up the time that functions of a module take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, module: Any, name: str, stage: str) -> Callable[[], None]:
        """Time a function until the returned function is called."""
        original = getattr(module, name)

        def timed(*arguments: Any) -> Any:
            start = process_time()
            result = original(*arguments)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + process_time() - start
            return result

        setattr(module, name, timed)
        return lambda: setattr(module, name, original)


def stages(layer: Layer, spikes: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the seconds of each stage in the fastest of some runs."""
    runs = []
    for _ in range(5):
        watch = Stopwatch()
        undo = [
            watch.wrap(currents, "convolve_bytes", "products"),
            watch.wrap(currents, "multiply_bytes", "products"),
            watch.wrap(EventConv, "fire", "events"),
            watch.wrap(arrange, "sum_pool", "pool"),
            watch.wrap(scan, "fire", "scan"),
        ]
        start = process_time()
        layer.run(spikes)
        total = process_time() - start
        for restore in undo:
            restore()
        runs.append({**watch.seconds, "total": total})
    fastest = min(runs, key=lambda r: r["total"])
    if isinstance(layer, LoopLayer) and "scan" not in fastest and "events" in fastest:
        # Over events, products and scan are one call.
        fastest["scan"] = scan_alone(layer) * spikes[layer.sources[0]].shape[1]
        fastest["events"] -= fastest["scan"]
    return fastest


def scan_alone(layer: LoopLayer) -> float:
    """Return the seconds that the neuron scan of one sample takes, its currents in cache as they are after products."""
    c, neurons = layer.constants, prod(layer.population.shape)
    samples = max(1, PART_BYTES // (layer.timesteps * layer.bytes_per_timestep))
    current = np.zeros((samples, layer.timesteps, neurons), np.float32)
    burst, no_skip = np.empty(current.shape, np.uint8), np.empty((samples, 0, 1), np.uint8)
    fixed = c.skip_weight, c.theta, c.inverse, c.bias, c.initial, c.no_state, np.arange(samples)
    return best(lambda: scan.fire(current, no_skip, *fixed, False, False, 4, 0.0, burst)) / samples


def without_events(layer: Layer) -> Layer:
    """Return the layer with dense kernels only."""
    currents = [
        (name, replace(c, events=None) if isinstance(c, ByteConv | ByteMatrix) else c) for name, c in layer.currents
    ]
    return replace(layer, currents=currents)


def gain_of_events(network: str, netlist: Netlist, payloads: np.ndarray) -> dict[str, Any]:
    """Time a whole network with and without the event kernel, by processor time."""
    simulator = compile_netlist(netlist)
    dense = replace(simulator, layers=tuple(without_events(layer) for layer in simulator.layers))
    functions = {"events": lambda: simulator.run(payloads), "dense": lambda: dense.run(payloads)}
    seconds = interleave(functions, 15, clock=process_time)
    return {
        "network": network,
        "events ms": 1e3 * min(seconds["events"]),
        "dense ms": 1e3 * min(seconds["dense"]),
        "dense over events": ratio(seconds, "dense", "events"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    torch.set_num_threads(1)
    limits = machine_limits()
    print_table("one core, at most", [limits])

    benchmark = vgg16(32)
    netlist, samples = benchmark.netlist, len(benchmark.payloads)
    spikes = {netlist.input.name: torch.from_numpy(benchmark.payloads)[None]}
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for layer in compile_netlist(netlist).layers:
            name = layer.population.name
            layer.run(spikes)
            seconds = stages(layer, spikes)
            dense = without_events(layer)
            without = best(lambda run=dense.run: run(spikes))
            (connection,) = netlist.inputs(name)
            steps = spikes[connection.source].shape[0] * samples
            macs = macs_per_step(netlist, connection) * steps
            products, total = seconds.get("products"), seconds["total"]
            events = seconds.get("events", 0.0)
            convolved = (products or 0.0) + events
            known = sum(seconds.get(stage, 0.0) for stage in ("products", "events", "pool", "scan"))
            rows.append(
                {
                    "layer": name,
                    "kernel": type(layer.currents[0][1]).__name__,
                    "channels that fire": float((spikes[connection.source] != 0).any(0).float().mean()),
                    "GMAC": macs / 1e9,
                    "dense ms": None if products is None else 1e3 * products,
                    # Listing what fires and asking whether events are worth it; all of it where they are.
                    "events ms": 1e3 * events,
                    "dense GMAC/s": macs / convolved / 1e9 if convolved else None,
                    "scan ms": 1e3 * seconds.get("scan", 0.0),
                    "pool ms": 1e3 * seconds.get("pool", 0.0),
                    "rest ms": 1e3 * (total - known),
                    "total ms": 1e3 * total,
                    "total without events ms": 1e3 * without,
                }
            )
            spikes[name] = layer.run(spikes).output
    sums = {
        key: (sum(row[key] or 0.0 for row in rows) if rows[0][key] is None or isinstance(rows[0][key], float) else "")
        for key in rows[0]
    }
    sums["layer"], sums["channels that fire"] = "all", None
    sums["dense GMAC/s"] = sums["GMAC"] / (sums["dense ms"] + sums["events ms"]) * 1e3
    print_table("VGG16, batch 32, T = 8, one core", [*rows, sums])
    resnet20 = random_resnet20()
    low, high = resnet20.input.payload_range
    noise = np.random.default_rng(0).integers(low, high + 1, (samples, *resnet20.input.shape))
    gains = [
        gain_of_events(f"VGG16, {benchmark.weights} weights", netlist, benchmark.payloads),
        gain_of_events("ResNet-20, random weights", resnet20, noise),
    ]
    print_table("with and without the event kernel, batch 32, T = 8, one core", gains)
    finish("limits", {"limits": limits, "layers": rows, "total": sums, "events": gains}, as_json=options.json)


if __name__ == "__main__":
    main()
