"""Reproduction study: what of the paper's results shows here, as tables and plots.

    ADAFIRE_DATA=... python benchmarks/reproduction.py resnet20-cifar10 [--part curves|search|correlation|channels]

Parts, each written to benchmarks/results/reproduction_NETWORK_PART.json (and .md, .png):

- curves: accuracy against T for phi = 1 and uniform phi, light calibration;
- search: firing-pattern search and spike compression per layer (appendix, Tables 1 and 2), early exit;
- correlation: sensitivity against accuracy over random firing patterns (appendix, Fig. 1);
- channels: thresholds per channel at one cost per operation with advanced calibration, beyond the paper,
  against uniform phi with the same calibration.

Everything is chosen on training pictures; accuracies are those of the held-out file. Operations are
synaptic operations per picture, those of the input left out; energy is the paper's model (eq. 3).
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from measure import RESULTS, machine_facts
from scipy.stats import kendalltau, pearsonr, spearmanr

from sim import compile_early_exit, stream
from toolchain.calibrate import CalibrationData, Thresholds, calibrate_biases, collect_histograms, fire_with
from toolchain.convert import Recipe, convert_network
from toolchain.data import Dataset, choose_input, parse_normalization, read_data
from toolchain.energy import count, estimate_energy, priced
from toolchain.frontend import load_module, load_weights, read_module
from toolchain.netlist import Netlist
from toolchain.network import SpikingNetwork, outputs
from toolchain.quantize import Precision, quantize
from toolchain.search import Judge
from toolchain.tasks import decide

mpl.use("Agg")
import matplotlib.pyplot as plt

EXAMPLES = Path(__file__).parent.parent / "examples"
NETWORKS = {
    "resnet20-cifar10": ("resnet20.py:resnet20", "resnet20_cifar10", "cifar10/train_10k", "cifar10/val_5k"),
    "vgg16-cifar10": ("vgg16.py:vgg16", "vgg16_cifar10", "cifar10/train_10k", "cifar10/val_5k"),
    "resnet20-cifar100": ("resnet20x2.py:resnet20x2", "resnet20x2_cifar100", "cifar100/train_5k", "cifar100/val_5k"),
}
#: As the examples have it.
NORMALIZE = "imagenet"


class Study:
    """One network with its data."""

    def __init__(self, folder: str, name: str, pictures: int | None, samples: int) -> None:
        spec, weights, train, held_out = NETWORKS[name]
        self.name, self.samples = name, samples
        module = load_module(str(EXAMPLES / spec))
        load_weights(module, Path(folder, "models", f"{weights}.safetensors"))
        self.train: Dataset = read_data(Path(folder, f"{train}.npz"))
        self.held_out: Dataset = read_data(Path(folder, f"{held_out}.npz"), limit=pictures)
        self.normalization = parse_normalization(NORMALIZE, 3)
        self.network = read_module(module, self.train.shape)

    def build(self, **fields: Any) -> Netlist:
        """Convert with a recipe, by default light calibration."""
        recipe = Recipe(**{"samples": self.samples, "calibrate": "light", "normalize": NORMALIZE, **fields})
        return convert_network(self.network, self.train, recipe)

    def ann_accuracy(self) -> float:
        """Return the ANN's accuracy on the held-out pictures."""
        right = 0
        with torch.inference_mode():
            for start in range(0, len(self.held_out), 100):
                x = self.held_out.normalized(self.normalization.mean, self.normalization.std, start, start + 100)
                logits = outputs(self.network, torch.from_numpy(x).float())[0]
                right += int((logits.argmax(1).numpy() == self.held_out.labels[start : start + 100]).sum())
        return right / len(self.held_out)

    def evaluate(self, netlist: Netlist, *, early_exit: bool = False) -> dict[str, Any]:
        """Return accuracy, operations and energy per picture on the held-out pictures."""
        right, activity, steps, first = 0, None, 0, 0
        batches = self.held_out.batches(netlist.input, 100)
        scale = netlist.readouts[0].scale
        runs = map(compile_early_exit(netlist).run, batches) if early_exit else stream(netlist, batches, activity=True)
        for run in runs:
            sums = run.readout if early_exit else run.readout[-1]
            right += int((decide(sums, scale) == self.held_out.labels[first : first + len(sums)]).sum())
            first += len(sums)
            steps += run.activity.steps
            activity = run.activity if activity is None else activity + run.activity
        counts = count(netlist, activity)
        report = estimate_energy(counts)
        return {
            "accuracy": right / first,
            "operations": sum(c.sops for c in counts.connections if not c.from_input) / first,
            "energy_pj": float(priced(report.snn[0])) / first,
            "ann_energy_pj": float(priced(report.baselines[0])) / first,
            "mean_timesteps": steps / first,
        }


def curves(study: Study, arguments: argparse.Namespace) -> dict[str, Any]:
    """Accuracy against T for phi = 1 and uniform phi."""
    rows = []
    for timesteps in arguments.timesteps:
        for phi in (1, arguments.phi):
            result = study.evaluate(study.build(timesteps=timesteps, phi=phi))
            rows.append({"timesteps": timesteps, "phi": phi, **result})
            print(rows[-1], file=sys.stderr, flush=True)
    figure, axes = plt.subplots()
    for phi in (1, arguments.phi):
        part = [r for r in rows if r["phi"] == phi]
        axes.plot([r["timesteps"] for r in part], [100 * r["accuracy"] for r in part], "o-", label=f"phi = {phi}")
    axes.set(xlabel="timesteps", ylabel="accuracy in %", title=study.name)
    axes.legend()
    return {"rows": rows, "figure": figure}


def _both(study: Study, label: str, **fields: Any) -> tuple[Netlist, list[dict[str, Any]]]:
    """Build a netlist with early exit and evaluate it with and without."""
    started = time.perf_counter()
    netlist = study.build(early_exit=True, **fields)
    seconds = time.perf_counter() - started
    rows = []
    for suffix, early in (("", False), (" + early exit", True)):
        result = study.evaluate(netlist, early_exit=early)
        rows.append({"network": label + suffix, "timesteps": netlist.timesteps, "conversion_s": seconds, **result})
        print(rows[-1], file=sys.stderr, flush=True)
    return netlist, rows


def search(study: Study, arguments: argparse.Namespace) -> dict[str, Any]:
    """Firing-pattern search, spike compression and early exit, layer by layer."""
    rows, tables = [], {}
    variants = {"uniform phi": {}, "searched phi": {"search": True}} | {
        f"searched phi + compression, tolerance {t:g}": {"search": True, "compress": True, "tolerance": t}
        for t in arguments.tolerances
    }
    for timesteps in arguments.searched_timesteps:
        for label, fields in variants.items():
            netlist, found = _both(study, label, timesteps=timesteps, phi=arguments.phi, strategy="layers", **fields)
            rows += found
            report = netlist.provenance.to_json().get("search", {})
            for what, part in (("phi", "firing"), ("rho", "compression")):
                if part in report:
                    tables[f"{what}, T = {timesteps}, {label}"] = report[part][what]
                    tables[f"{part} candidates, T = {timesteps}, {label}"] = report[part]["candidates"]
    return {"rows": rows, "tables": tables}


def channels(study: Study, arguments: argparse.Namespace) -> dict[str, Any]:
    """Beyond the paper: thresholds per channel at one cost per operation, advanced calibration."""
    rows: list[dict[str, Any]] = []
    variants: dict[str, dict[str, Any]] = {"uniform phi": {}}
    variants |= {f"searched, budget {b:g}": {"search": True, "budget": b} for b in arguments.budgets}
    variants |= {f"compressed, tolerance {t:g}": {"compress": True, "tolerance": t} for t in arguments.tolerances}
    for timesteps in arguments.searched_timesteps:
        for label, fields in variants.items():
            _, found = _both(study, label, timesteps=timesteps, phi=arguments.phi, calibrate="advanced", **fields)
            rows += found
    return {"rows": rows}


def correlation(study: Study, arguments: argparse.Namespace) -> dict[str, Any]:
    """Sensitivity against accuracy over random firing patterns."""
    timesteps, rng = arguments.searched_timesteps[0], np.random.default_rng(0)
    calibration = study.train.select(np.sort(rng.permutation(len(study.train))[: study.samples]))
    x = calibration.normalized(study.normalization.mean, study.normalization.std)
    source = choose_input(study.network.source.name, calibration, x, study.normalization)

    def prepared(data: Dataset) -> CalibrationData:
        values = data.normalized(source.mean, source.std)
        return CalibrationData(torch.from_numpy(values).float(), torch.from_numpy(data.payloads(source))[:, None])

    data = prepared(calibration)
    histograms = collect_histograms(study.network, data.x)
    names = [u.name for u in study.network.activations]
    longest = 2 * arguments.phi
    firing = {
        phi: fire_with(study.network, histograms, dict.fromkeys(names, phi), Thresholds(timesteps))
        for phi in range(1, longest + 1)
    }
    uniform = SpikingNetwork(study.network, source, firing[arguments.phi], timesteps)
    base = calibrate_biases(uniform, data, Precision())
    pictures = study.held_out.select(np.arange(min(arguments.correlated_pictures, len(study.held_out))))
    judge = Judge(study.network, prepared(pictures), Precision())
    points = []
    for _ in range(arguments.configurations):
        # From nearly uniform to all layers at random, so that accuracies cover a range.
        varied = rng.random(len(names)) < rng.random()
        phi = {n: int(rng.integers(1, longest + 1)) if v else arguments.phi for n, v in zip(names, varied, strict=True)}
        spiking = replace(base, firing={n: firing[p][n] for n, p in phi.items()})
        netlist = quantize(spiking, Precision())
        right = sum(
            int((decide(b.readout[-1], netlist.readouts[0].scale) == labels).sum())
            for b, labels in zip(
                stream(netlist, pictures.batches(netlist.input, len(pictures))), [pictures.labels], strict=True
            )
        )
        measured = judge.measure_netlist(netlist)
        points.append({"sensitivity": measured.divergence, "accuracy": right / len(pictures), **asdict(measured)})
        print(len(points), points[-1], file=sys.stderr, flush=True)
    a, b = np.array([[p["sensitivity"], p["accuracy"]] for p in points]).T
    found = {}
    for name, function in {"pearson": pearsonr, "spearman": spearmanr, "kendall": kendalltau}.items():
        result = function(a, b)
        found[name] = {"coefficient": float(result.statistic), "p": float(result.pvalue)}
    figure, axes = plt.subplots()
    axes.plot(a, 100 * b, ".")
    axes.set(xlabel="sensitivity", ylabel="accuracy in %", title=study.name)
    return {"timesteps": timesteps, "pictures": len(pictures), **found, "points": points, "figure": figure}


def _markdown(title: str, result: dict[str, Any]) -> str:
    lines = [f"# {title}", ""]
    if "rows" in result:
        columns = list(result["rows"][0])
        lines += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for row in result["rows"]:
            values = [row[c] for c in columns]
            lines.append("| " + " | ".join(f"{v:,.4g}" if isinstance(v, float) else str(v) for v in values) + " |")
    for name, table in result.get("tables", {}).items():
        if isinstance(table, dict):
            lines += ["", f"## {name} per layer", "", "| " + " | ".join(table) + " |", "|" + " --- |" * len(table)]
            lines.append("| " + " | ".join(str(v) for v in table.values()) + " |")
    for name in ("pearson", "spearman", "kendall"):
        if name in result:
            lines.append(f"- {name}: {result[name]['coefficient']:.3f} (p = {result[name]['p']:.2g})")
    return "\n".join(lines) + "\n"


PARTS = {"curves": curves, "search": search, "correlation": correlation, "channels": channels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS, nargs="?", default="resnet20-cifar10")
    parser.add_argument("--part", choices=PARTS, action="append", help="all of them by default")
    parser.add_argument("--pictures", type=int, help="held-out pictures; all by default")
    parser.add_argument("--samples", type=int, default=512, help="training pictures to calibrate on")
    parser.add_argument("--phi", type=int, default=4)
    parser.add_argument("--timesteps", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="of the curves")
    parser.add_argument("--searched-timesteps", type=int, nargs="+", default=[4], help="the first is the correlation's")
    parser.add_argument("--tolerances", type=float, nargs="+", default=[0.02, 0.1])
    parser.add_argument("--budgets", type=float, nargs="+", default=[1.0, 0.7])
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--correlated-pictures", type=int, default=256)
    arguments = parser.parse_args()
    folder = os.environ.get("ADAFIRE_DATA")
    if not folder:
        print("skipped: set ADAFIRE_DATA to the folder of networks and data sets", file=sys.stderr)
        return
    study = Study(folder, arguments.network, arguments.pictures, arguments.samples)
    ann = study.ann_accuracy()
    RESULTS.mkdir(exist_ok=True)
    for part in arguments.part or list(PARTS):
        result = PARTS[part](study, arguments)
        stem = RESULTS / f"reproduction_{study.name}_{part}"
        if (figure := result.pop("figure", None)) is not None:
            figure.savefig(stem.with_suffix(".png"), dpi=120)
        header = {
            "network": study.name,
            "part": part,
            "ann_accuracy": ann,
            "pictures": len(study.held_out),
            "calibrated_on": study.samples,
            "machine": machine_facts(),
        }
        stem.with_suffix(".json").write_text(json.dumps({**header, **result}, indent=1) + "\n")
        title = f"{study.name}: {part} (ANN {ann:.2%} on {len(study.held_out)} pictures, normalised by {NORMALIZE})"
        stem.with_suffix(".md").write_text(_markdown(title, result))
        print(_markdown(title, result))


if __name__ == "__main__":
    main()
