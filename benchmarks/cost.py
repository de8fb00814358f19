"""What a picture costs, layer by layer: a cost model, one picture of 224 x 224 from start to page, and ImageNet by it.

    python benchmarks/cost.py [--json] [--no-resnet50]

One thread, processor time. Every layer of ResNet-20, VGG16 and ResNet-18 runs on its own payloads; three rates, none
below zero, are fitted to all of them, errors weighed by what a layer takes: seconds per product, per neuron and
timestep, and per call of a layer. The model is compared with whole runs. ResNet-50 is not fitted: it says how far the
model goes.
"""

import argparse
import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from early_exit import converted
from limits import macs_per_step
from measure import finish, print_table
from networks import SUBJECTS
from scipy.optimize import nnls

import adafire
from sim import compile_netlist
from sim.reference import CHUNK_BYTES
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset
from toolchain.evaluate import evaluate
from toolchain.frontend import read_module
from toolchain.netlist import Netlist

#: Pictures of the validation set of ImageNet.
IMAGENET = 50_000


def least(function: Callable[[], object], rounds: int = 5) -> float:
    """Return the least processor seconds of some runs, after one that does not count."""
    function()
    seconds = []
    for _ in range(rounds):
        start = process_time()
        function()
        seconds.append(process_time() - start)
    return min(seconds)


def layer_rows(network: str, netlist: Netlist, payloads: np.ndarray) -> list[dict[str, Any]]:
    """Time every layer on its own payloads."""
    samples = len(payloads)
    spikes = {netlist.input.name: torch.from_numpy(payloads)[None]}
    rows = []
    with torch.inference_mode():
        for layer in compile_netlist(netlist).layers:
            name = layer.population.name
            connections = netlist.inputs(name)
            # A held input is multiplied once.
            products = sum(macs_per_step(netlist, c) * spikes[c.source].shape[0] for c in connections)
            weights = sum(getattr(o, "weight", np.empty(0)).size for c in connections for o in c.operators)
            rows.append(
                {
                    "network": network,
                    "layer": name,
                    "products per picture": products,
                    "neurons": prod(layer.population.shape),
                    "payload bytes per picture": prod(layer.population.shape) * netlist.timesteps,
                    "weight bytes": weights,
                    "batch": samples,
                    "ms per picture": 1e3 * least(lambda run=layer.run: run(spikes)) / samples,  # type: ignore[misc]
                }
            )
            spikes[name] = layer.run(spikes).output
    return rows


def features(rows: list[dict[str, Any]], timesteps: int) -> np.ndarray:
    """Return what each layer is made of, per picture: products, neurons times timesteps, calls."""
    return np.array([[r["products per picture"], r["neurons"] * timesteps, 1 / r["batch"]] for r in rows], float)


def fitted(rows: list[dict[str, Any]], timesteps: int) -> np.ndarray:
    """Return seconds per product, per neuron and timestep, and per call."""
    seconds = np.array([r["ms per picture"] for r in rows]) / 1e3
    scale = np.sqrt(seconds)
    rates, _ = nnls(features(rows, timesteps) / scale[:, np.newaxis], scale)
    return np.asarray(rates)


def compared(
    network: str, netlist: Netlist, payloads: np.ndarray, rows: list[dict[str, Any]], rates: np.ndarray
) -> Any:
    """Compare the model of a network with a run of the whole of it."""
    simulator = compile_netlist(netlist)
    measured = least(lambda: simulator.run(payloads), 3) / len(payloads)
    modelled = float((features(rows, netlist.timesteps) @ rates).sum())
    return {
        "network": network,
        "batch": len(payloads),
        "T": netlist.timesteps,
        "measured ms per picture": 1e3 * measured,
        "by the model": 1e3 * modelled,
        "payload MB per picture": sum(r["payload bytes per picture"] for r in rows) / 1e6,
        "weight MB": sum(r["weight bytes"] for r in rows) / 1e6,
    }


def one_picture(network: str, netlist: Netlist, picture: Dataset) -> dict[str, Any]:
    """Time everything that a first picture needs, once imported; compiled loops are in their cache."""
    payloads = picture.payloads(netlist.input)
    stages: dict[str, float] = {}

    def timed(stage: str, function: Callable[[], Any]) -> Any:
        start = process_time()
        result = function()
        stages[stage] = process_time() - start
        return result

    simulator = timed("compile", lambda: compile_netlist(netlist))
    timed("run", lambda: simulator.run(payloads))
    timed("simulate, counts included", lambda: evaluate(netlist, picture))
    timed("energy", lambda: adafire.energy(netlist, picture))
    with tempfile.TemporaryDirectory() as folder:
        timed("report, without Lava", lambda: adafire.report(netlist, picture, Path(folder, "page.html"), lava=0))
    return {"network": network, **{f"{stage} s": seconds for stage, seconds in stages.items()}}


def convert_large(network: str) -> tuple[Netlist, Dataset]:
    """Convert a network of large pictures by two of them: its accuracy is of no interest here."""
    subject = SUBJECTS[network](2)
    recipe = Recipe(samples=2, normalize=subject.normalize, calibrate="none", accept_collapse=True)
    return convert_network(
        read_module(subject.module.eval(), subject.pictures.shape), subject.pictures, recipe
    ), subject.pictures


def evaluation_overhead(netlist: Netlist, pictures: Dataset) -> float:
    """Return the processor seconds per picture of normalising and encoding, which the client of workers does."""
    return least(lambda: pictures.payloads(netlist.input), 3) / len(pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--no-resnet50", action="store_true", help="leave out the largest network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = {network: converted(network, 8) for network in ("resnet20", "vgg16")}
    large = {network: convert_large(network) for network in ("resnet18_224", "resnet50_224")[: 2 - options.no_resnet50]}
    pictures = [one_picture(network, netlist, data.select(np.arange(1))) for network, (netlist, data) in large.items()]
    cases |= {network: (netlist, data.payloads(netlist.input)) for network, (netlist, data) in large.items()}
    rows = {network: layer_rows(network, *case) for network, case in cases.items()}
    rates = fitted([r for network, found in rows.items() if network != "resnet50_224" for r in found], 8)
    table = [compared(network, *case, rows[network], rates) for network, case in cases.items()]
    model = {
        "GMAC/s": 1e-9 / rates[0],
        "ns per neuron and timestep": 1e9 * rates[1],
        "us per call of a layer": 1e6 * rates[2],
    }
    print_table("cost model, one thread, processor time", [model])
    print_table("whole networks", table)
    print_table("one picture of 224 x 224, from the netlist on", pictures)
    hours = []
    for row in table[2:]:
        netlist, data = large[row["network"]]
        client = evaluation_overhead(netlist, data)
        each = row["measured ms per picture"] / 1e3
        hours.append(
            {
                "network": row["network"],
                "one core, minutes": IMAGENET * each / 60,
                **{f"{n} workers, minutes": IMAGENET * each / n / 60 for n in (8, 32, 128)},
                "client, minutes": IMAGENET * client / 60,
                "payloads to send, GB": IMAGENET * prod(netlist.input.shape) / 1e9,
            }
        )
    print_table(f"{IMAGENET:,} pictures by it, T = 8", hours)
    result = {
        "model": model,
        "layers": [r for found in rows.values() for r in found],
        "networks": table,
        "one_picture": pictures,
        "imagenet": hours,
        "chunk_bytes": CHUNK_BYTES,
    }
    finish("cost", result, as_json=options.json)


if __name__ == "__main__":
    main()
