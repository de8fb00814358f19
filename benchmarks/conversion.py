"""How long a conversion takes, beside one pass of the ANN over the same samples.

    ADAFIRE_DATA=... python benchmarks/conversion.py [NETWORK ...] [--samples 1024] [--calibrate light] [--json]

Wall seconds of one conversion with the defaults and of one float32 forward pass over its calibration samples, both on
all cores, in one process; the pass is timed before and after, and the faster counts. `--memory` is the conversion's.
The peak is of the process's resident memory, libraries and pictures included. Each network runs in its own process.
"""

import argparse
import json
import subprocess
import sys
from math import prod
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import torch
from measure import finish, print_table
from memory import peak_megabytes
from networks import SUBJECTS

from toolchain.convert import Recipe, convert_network
from toolchain.data import parse_normalization
from toolchain.frontend import read_module


class Seconds(NamedTuple):
    """What something took, by the wall clock and by the processor's, which other work on the machine distorts less."""

    wall: float
    processor: float


class Clock:
    """Counts from when it was made."""

    def __init__(self) -> None:
        self._start = Seconds(perf_counter(), process_time())

    def read(self) -> Seconds:
        return Seconds(perf_counter() - self._start.wall, process_time() - self._start.processor)


#: What runs without a name given: networks, and how they are calibrated.
DEFAULT = (("resnet20", "advanced"), ("resnet20", "light"), ("resnet44", "advanced"), ("vgg16", "advanced"))
#: Pictures of a forward pass, and pixels at most: what bounds its memory, which is none of the conversion's.
BATCH, PIXELS = 32, 2**19


def measure(network: str, samples: int, calibrate: str, memory: float) -> dict[str, Any]:
    """Convert one network; return the figures."""
    subject = SUBJECTS[network](samples)
    module, pictures = subject.module.eval(), subject.pictures
    normalization = parse_normalization(subject.normalize, 3)
    batch = min(BATCH, PIXELS // prod(pictures.shape[1:]))

    @torch.inference_mode()
    def forward() -> Seconds:
        seconds = used = 0.0
        for start in range(0, len(pictures), batch):
            part = pictures.normalized(normalization.mean, normalization.std, start, start + batch)
            x, clock = torch.from_numpy(part).float(), Clock()
            module(x)
            spent = clock.read()
            seconds, used = seconds + spent.wall, used + spent.processor
        return Seconds(seconds, used)

    forward()
    before = forward()
    float_network = read_module(module, pictures.shape)
    recipe = Recipe(
        samples=samples,
        normalize=subject.normalize,
        calibrate=calibrate,  # type: ignore[arg-type]
        memory=memory,
        accept_collapse=True,
    )
    clock = Clock()
    convert_network(float_network, pictures, recipe)
    spent, after = clock.read(), forward()
    best = Seconds(min(before.wall, after.wall), min(before.processor, after.processor))
    return {
        "network": network,
        "samples": samples,
        "seconds": spent.wall,
        "forward_seconds": best.wall,
        "ratio_to_forward": spent.wall / best.wall,
        "processor_seconds": spent.processor,
        "processor_ratio": spent.processor / best.processor,
        "peak_mib": peak_megabytes(),
        "calibrate": calibrate,
        "memory_gib": memory,
        "trained": subject.trained,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--calibrate", choices=("advanced", "light", "none"), help="of all networks")
    parser.add_argument("--memory", type=float, default=Recipe.memory, help="GiB of activations in memory")
    options = parser.parse_args()
    if unknown := [name for name in options.networks if name not in SUBJECTS]:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    chosen = [(name, "advanced") for name in options.networks] or DEFAULT
    cases = list(dict.fromkeys((name, options.calibrate or calibrate) for name, calibrate in chosen))
    if len(cases) == 1:
        ((name, calibrate),) = cases
        # On its own it writes no results: those are of all cases.
        row = measure(name, options.samples, calibrate, options.memory)
        print_table("conversion beside one forward pass", [row])
        print(json.dumps(row))
        return
    rows = [
        json.loads(
            subprocess.run(
                [
                    *(sys.executable, Path(__file__), name),
                    *(f"--samples={options.samples}", f"--calibrate={calibrate}", f"--memory={options.memory}"),
                ],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
        )
        for name, calibrate in cases
    ]
    print_table("conversion beside one forward pass", rows)
    finish("conversion", {"conversions": rows}, as_json=options.json)


if __name__ == "__main__":
    main()
