"""Make the frozen files: one of each format as the present version writes it.

The files beside this script are what users of this version have on their disks. They are committed as they are, and
`tests/files/test_frozen.py` holds every later version to reading them. Never make them anew: a file of a new schema
is a new file, in a folder of its own, whose name is that of the schema::

    PYTHONPATH=.:tests/support python tests/files/frozen/make.py tests/files/frozen/schema2

The test says what they hold.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import exchange_netlists
import numpy as np
import random_netlists
import torch
from exchange_netlists import start
from safetensors.torch import save_file
from torch import nn

from sim.golden import simulate
from toolchain.cli import run
from toolchain.exchange import export_netlist
from toolchain.files import read_netlist, write_netlist, write_trace
from toolchain.netlist import Netlist

#: Alpha and shortcuts; max-pooling, biases per neuron and every operator; frames and two readouts.
EXCHANGE = ("mlp", "residual", "every_operator", "concat")
#: Weights of 16 bits; initial potentials per neuron and a dead channel.
RANDOM = ("wide", "per_neuron")


def small() -> Netlist:
    """Return a convolution and a matrix, with alpha: a NIR file costs 4 kB a group, so that others are too large."""
    b = start(7, 3, (2, 4, 4))
    b.fire("conv", b.conv(3), shape=(3, 4, 4))
    return b.read("logits", b.linear(3), shape=(3,)).netlist(4, alpha=(0.9, 0.8, 0.7, 0.6))


def dense() -> Netlist:
    """Return two matrices with bursts of 2: each level is a node of its own in the explicit profile."""
    b = start(7, 2, (6,))
    b.fire("hidden", b.linear(5), shape=(5,))
    return b.read("logits", b.linear(3), shape=(3,)).netlist(4)


def network() -> nn.Module:
    """Return the network of `converted.h5`, whose provenance holds all that a conversion can leave."""
    pooled = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(
        *pooled, nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(8, 4)
    )


def convert(output: Path) -> None:
    """Convert `network` with search, early exit and evaluation, from a folder of its own: names hold no path."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        torch.manual_seed(0)
        save_file(network().state_dict(), "net.safetensors")
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 4, 256)
        images = rng.integers(0, 64, (256, 8, 8, 3)) + 48 * labels[:, None, None, None]
        np.savez("data.npz", images=images.astype(np.uint8), labels=labels)
        Path("model.py").write_bytes(Path(__file__).read_bytes())
        words = "convert model.py:network --weights net.safetensors --calibration data.npz --evaluate data.npz"
        words += " --normalize 0.5/0.25 --timesteps 4 --search --compress --early-exit --target loihi2"
        if run([*words.split(), "-o", "net.h5"]) != 0:
            raise SystemExit("the conversion failed")
        output.write_bytes(Path("net.h5").read_bytes())


def payloads(netlist, samples=2):
    """Return random payloads over the input's whole range, (N, *shape)."""
    low, high = netlist.input.payload_range
    values = np.random.default_rng(0).integers(low, high + 1, (samples, *netlist.input.shape))
    return values.astype(netlist.input.payload_dtype)


def main(folder: Path) -> None:
    """Write every file of the schema that `folder` is named after."""
    folder.mkdir()
    {"schema1": rates, "schema2": digits, "schema3": loops}[folder.name](folder)


def digits(folder: Path) -> None:
    """Write what schema 2 added: radix code."""
    netlist = random_netlists.radix_netlist("residual", digits=5)
    write_netlist(netlist, folder / "radix.h5")
    write_trace(simulate(netlist, payloads(netlist, 1)), folder / "radix_trace.h5")


def loops(folder: Path) -> None:
    """Write what schema 3 added: leaky populations, and delays, of single synapses too."""
    netlist = random_netlists.ARCHITECTURES["recurrent"](0, 8, 1)
    write_netlist(netlist, folder / "recurrent.h5")
    frames = np.random.default_rng(0).integers(0, 2, (8, 2, *netlist.input.shape)).astype(np.uint8)
    write_trace(simulate(netlist, frames), folder / "recurrent_trace.h5")


def rates(folder: Path) -> None:
    """Write the files of schema 1."""
    for name in EXCHANGE:
        write_netlist(exchange_netlists.ARCHITECTURES[name](7, 4), folder / f"{name}.h5")
    for name in RANDOM:
        write_netlist(random_netlists.ARCHITECTURES[name](0, 5, 4), folder / f"{name}.h5")
    convert(folder / "converted.h5")
    for name, netlist, to in (("compact", small(), "nir"), ("explicit", dense(), "nir-explicit")):
        write_trace(simulate(netlist, payloads(netlist)), folder / f"{name}_trace.h5")
        export_netlist(netlist, folder / f"{name}.nir", to=to)
    export_netlist(read_netlist(folder / "mlp.h5"), folder / "mlp.net", to="netx")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]).resolve())
