"""Early exit against all timesteps, where half the steps are saved, and what a batch of one costs.

    python benchmarks/early_exit.py [--json] [--rounds 9] [--batch 64]

One thread, processor time, interleaved. The confidence that stops a sample is one number for all timesteps, set so
that samples run half of them on average; both runs count spikes. Exits and readouts are checked against the complete
run's. VGG16 and ResNet-20 with trained weights where ADAFIRE_DATA has them, else random ones.
"""

import argparse
import sys
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np
import torch
from measure import finish, interleave, print_table, ratio
from networks import SUBJECTS

from sim import compile_early_exit, compile_netlist
from sim.early_exit import exit_timesteps
from toolchain.convert import Recipe, convert_network
from toolchain.frontend import read_module
from toolchain.netlist import Netlist

CALIBRATION = 64


def converted(network: str, samples: int) -> tuple[Netlist, np.ndarray]:
    """Return a netlist and the payloads of some pictures that did not calibrate it."""
    subject = SUBJECTS[network](CALIBRATION + samples)
    recipe = Recipe(samples=CALIBRATION, normalize=subject.normalize, calibrate="light", accept_collapse=True)
    calibration = subject.pictures.select(np.arange(CALIBRATION))
    netlist = convert_network(read_module(subject.module.eval(), subject.pictures.shape), calibration, recipe)
    rest = subject.pictures.select(np.arange(CALIBRATION, CALIBRATION + samples))
    return netlist, rest.payloads(netlist.input)


def half_of_the_steps(netlist: Netlist, readout: np.ndarray) -> tuple[float, ...]:
    """Return one confidence for all timesteps at which samples run about half of them."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        steps = exit_timesteps(readout, netlist.readouts[0].scale, (middle,) * netlist.timesteps).mean()
        low, high = (middle, high) if steps < netlist.timesteps / 2 else (low, middle)
    return (low,) * netlist.timesteps


def exits(netlist: Netlist, payloads: np.ndarray, rounds: int) -> dict[str, Any]:
    """Time a run with early exit against the complete one."""
    complete = compile_netlist(netlist)
    readout = complete.run(payloads).readout
    alpha = half_of_the_steps(netlist, readout)
    early = compile_early_exit(netlist, alpha=alpha)
    found, expected = early.run(payloads), exit_timesteps(readout, netlist.readouts[0].scale, alpha)
    if not np.array_equal(found.timesteps, expected) or not np.array_equal(
        found.readout, readout[expected - 1, np.arange(len(payloads))]
    ):
        sys.exit("benchmarks/early_exit.py: an exit is not that of the complete run")
    functions = {"all": lambda: complete.run(payloads, activity=True), "early": lambda: early.run(payloads)}
    seconds = interleave(functions, rounds, clock=process_time)
    return {
        "timesteps": netlist.timesteps,
        "mean timesteps": found.mean_timesteps,
        "all ms": 1e3 * min(seconds["all"]),
        "early ms": 1e3 * min(seconds["early"]),
        "early over all": ratio(seconds, "early", "all"),
    }


def batch_of_one(netlist: Netlist, payloads: np.ndarray, rounds: int) -> dict[str, Any]:
    """Time eight pictures one by one against one batch of them."""
    simulator, some = compile_netlist(netlist), payloads[:8]
    functions = {
        "one by one": lambda: [simulator.run(some[i : i + 1]) for i in range(8)],
        "together": lambda: simulator.run(some),
    }
    seconds = interleave(functions, 2 * rounds, clock=process_time)
    return {
        "one by one, ms a picture": 1e3 * min(seconds["one by one"]) / 8,
        "eight together, ms a picture": 1e3 * min(seconds["together"]) / 8,
        "one over eight": ratio(seconds, "one by one", "together"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    early, batches = [], []
    for network in ("resnet20", "vgg16"):
        netlist, payloads = converted(network, options.batch)
        early += [
            {"network": network, **exits(replace(netlist, timesteps=timesteps), payloads, options.rounds)}
            for timesteps in (8, 16)
        ]
        batches.append({"network": network, **batch_of_one(netlist, payloads, options.rounds)})
    print_table(f"early exit, batch {options.batch}, one thread, processor time", early)
    print_table("a batch of one, T = 8, one thread, processor time", batches)
    finish("early_exit", {"batch": options.batch, "early_exit": early, "batch_of_one": batches}, as_json=options.json)


if __name__ == "__main__":
    main()
