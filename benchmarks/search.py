"""How long searches take: ResNet-20 on CIFAR-10, T = 4, target phi 4, nothing cached.

    ADAFIRE_DATA=... python benchmarks/search.py [--json]

Wall and processor seconds of each conversion with a search, and what they are beyond the conversion without one; of
the search that follows the paper also the frontier of the sums.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from measure import finish, print_table, processor_seconds

from toolchain.convert import Recipe, convert_network
from toolchain.data import read_data
from toolchain.frontend import load_module, load_weights, read_module
from toolchain.search import pareto_frontier

EXAMPLE = Path(__file__).parent.parent / "examples" / "resnet20.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--samples", type=int, default=512)
    options = parser.parse_args()
    folder = os.environ.get("ADAFIRE_DATA")
    if not folder:
        print("skipped: set ADAFIRE_DATA to the folder of networks and data sets", file=sys.stderr)
        return
    module = load_module(f"{EXAMPLE}:resnet20")
    load_weights(module, Path(folder, "models", "resnet20_cifar10.safetensors"))
    data = read_data(Path(folder, "cifar10", "train_10k.npz"))
    network = read_module(module, data.shape)

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as cache:
        for what, fields in {
            "none, --calibrate advanced": {"calibrate": "advanced"},
            "channels, --compress --calibrate advanced": {"compress": True, "calibrate": "advanced"},
            "channels, --search --calibrate advanced": {"search": True, "calibrate": "advanced"},
            "layers, --search --calibrate light": {"search": True, "strategy": "layers", "calibrate": "light"},
            "layers, --search --compress --calibrate light (phi from the cache)": {
                "search": True,
                "calibrate": "light",
                "compress": True,
                "strategy": "layers",
            },
        }.items():
            recipe = Recipe(
                timesteps=4, phi=4, samples=options.samples, normalize="imagenet", cache=Path(cache), **fields
            )
            started, used = time.perf_counter(), processor_seconds()
            netlist = convert_network(network, data, recipe)
            wall, processor = time.perf_counter() - started, processor_seconds() - used
            without = rows[0] if rows else {"wall s": wall, "processor s": processor}
            search = netlist.provenance.search
            rows.append(
                {
                    "search": what,
                    "wall s": wall,
                    "processor s": processor,
                    # The conversion with light calibration is cheaper: of those rows less is beyond it than was spent.
                    "wall s beyond": wall - without["wall s"],
                    "processor s beyond": processor - without["processor s"],
                    **(asdict(search.measured) if search else dict.fromkeys(("divergence", "agreement", "operations"))),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    assert netlist.provenance.search is not None
    table = netlist.provenance.search.compression_table
    started = time.perf_counter()
    frontier = pareto_frontier(list(table.operations), list(np.maximum(table.increase, 0.0)))
    result = {"searches": rows, "frontier": {"nodes": len(frontier.cost), "seconds": time.perf_counter() - started}}
    print_table("Searches of ResNet-20, T = 4", rows)
    finish("search", result, as_json=options.json)


if __name__ == "__main__":
    main()
