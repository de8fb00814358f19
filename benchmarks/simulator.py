"""The reference simulator against the float network's forward pass and against other simulators.

    python benchmarks/simulator.py [--json] [--rounds 7] [--threads N] [--no-peers] [--no-scaling]

VGG16, 32x32, batch 32, T = 8, interleaved in one process; spikes are checked against the golden
integer step in the same run. `ratio_to_ann` is the median over rounds of the simulator's time over
that of the float32 ANN (BatchNorm folded, channels-last, inference mode) in the faster of two modes,
eager and frozen by TorchScript; `peers` holds each peer's time over the simulator's.
"""

import argparse
import dataclasses
import statistics
import sys
from time import process_time
from typing import Any

import numpy as np
import torch
from measure import finish, interleave, print_table, ratio
from peers import PEERS
from vgg16 import Benchmark, vgg16

from sim import compile_netlist, golden, simulate
from sim.threads import one_thread
from toolchain.netlist import AdaFire, Netlist


def with_phi(netlist: Netlist, phi: int) -> Netlist:
    """Return the netlist with another longest burst, thresholds as they are."""
    populations = tuple(dataclasses.replace(p, phi=phi) if isinstance(p, AdaFire) else p for p in netlist.populations)
    return dataclasses.replace(netlist, populations=populations)


def check_against_golden(netlist: Netlist, payloads: np.ndarray) -> int:
    """Compare every payload and readout of some samples with the golden step; return how many."""
    expected, got = golden.simulate(netlist, payloads), simulate(netlist, payloads)
    for name, values in expected.populations.items():
        if not np.array_equal(values, got.populations[name]):
            sys.exit(f"benchmarks/simulator.py: {name} differs from the golden step")
    return sum(v.size for v in expected.populations.values())


def ann_modes(benchmark: Benchmark) -> dict[str, Any]:
    """Return the float network's forward pass, eager and frozen (weights packed ahead); the faster one counts."""
    frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(benchmark.ann, benchmark.pictures)))

    def run(module: Any) -> Any:
        with torch.inference_mode():
            return module(benchmark.pictures)

    return {"ann eager": lambda: run(benchmark.ann), "ann frozen": lambda: run(frozen)}


def speed_up(functions: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return how many times faster each function is on all cores than on one, by the wall clock."""

    def alone(function: Any) -> None:
        with one_thread():
            function()

    both = {name: {"one": lambda f=function: alone(f), "all": function} for name, function in functions.items()}
    return {name: ratio(interleave(pair, rounds), "one", "all") for name, pair in both.items()}


def measure_peers(benchmark: Benchmark, rounds: int) -> dict[str, Any]:
    """Time each peer against the simulator on the same netlist; say how much of its output agrees."""
    results: dict[str, Any] = {}
    payloads = torch.from_numpy(benchmark.payloads).float()
    for name, (make, bursts) in PEERS.items():
        netlist = benchmark.netlist if bursts else with_phi(benchmark.netlist, 1)
        try:
            peer = make(netlist)
        except ImportError:
            print(f"{name} is not installed (extra: peers)", file=sys.stderr)
            continue
        simulator = compile_netlist(netlist)

        def run_peer(peer: Any = peer) -> Any:
            with torch.inference_mode():
                return peer.run(payloads)

        last = netlist.spiking[-1].name
        ours = simulator.run(benchmark.payloads, record=[last])
        sums, spikes = run_peer()
        if bursts and not (
            np.array_equal(sums.numpy(), ours.readout[-1]) and np.array_equal(spikes.numpy(), ours.spikes[last])
        ):
            sys.exit(f"benchmarks/simulator.py: {name} computes another result than the simulator")
        seconds = interleave({"ours": lambda s=simulator: s.run(benchmark.payloads), name: run_peer}, rounds)
        results[name] = {
            "slower": ratio(seconds, name, "ours"),
            "seconds": min(seconds[name]),
            "phi": netlist.spiking[0].phi,
            "equal_spikes": float(np.mean(spikes.numpy() == ours.spikes[last])),
        }
    return results


def measure_scaling(benchmark: Benchmark, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Time the simulator over T, batch, longest burst and spike rate: processor time, to be run on one thread."""
    netlist, payloads = benchmark.netlist, benchmark.payloads
    tables: dict[str, list[dict[str, Any]]] = {}

    def row(key: str, value: Any, netlist: Netlist, payloads: np.ndarray, **more: Any) -> None:
        simulator = compile_netlist(netlist)
        seconds = min(interleave({"run": lambda: simulator.run(payloads)}, rounds, clock=process_time)["run"])
        per_step = 1e3 * seconds / (len(payloads) * netlist.timesteps)
        tables.setdefault(key, []).append(
            {
                key: value,
                "ms": 1e3 * seconds,
                "ms per picture": 1e3 * seconds / len(payloads),
                **more,
                "ms per picture and timestep": per_step,
            }
        )

    for timesteps in (1, 2, 4, 8, 16, 32, 64):
        samples = payloads[: min(32, max(4, 256 // timesteps))]
        row("timesteps", timesteps, dataclasses.replace(netlist, timesteps=timesteps), samples, batch=len(samples))
    for batch in (1, 2, 4, 8, 16, 32):
        row("batch", batch, netlist, payloads[:batch])
    for phi in (1, 2, 4, 15):
        row("phi", phi, with_phi(netlist, phi), payloads)
    for factor in (4, 2, 1, 0.5):
        scaled = tuple(
            dataclasses.replace(p, threshold=np.maximum(1, np.rint(p.threshold * factor)).astype(np.int64))
            if isinstance(p, AdaFire)
            else p
            for p in netlist.populations
        )
        changed = dataclasses.replace(netlist, populations=scaled)
        activity = compile_netlist(changed).run(payloads, activity=True).activity
        neurons = sum(activity.payloads[p.name].size for p in changed.spiking)
        rate = sum(int(activity.payloads[p.name].sum()) for p in changed.spiking) / (neurons * activity.steps)
        row("thresholds times", factor, changed, payloads, **{"spikes per neuron and timestep": rate})
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="threads of torch and of the simulator")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-scaling", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    benchmark = vgg16(32)
    compared = check_against_golden(benchmark.netlist, benchmark.payloads[:2])
    simulator = compile_netlist(benchmark.netlist)
    functions = {**ann_modes(benchmark), "simulator": lambda: simulator.run(benchmark.payloads)}
    seconds = interleave(functions, options.rounds)
    ann = min(("ann eager", "ann frozen"), key=lambda mode: min(seconds[mode]))
    result: dict[str, Any] = {
        "network": "VGG16, 32x32, batch 32, T 8, phi 4",
        "weights": benchmark.weights,
        "ratio_to_ann": ratio(seconds, "simulator", ann),
        "ratio_to_ann_by_mode": {mode: ratio(seconds, "simulator", mode) for mode in functions if mode != "simulator"},
        "seconds": {name: statistics.median(s) for name, s in seconds.items()},
        "best_seconds": {name: min(s) for name, s in seconds.items()},
        "ann_mode": ann,
        "payloads_equal_to_golden": compared,
        "peers": {},
    }
    print_table(
        "VGG16, batch 32, T = 8",
        [
            {"what": name, "best ms": 1e3 * min(s), "median ms": 1e3 * statistics.median(s)}
            for name, s in seconds.items()
        ],
    )
    result["speed_up"] = speed_up({"simulator": functions["simulator"], ann: functions[ann]}, options.rounds)
    print_table("from one core to all", [result["speed_up"]])
    with one_thread():
        alone = interleave(functions, options.rounds, clock=process_time)
    result["one_thread"] = {
        "ratio_to_ann_by_mode": {mode: ratio(alone, "simulator", mode) for mode in functions if mode != "simulator"},
        "processor_seconds": {name: min(s) for name, s in alone.items()},
    }
    print_table(
        "one thread, processor time",
        [{"what": name, "best ms": 1e3 * min(s), "times": min(s) / min(alone[ann])} for name, s in alone.items()],
    )
    print(
        f"ratio to the ANN's forward pass: {result['ratio_to_ann']:.2f} ({ann}); "
        f"equal to the golden step on {compared:,} payloads",
        file=sys.stderr,
    )
    if not options.no_peers:
        # They take seconds a run.
        details = measure_peers(benchmark, min(3, options.rounds))
        result["peers"] = {name: d["slower"] for name, d in details.items()}
        result["peer_details"] = details
        print_table("peers, times slower than the simulator", [{"peer": n, **d} for n, d in details.items()])
    if not options.no_scaling:
        with one_thread():
            result["scaling"] = measure_scaling(benchmark, options.rounds)
        for key, rows in result["scaling"].items():
            print_table(f"scaling, one thread: {key}", rows)
    finish("simulator", result, as_json=options.json)


if __name__ == "__main__":
    main()
