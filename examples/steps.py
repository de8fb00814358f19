"""What the examples have in common: where data are, weights that are trained once, the table that each prints.

Each example names its data as folders of $ADAFIRE_DATA; without them it says what it skips.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import adafire
from toolchain.energy import energy_text, quantity
from toolchain.netlist import AdaFire

#: Weights and reports go there, and nowhere else.
BUILD = Path("build/examples")
#: What netlists are converted for and checked against, and what has cores for the largest of them.
CHIP, SYSTEM = "loihi2", "hala_point"


@dataclass(frozen=True)
class Options:
    """What the command line of an example asks for."""

    full: bool
    seed: int

    @property
    def timesteps(self) -> int:
        """T."""
        return self.few(8, 16)

    def few(self, small: int, full: int) -> int:
        """Return how many samples or epochs to take."""
        return full if self.full else small


def options(about: str) -> Options:
    """Read an example's command line, and make the folder of what it builds."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="train longer, more samples, every line of the table")
    parser.add_argument("--seed", type=int, default=0, help="of training and of what is drawn")
    found = parser.parse_args()
    torch.manual_seed(found.seed)
    BUILD.mkdir(parents=True, exist_ok=True)
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
    phi: int | None = 4,
    light: bool = True,
    shorter: Sequence[int] = (),
    decode: Callable | None = None,
    priced: int = 32,
    **recipe: object,
) -> tuple[adafire.Netlist, adafire.Netlist]:
    """Convert a network in several ways, print what each scores and spends, and return the first two netlists.

    Those are for all T timesteps, with bursts and without. Every conversion is also read out before its last timestep.
    Energy is the paper's model on the first `priced` samples, for all timesteps; ANN and SNN are scored on all samples.

    Parameters
    ----------
    phi : int, optional
        Longest burst; None leaves it to the conversion, which lengthens bursts where the ANN's decisions need it.
    light : bool
        Whether --full also has light calibration.
    shorter : sequence of int
        Fewer timesteps that --full has conversions for.
    """
    lines = [(chosen.timesteps, "advanced", phi), (chosen.timesteps, "advanced", 1)]
    if chosen.full:
        lines += [(timesteps, "advanced", each) for timesteps in shorter for each in (phi, 1)]
        lines += [(chosen.timesteps, "light", each) for each in (phi, 1) if light]
    read = [t for t in (4, 8, 16) if t <= chosen.timesteps]
    headings = (*(f"t = {t}" for t in read), "against the ANN", "SOPs", "energy", "of the ANN's")
    table = Table("T", "calibration", "φ", *headings, title=title)
    netlists = []
    for timesteps, calibrate, longest in lines:
        wanted = {"samples": chosen.few(128, 512), "seed": chosen.seed, "target": CHIP, **recipe}
        netlist = adafire.convert(
            network,
            calibration,
            adafire.Recipe(timesteps=timesteps, phi=longest, calibrate=calibrate, **wanted),
            evaluate=test,
            evaluate_limit=len(test),
            decode=decode,
        )
        found, spent = netlist.provenance.evaluation, adafire.energy(netlist, test, limit=priced)
        samples = spent.counts.samples
        bursts = {each.phi for each in netlist.spiking if isinstance(each, AdaFire)}
        table.add_row(
            str(timesteps),
            calibrate,
            " to ".join(str(each) for each in sorted({min(bursts), max(bursts)})),
            *(f"{found.by_timestep[t - 1]:.2%}" if t <= timesteps else "" for t in read),
            f"{100 * (found.integer_snn.value - found.ann.value):+.2f}",
            quantity(spent.sops / samples),
            energy_text(spent.e_snn / samples),
            f"{float(spent.e_snn / spent.e_ann):.2f}",
        )
        netlists.append(netlist)
    table.caption = f"{found.ann.measure} of the ANN: {found.ann.value:.2%}"
    Console(width=120).print(table)
    return netlists[0], netlists[1]


def deployed(name: str, netlist: adafire.Netlist, sample: adafire.Dataset) -> None:
    """Say what becomes of a netlist on a chip and as NIR; or why nothing does.

    Parameters
    ----------
    name : str
        Of the NIR file, in the folder of what the examples build.
    netlist : Netlist
    sample : Dataset
        The first of it runs as NIR.
    """
    checked = adafire.check(netlist, CHIP)
    rules = sorted({violation.rule for violation in checked.violations})
    print(f"{name}: {checked.title}: " + ("holds every number" if checked.passed else f"violates {', '.join(rules)}"))
    try:
        placed = adafire.place(netlist, SYSTEM)
        print(f"{name}: {placed.target.title}: cores {placed.cores:,}, chips {placed.chip_count:,}")
    except adafire.TargetError as error:
        print(f"{name}: {error}")
    path = BUILD / f"{name}.nir"
    try:
        adafire.export(netlist, path)
        print(f"{path}: {adafire.verify(netlist, sample, path, limit=1)}")
    except adafire.UnsupportedError as error:
        print(f"{name}: {error}")


def reported(
    name: str,
    netlists: tuple[adafire.Netlist, adafire.Netlist],
    test: adafire.Dataset,
    network: nn.Module | Path,
    limit: int,
    decode: Callable | None = None,
) -> None:
    """Write the page of a netlist, and say whether Lava agrees and when the one without bursts is as good."""
    page = BUILD / f"{name}.html"
    bursts, single = netlists
    found = adafire.report(
        bursts, test, page, limit=limit, ann=network, decode=decode, lava=1, baselines={"phi 1": single}
    )
    (other,) = found.baselines
    when = "never as good" if other.timestep is None else f"as good at t = {other.timestep}"
    spent = "" if other.energy_ratio is None else f", for {other.energy_ratio:.2f} of the energy"
    print(f"{name}: {found.equivalence}")
    print(f"{page}: of {min(limit, len(test))} samples; phi 1 is {when}{spent}")
