"""``adafire convert``: a trained network becomes a netlist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, show

if TYPE_CHECKING:
    from toolchain.netlist import Netlist


@app.command()
def convert(
    spec: Annotated[
        str,
        typer.Argument(help="The network: package.module:callable, path/to/file.py:callable, FILE.onnx or FILE.pt2."),
    ],
    calibration: Annotated[Path, typer.Option(help="Unlabelled data to calibrate on (.npz).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The netlist to write (.h5).")],
    weights: Annotated[Path | None, typer.Option(help="Trained weights (.safetensors, .pt).")] = None,
    normalize: Annotated[str, typer.Option(help="cifar10, imagenet, none or MEAN/STD.")] = "none",
    timesteps: Annotated[int, typer.Option("--timesteps", "-T", min=1, max=4096)] = 8,
    phi: Annotated[int, typer.Option(min=1, max=255, help="Longest burst.")] = 4,
    init: Annotated[Literal["half", "zero", "spread"], typer.Option(help="Initial membrane potential.")] = "half",
    threshold: Annotated[
        Literal["mse", "max", "percentile"], typer.Option(help="How thresholds are chosen (mse: eq. 13).")
    ] = "mse",
    threshold_per_layer: Annotated[bool, typer.Option(help="One threshold for all channels of a layer.")] = False,
    calibrate: Annotated[
        Literal["light", "advanced", "none"],
        typer.Option(help="light: biases (eq. 14); advanced: weights, thresholds and initial potentials as well."),
    ] = "advanced",
    samples: Annotated[int, typer.Option(min=1, help="Size of the calibration set.")] = 1024,
    weight_bits: Annotated[int, typer.Option(min=2, max=16)] = 8,
    target: Annotated[str | None, typer.Option(help="Hardware target, or the path of a target file.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the calibration set.")] = 0,
    search: Annotated[bool, typer.Option("--search", help="Search how layers fire, within --budget.")] = False,
    phi_max: Annotated[
        int | None, typer.Option(min=1, max=255, help="Longest burst a search may use.  [default: twice --phi]")
    ] = None,
    phi_min: Annotated[int, typer.Option(min=1, max=255, help="Least phi of a layer (--strategy layers).")] = 1,
    budget: Annotated[float, typer.Option(help="Operations that --search may spend, relative to uniform --phi.")] = 1.0,
    compress: Annotated[bool, typer.Option("--compress", help="Save operations within --tolerance.")] = False,
    tolerance: Annotated[
        float, typer.Option(help="Divergence from the ANN that --compress may add, as measured.")
    ] = 0.02,
    strategy: Annotated[
        Literal["channels", "layers"],
        typer.Option(
            help="channels: thresholds per channel at one price; layers: phi and rho per layer, as the paper."
        ),
    ] = "channels",
    early_exit: Annotated[bool, typer.Option("--early-exit", help="Let sure samples stop early.")] = False,
    alpha_base: Annotated[
        float | None, typer.Option(min=0, max=1, help="alpha_base of eq. 15 for --early-exit.  [default: fit alpha]")
    ] = None,
    evaluate: Annotated[
        Path | None, typer.Option(help="Labelled data (.npz): measure the accuracy of ANN, float SNN and integer SNN.")
    ] = None,
    evaluate_limit: Annotated[int, typer.Option(min=1, help="Use the first samples of --evaluate only.")] = 256,
    executor: Annotated[
        str, typer.Option(help="Where --strategy layers measures: local, local:N or dask://HOST:PORT.")
    ] = "local",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of measurements, to resume from.  [default: the user's cache folder]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a trained network into a spiking netlist, without training.

    Example: adafire convert examples/resnet20.py:resnet20 --weights resnet20.safetensors
    --calibration train.npz --normalize imagenet --target loihi2 -o resnet20.h5
    """
    from hw_targets.target import load_target
    from toolchain.convert import Recipe, convert_network
    from toolchain.data import parse_normalization, read_data
    from toolchain.files.atomic import check_writable
    from toolchain.files.netlist_file import write_netlist
    from toolchain.frontend import read_network
    from toolchain.search import MeasurementCache, Measuring, default_folder

    check_writable(output)
    recipe = Recipe(
        timesteps=timesteps,
        phi=phi,
        init=init,
        threshold=threshold,
        threshold_per_layer=threshold_per_layer,
        calibrate=calibrate,
        weight_bits=weight_bits,
        target=None if target is None else load_target(target),
        samples=samples,
        seed=seed,
        search=search,
        phi_max=phi_max,
        phi_min=phi_min,
        budget=budget,
        compress=compress,
        tolerance=tolerance,
        strategy=strategy,
        early_exit=early_exit,
        alpha_base=alpha_base,
        measuring=Measuring(executor=executor, cache=MeasurementCache(cache or default_folder())),
    )
    data = read_data(calibration)
    labelled = None if evaluate is None else read_data(evaluate, limit=evaluate_limit)
    normalization = parse_normalization(normalize, data.shape[0])
    network = read_network(spec, weights, data.shape)
    netlist = convert_network(network, data, normalization, recipe, evaluation=labelled, progress=progress)
    write_netlist(netlist, output)
    show("\n".join(_lines(netlist, output)), _outcome(netlist, output) if as_json else None)


def _outcome(netlist: Netlist, output: Path) -> dict[str, Any]:
    """Return what was written as JSON values: as `adafire info`, with the file and what was measured on top."""
    from toolchain.info.summary import summarize

    accuracies = netlist.provenance.evaluation
    return {
        "file": str(output),
        **summarize(netlist).to_json(),
        "evaluation": None if accuracies is None else accuracies.to_json(),
    }


def _lines(netlist: Netlist, output: Path) -> Iterator[str]:
    """Say what was written, how accurate it is, what a search and early exit promise, and what was rounded."""
    yield (
        f"{output}: {len(netlist.spiking)} spiking populations, {len(netlist.connections)} connections, "
        f"T={netlist.timesteps}, hash {netlist.content_hash[:12]}"
    )
    found = netlist.provenance
    if found.evaluation is not None:
        yield str(found.evaluation)
    if found.search is not None:
        measured = found.search.measured
        yield (
            f"search: {measured.operations:,.0f} operations per sample, "
            f"divergence {measured.divergence:.4f} from the ANN, "
            f"{measured.agreement:.2%} of its decisions, on held-out samples"
        )
    if found.early_exit is not None:
        mean = found.early_exit.samples.mean_timesteps
        yield f"early exit: {mean:.2f} of {netlist.timesteps} timesteps on held-out samples"
    for note in found.notes or ():
        yield f"note: {note}"
