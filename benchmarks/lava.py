"""Lava: our Processes against stock Conv and LIF of the same shape, ResNet-20 as a whole, and ResNet-18 at 224x224.

    python benchmarks/lava.py [--json]

The stock models compute something else (hard reset, no bursts), so only their time is compared; our
run is checked against the reference simulator, payload by payload.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cost import convert_large
from measure import finish, print_table, processor_seconds
from resnet20 import random_resnet20

from hw_targets.lava_runtime.run import measure_on_lava
from hw_targets.lava_runtime.stock import compare_with_stock
from sim import simulate
from toolchain.netlist import AdaFire, Connection, Conv, Input, Linear, Netlist, Readout, Reshape

# This script's folder comes first on the path, where its own name would hide the package `lava`.
sys.path.remove(str(Path(__file__).parent))


def small_network() -> Netlist:
    """Return 3x32x32 -> 16 -> 32 -> 10: convolutions that stock Lava can run in bearable time."""
    rng = np.random.default_rng(0)

    def population(name: str, channels: int) -> AdaFire:
        threshold = np.full(channels, 4000, np.int64)
        zeros = np.zeros(channels, np.int64)
        return AdaFire(name, (channels, 32, 32), 4, threshold, zeros, threshold // 2, np.ones(channels))

    def conv(channels: int, inputs: int) -> Conv:
        return Conv(rng.integers(-127, 128, (channels, inputs, 3, 3)), (1, 1), ((1, 1), (1, 1)), (1, 1))

    readout = Readout("output", (10,), np.zeros(10, np.int64), np.ones(10))
    linear = Linear(rng.integers(-127, 128, (10, 32 * 32 * 32)))
    return Netlist(
        (
            Input("input", (3, 32, 32), 8, True, 1 / 64, np.zeros(3), np.ones(3)),
            population("a", 16),
            population("b", 32),
            readout,
        ),
        (
            Connection("input", "a", (conv(16, 3),)),
            Connection("a", "b", (conv(32, 16),)),
            Connection("b", "output", (Reshape((32 * 32 * 32,)), linear)),
        ),
        timesteps=8,
    )


def whole(network: str, netlist: Netlist, payloads: np.ndarray) -> dict[str, Any]:
    """Run a network and compare it with the reference; return what it took."""
    used = processor_seconds()
    run = measure_on_lava(netlist, payloads)
    processor = processor_seconds() - used
    compared = check(netlist, payloads, dict(run.trace.populations))
    timing = run.timing.to_json()
    rows: list[dict[str, Any]] = [{"phase": name, "seconds": s} for name, s in timing["phases"].items()]
    print_table(
        f"{network} on Lava, pictures: {len(payloads)}, T = {netlist.timesteps}, "
        f"equal to the reference on {compared:,} payloads",
        [
            *rows,
            {"phase": "all included", "seconds": timing["seconds"]},
            {"phase": "processor, all processes", "seconds": processor},
        ],
    )
    return {"pictures": len(payloads), "compared": compared, "processor_seconds": processor, **timing}


def check(netlist: Netlist, payloads: np.ndarray, populations: dict[str, np.ndarray]) -> int:
    """Compare a Lava run with the reference; return how many payloads were compared."""
    expected = simulate(netlist, payloads)
    for name, values in expected.populations.items():
        if not np.array_equal(values, populations[name]):
            sys.exit(f"benchmarks/lava.py: {name} on Lava differs from the reference")
    return sum(v.size for v in expected.populations.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--pictures", type=int, default=16)
    options = parser.parse_args()
    rng = np.random.default_rng(0)

    small = small_network()
    # The first steps touch memory for the first time: 256 make little of them.
    payloads = rng.integers(-127, 128, (32, 3, 32, 32), dtype=np.int8)
    stock = compare_with_stock(small, payloads).to_json()
    print_table(
        "3x32x32 -> 16 -> 32 -> 10, per timestep",
        [
            {"what": "stock Conv + LIF", "ms": 1e3 * stock["stock"], "times faster": 1.0},
            {"what": "ours, one sample at a time", "ms": 1e3 * stock["adafire"], "times faster": stock["ratio"]},
            {
                "what": f"ours, {stock['lanes']} samples side by side",
                "ms": 1e3 * stock["adafire_with_lanes"],
                "times faster": stock["ratio_with_lanes"],
            },
        ],
    )

    payloads = rng.integers(-127, 128, (options.pictures, 3, 32, 32), dtype=np.int8)
    resnet20 = whole("ResNet-20", random_resnet20(), payloads)
    netlist, pictures = convert_large("resnet18_224")
    resnet18 = whole("ResNet-18 at 224x224", netlist, pictures.payloads(netlist.input)[:1])
    finish("lava", {"stock": stock, "resnet20": resnet20, "resnet18_224": resnet18}, as_json=options.json)


if __name__ == "__main__":
    main()
