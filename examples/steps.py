"""What the examples have in common: where data are, weights that are trained once, the table that each prints.

Each example names its data as folders of $ADAFIRE_DATA; without them it says what it skips.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import adafire

#: Weights and reports go there, and nowhere else.
BUILD = Path("build/examples")


@dataclass(frozen=True)
class Setting:
    """One conversion of the table."""

    timesteps: int
    phi: int
    calibrate: str = "advanced"


SMALL = (Setting(8, 4), Setting(8, 1))
FULL = tuple(Setting(t, phi, how) for how in ("advanced", "light") for phi in (4, 1) for t in (4, 8, 16))


@dataclass(frozen=True)
class Options:
    """What the command line of an example asks for."""

    full: bool
    seed: int

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Conversions to compare."""
        return FULL if self.full else SMALL

    def few(self, small: int, full: int) -> int:
        """Return how many samples or epochs to take."""
        return full if self.full else small


def options(about: str) -> Options:
    """Read an example's command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="train longer, more samples, every line of the table")
    parser.add_argument("--seed", type=int, default=0, help="of training and of what is drawn")
    found = parser.parse_args()
    torch.manual_seed(found.seed)
    return Options(found.full, found.seed)


def data(*parts: str) -> Path:
    """Return a file or folder of $ADAFIRE_DATA; end with a line where it is not there."""
    root = os.environ.get("ADAFIRE_DATA")
    path = Path(root or "", *parts)
    if not root or not path.exists():
        print(f"{Path(sys.argv[0]).name}: skipped, " + (f"{path} is not there" if root else "ADAFIRE_DATA is not set"))
        sys.exit(0)
    return path


def trained(name: str, network: nn.Module, train: Callable[[nn.Module], None]) -> nn.Module:
    """Return a network with the weights of an earlier run, or train it and keep them."""
    path = BUILD / f"{name}.safetensors"
    if path.exists():
        network.load_state_dict(load_file(path))
    else:
        train(network)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(network.state_dict(), path)
    return network.eval()


def fit(
    network: nn.Module,
    loss_of: Callable[[np.ndarray], Tensor],
    samples: int,
    epochs: int,
    *,
    batch: int = 32,
    rate: float = 2e-3,
    seed: int = 0,
) -> None:
    """Train with AdamW and one cycle of its rate; `loss_of` takes the positions of a batch's samples."""
    rng = np.random.default_rng(seed)
    steps = -(-samples // batch)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for positions in np.array_split(rng.permutation(samples), steps):
            loss = loss_of(positions)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(f"\rtraining: epoch {epoch + 1} of {epochs}, loss {total / steps:.3f} ", end="", file=sys.stderr)
    print(file=sys.stderr)


def compare(
    title: str,
    network: nn.Module | Path,
    calibration: adafire.Dataset,
    test: adafire.Dataset,
    chosen: Options,
    *,
    decode: Callable | None = None,
    priced: int = 32,
    **recipe: object,
) -> adafire.Netlist:
    """Convert a network with every setting, print what each scores and spends, and return the first netlist.

    Energy is the paper's model on the first `priced` samples; ANN and SNN are scored on all.
    """
    table = Table("calibration", "T", "φ", "score", "against the ANN", "SOPs", "energy", "of the ANN's", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    netlists = []
    for setting in chosen.settings:
        wanted = adafire.Recipe(
            timesteps=setting.timesteps,
            phi=setting.phi,
            calibrate=setting.calibrate,
            seed=chosen.seed,
            **{"samples": chosen.few(128, 512), **recipe},
        )
        netlist = adafire.convert(network, calibration, wanted, evaluate=test, evaluate_limit=len(test), decode=decode)
        found, spent = netlist.provenance.evaluation, adafire.energy(netlist, test, limit=priced)
        score = found.integer_snn
        table.add_row(
            setting.calibrate,
            str(setting.timesteps),
            str(setting.phi),
            f"{score.value:.2%}",
            f"{100 * (score.value - found.ann.value):+.2f}",
            f"{spent.sops / spent.counts.samples / 1e6:.2f} M",
            f"{float(spent.e_snn) / spent.counts.samples / 1e6:.2f} µJ",
            f"{float(spent.e_snn / spent.e_ann):.2f}",
        )
        netlists.append(netlist)
    table.caption = f"score: {score.measure}, of the ANN {found.ann.value:.2%}"
    Console(width=110).print(table)
    return netlists[0]
