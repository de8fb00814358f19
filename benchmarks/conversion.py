"""How long a conversion takes, beside one pass of the ANN over the same samples.

    ADAFIRE_DATA=... python benchmarks/conversion.py [NETWORK ...] [--samples 256] [--calibrate light] [--json]

Wall seconds of one conversion with the defaults and of one float32 forward pass over its calibration samples, both on
all cores, in one process; the pass is timed before and after, and the faster counts. The peak is of the
process's resident memory, libraries included. Each network runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from measure import finish, print_table
from memory import peak_megabytes
from networks import SUBJECTS

from toolchain.convert import Recipe, convert_network
from toolchain.data import parse_normalization
from toolchain.frontend import read_module

#: What runs without a name given: small enough for `make bench`.
DEFAULT = ("resnet20", "vgg16")
BATCH = 32


def measure(network: str, samples: int, calibrate: str) -> dict[str, Any]:
    """Convert one network; return the figures."""
    subject = SUBJECTS[network](samples)
    module, pictures = subject.module.eval(), subject.pictures
    normalization = parse_normalization(subject.normalize, 3)
    x = torch.from_numpy(pictures.normalized(normalization.mean, normalization.std)).float()

    @torch.inference_mode()
    def forward() -> float:
        start = perf_counter()
        for part in x.split(BATCH):
            module(part)
        return perf_counter() - start

    forward()
    before = forward()
    float_network = read_module(module, pictures.shape)
    recipe = Recipe(samples=samples, normalize=subject.normalize, calibrate=calibrate, accept_collapse=True)  # type: ignore[arg-type]
    start, used = perf_counter(), process_time()
    convert_network(float_network, pictures, recipe)
    seconds, used = perf_counter() - start, process_time() - used
    forward_seconds = min(before, forward())
    return {
        "network": network,
        "samples": samples,
        "seconds": seconds,
        "processor_seconds": used,
        "forward_seconds": forward_seconds,
        "ratio_to_forward": seconds / forward_seconds,
        "peak_mib": peak_megabytes(),
        "calibrate": calibrate,
        "trained": subject.trained,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--calibrate", choices=("advanced", "light", "none"), default="advanced")
    options = parser.parse_args()
    networks = options.networks or DEFAULT
    if unknown := [name for name in networks if name not in SUBJECTS]:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    if len(networks) == 1:
        rows = [measure(networks[0], options.samples, options.calibrate)]
    else:
        arguments = ["--json", "--samples", str(options.samples), "--calibrate", options.calibrate]
        rows = [
            json.loads(
                subprocess.run(
                    [sys.executable, Path(__file__), name, *arguments], check=True, stdout=subprocess.PIPE, text=True
                ).stdout
            )
            for name in networks
        ]
    print_table("conversion beside one forward pass", rows)
    name = "conversion" if len(rows) > 1 else f"conversion_{rows[0]['network']}"
    finish(name, rows[0] if len(rows) == 1 else {"conversions": rows}, as_json=options.json)


if __name__ == "__main__":
    main()
