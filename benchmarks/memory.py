"""Memory of a stream: flat in the number of pictures.

    python benchmarks/memory.py [--json] [--pictures 1000]

Each run is a process of its own, because the peak of resident memory never falls. ResNet-20's
shape (19 convolutions, skips) with seeded random weights, T = 8, batches of 50.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from measure import finish, print_table

BATCH = 50


def peak_megabytes() -> float:
    """Return the peak of resident memory of this process."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20


def run(pictures: int) -> dict[str, Any]:
    """Stream seeded random pictures; return peak memory and time."""
    from resnet20 import random_resnet20

    from sim import stream

    netlist = random_resnet20()

    def batches() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        for start in range(0, pictures, BATCH):
            yield rng.integers(-127, 128, (min(BATCH, pictures - start), *netlist.input.shape), dtype=np.int8)

    start, spikes = perf_counter(), 0
    for batch in stream(netlist, batches(), activity=True):
        spikes += sum(int(v.sum()) for name, v in batch.activity.payloads.items() if name != netlist.input.name)
    return {
        "pictures": pictures,
        "peak MiB": peak_megabytes(),
        "seconds": perf_counter() - start,
        "spikes per picture": spikes / pictures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--one", action="store_true", help="run in this process and print its figures")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(options.pictures)))
        return
    rows = []
    for pictures in (options.pictures // 5, options.pictures // 2, options.pictures):
        command = [sys.executable, Path(__file__), "--one", "--pictures", str(pictures)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print_table(f"ResNet-20 in batches of {BATCH}, T = 8", rows)
    growth = rows[-1]["peak MiB"] - rows[0]["peak MiB"]
    print(f"{options.pictures} pictures take {growth:.0f} MiB more than {rows[0]['pictures']}", file=sys.stderr)
    finish("memory", {"runs": rows, "growth_mib": growth}, as_json=options.json)
    if growth > 0.1 * rows[0]["peak MiB"]:
        sys.exit("benchmarks/memory.py: memory grows with the number of pictures")


if __name__ == "__main__":
    main()
