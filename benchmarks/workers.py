"""Speed-up over workers of a local Dask cluster: a data set evaluated.

    python benchmarks/workers.py [--json] [--pictures 2000]

Each number of workers is a cluster of its own, with one thread a worker. A first, small run starts the
workers (imports, compiled loops) and is not timed. Results are checked to be those of this process.
"""

import argparse
import os
import time
from typing import Any

import numpy as np
from measure import finish, print_table
from resnet20 import random_resnet20

from sim.threads import one_thread
from toolchain.data import Dataset, Truth
from toolchain.evaluate import Evaluation, evaluate
from toolchain.netlist import Netlist


def evaluated(executor: str, netlist: Netlist, data: Dataset) -> tuple[Evaluation, float]:
    """Evaluate and return wall seconds, the transfer of the pictures included."""
    started = time.perf_counter()
    result = evaluate(netlist, data, executor=executor)
    return result, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--pictures", type=int, default=2000)
    options = parser.parse_args()
    # Dask lets its workers give freed memory back at once: every layer would fetch its pages anew.
    os.environ.update(MALLOC_TRIM_THRESHOLD_=str(2**33), MALLOC_MMAP_THRESHOLD_=str(2**30))
    from distributed import LocalCluster

    netlist = random_resnet20()
    values = np.random.default_rng(0).normal(size=(options.pictures, *netlist.input.shape)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, netlist.readouts[0].shape[0], options.pictures)
    data = Dataset("noise", values, Truth(labels))
    few = data.select(np.arange(128))
    with one_thread():
        evaluated("local:1", netlist, few)
        expected, alone = evaluated("local:1", netlist, data)
    rows: list[dict[str, Any]] = [{"where": "this process, one thread", "seconds": alone, "speed-up": 1.0}]
    for workers in (1, 2, 4):
        with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
            executor = cluster.scheduler_address.replace("tcp://", "dask://")
            evaluated(executor, netlist, few)
            found, seconds = evaluated(executor, netlist, data)
        if found.accuracy_by_timestep != expected.accuracy_by_timestep or (
            found.synaptic_operations_per_sample != expected.synaptic_operations_per_sample
        ):
            raise SystemExit("benchmarks/workers.py: the cluster computes another result than this process")
        rows.append({"where": f"Dask, workers: {workers}", "seconds": seconds, "speed-up": alone / seconds})
    print_table(f"{options.pictures} pictures, ResNet-20's shape, T = {netlist.timesteps}", rows)
    finish("workers", {"pictures": options.pictures, "evaluation": rows}, as_json=options.json)


if __name__ == "__main__":
    main()
