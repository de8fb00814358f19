"""The reference simulator on a GPU against the float network there, in float16 and TF32.

    python benchmarks/gpu.py [--json] [--device cuda] [--batch 256] [--rounds 20]

VGG16, and ResNet-20's shape with random weights; 32x32, T = 8, phi = 4, interleaved in one process. Every function is
followed by a wait for the device; the simulator's payloads come from the host and its readouts go there. Readouts, the
last spikes and all counts are compared with those of the loops on the CPU, and these with the golden integer step.
`--device cpu` takes the plain kernels to the CPU: it shows that they compute the same, not how fast a GPU is.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from measure import finish, interleave, print_table, ratio
from resnet20 import random_resnet20
from simulator import check_against_golden
from vgg16 import ROOT, Benchmark, vgg16

from sim import Simulator, compile_netlist
from sim.columns import ColumnProduct
from sim.fused import FusedLayer
from toolchain.frontend import load_module


def compiled(benchmark: Benchmark, device: torch.device) -> Simulator:
    """Compile for a device; on a CPU without the loops that serve it otherwise."""
    plain = patch("sim.compilation.has_loops", lambda population, place: False)
    with plain if device.type == "cpu" else nullcontext():
        return compile_netlist(benchmark.netlist, device=device)


def check(benchmark: Benchmark, simulator: Simulator) -> int:
    """Compare with the loops on the CPU; return how many payloads and sums were compared."""
    last = benchmark.netlist.spiking[-1].name
    expected = compile_netlist(benchmark.netlist).run(benchmark.payloads, record=[last], activity=True)
    got = simulator.run(benchmark.payloads, record=[last], activity=True)
    pairs = [(expected.readout, got.readout), (expected.spikes[last], got.spikes[last])]
    assert expected.activity is not None
    assert got.activity is not None
    pairs += [(values, got.activity.payloads[name]) for name, values in expected.activity.payloads.items()]
    for one, other in pairs:
        if not np.array_equal(one, other):
            sys.exit("benchmarks/gpu.py: the device computes another result than the loops on the CPU")
    return sum(one.size for one, _ in pairs)


def ann(benchmark: Benchmark, device: torch.device, dtype: torch.dtype, tf32: bool) -> Callable[[], Any]:
    """Return the float network's forward pass on a device, channels-last."""
    pictures = benchmark.pictures.to(device, dtype)
    frozen = torch.jit.freeze(torch.jit.trace(deepcopy(benchmark.ann).to(device, dtype), pictures))

    def run() -> Any:
        matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        try:
            with torch.inference_mode():
                return frozen(pictures)
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution

    return run


def waiting(function: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """Return the function followed by a wait for the device."""

    def run() -> None:
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def resnet20(batch: int) -> Benchmark:
    """Return ResNet-20 with random weights: neither side's time depends on them."""
    rng = np.random.default_rng(0)
    payloads = rng.integers(-127, 128, (batch, 3, 32, 32)).astype(np.int8)
    module = load_module(f"{ROOT / 'examples' / 'resnet20.py'}:resnet20").eval().to(memory_format=torch.channels_last)
    pictures = torch.from_numpy(payloads / np.float32(64)).contiguous(memory_format=torch.channels_last)
    return Benchmark(module, random_resnet20(), pictures, payloads, "random")


def measure(benchmark: Benchmark, device: torch.device, rounds: int) -> dict[str, Any]:
    """Check and time one network; return the figures."""
    golden = check_against_golden(benchmark.netlist, benchmark.payloads[:2])
    simulator = compiled(benchmark, device)
    compared = check(benchmark, simulator)
    functions = {
        "ann float16": ann(benchmark, device, torch.float16, tf32=False),
        "ann tf32": ann(benchmark, device, torch.float32, tf32=True),
        "simulator": lambda: simulator.run(benchmark.payloads),
        "simulator, counting": lambda: simulator.run(benchmark.payloads, activity=True),
    }
    seconds = interleave({name: waiting(run, device) for name, run in functions.items()}, rounds)
    kernels = [type(current).__name__ for layer in simulator.layers for _, current in layer.currents]
    fused = sum(isinstance(layer, FusedLayer) for layer in simulator.layers)
    return {
        "weights": benchmark.weights,
        "values_equal": compared,
        "payloads_equal_to_golden": golden,
        "fused_layers": f"{fused} of {len(simulator.layers)}",
        "column_products": f"{kernels.count(ColumnProduct.__name__)} of {len(kernels)} connections",
        "ratio_to_ann_by_mode": {
            mode: ratio(seconds, "simulator", mode) for mode in functions if mode.startswith("ann")
        },
        "best_seconds": {name: min(s) for name, s in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: torch finds no CUDA device; --device cpu checks the same kernels on the CPU")

    networks = {}
    for name, make in (("VGG16", vgg16), ("ResNet-20", resnet20)):
        found = networks[name] = measure(make(options.batch), device, options.rounds)
        ratios = found["ratio_to_ann_by_mode"]
        print_table(
            f"{name}, batch {options.batch}, T = 8, on {device}",
            [
                {"what": what, "best ms": 1e3 * seconds, "simulator takes": ratios.get(what)}
                for what, seconds in found["best_seconds"].items()
            ],
        )
        print(
            f"equal to the loops on {found['values_equal']:,} values, these to the golden step on "
            f"{found['payloads_equal_to_golden']:,}",
            file=sys.stderr,
        )
    result = {
        "network": f"32x32, batch {options.batch}, T 8, phi 4",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "networks": networks,
    }
    finish(f"gpu_{device.type}", result, as_json=options.json)


if __name__ == "__main__":
    main()
