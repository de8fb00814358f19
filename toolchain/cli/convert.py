"""``adafire convert``: a trained network becomes a netlist."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli.app import app
from toolchain.cli.console import Json, progress, show
from toolchain.cli.flags import flag, in_flags
from toolchain.cli.samples import FORMS, Size, open_samples
from toolchain.convert import Recipe

if TYPE_CHECKING:
    from toolchain.netlist import Netlist, TaskRecord

#: Short names of options.
_SHORT = {"timesteps": "-T"}


def _option(option: Field[Any], hint: Any) -> inspect.Parameter:
    """Return a field of the recipe as an option of a command."""
    # A target is named on the command line. A switch has one spelling: to leave it out is its opposite.
    wanted = str | None if option.name == "target" else hint
    settings = typer.Option(
        option.default,
        flag(option.name),
        *filter(None, [_SHORT.get(option.name)]),
        help=in_flags(option.metadata["help"], {f.name: flag(f.name) for f in fields(Recipe)}),
        min=option.metadata["min"],
        max=option.metadata["max"],
    )
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=settings, annotation=wanted)


def takes_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `Recipe`, and hand it the recipe that they make."""
    hints = typing.get_type_hints(Recipe)
    options = [_option(option, hints[option.name]) for option in fields(Recipe)]

    def with_options(**arguments: Any) -> None:
        recipe = Recipe(**{option.name: arguments.pop(option.name) for option in options})
        command(**arguments, recipe=recipe)

    own = [p for name, p in inspect.signature(command, eval_str=True).parameters.items() if name != "recipe"]
    *own, as_json = (p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own)
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    vars(with_options)["__signature__"] = inspect.Signature([*own, *options, as_json])
    with_options.__annotations__ = {p.name: p.annotation for p in (*own, *options, as_json)}
    return with_options


@app.command()
@takes_recipe
def convert(
    spec: Annotated[
        str,
        typer.Argument(help="The network: package.module:callable, path/to/file.py:callable, FILE.onnx or FILE.pt2."),
    ],
    calibration: Annotated[str, typer.Option(help=f"Unlabelled data to calibrate on: {FORMS}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The netlist to write (.h5).")],
    recipe: Recipe,
    weights: Annotated[Path | None, typer.Option(help="Trained weights (.safetensors, .pt).")] = None,
    evaluate: Annotated[
        str | None, typer.Option(help="Labelled data: measure the score of ANN, float SNN and integer SNN.")
    ] = None,
    evaluate_limit: Annotated[int, typer.Option(min=1, help="Of --evaluate: use so many samples.")] = 256,
    decode: Annotated[
        str | None,
        typer.Option(help="Code that makes boxes of the outputs, for detection: path/to/file.py:callable."),
    ] = None,
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Convert a trained network into a spiking netlist, without training.

    Example: adafire convert examples/resnet20.py:resnet20 --weights resnet20.safetensors
    --calibration train.npz --normalize imagenet --target loihi2 -o resnet20.h5
    """
    from toolchain import api
    from toolchain.files import check_writable, write_netlist

    check_writable(output)
    netlist = api.convert(
        spec,
        open_samples(calibration, size=size, limit=None, labelled=False),
        recipe,
        weights=weights,
        evaluate=None if evaluate is None else open_samples(evaluate, size=size, limit=evaluate_limit),
        evaluate_limit=evaluate_limit,
        decode=decode,
        progress=progress,
    )
    write_netlist(netlist, output)
    show("\n".join(_lines(netlist, output)), _outcome(netlist, output) if as_json else None)


def _outcome(netlist: Netlist, output: Path) -> dict[str, Any]:
    """Return what was written as JSON values: as `adafire info`, with the file and what was measured on top."""
    from toolchain.info import summarize
    from toolchain.tasks import Outcome

    measured = netlist.provenance.evaluation
    return {
        "file": str(output),
        **summarize(netlist).to_json(),
        "evaluation": None if measured is None else measured.to_json(),
        **Outcome.of_stages(netlist.provenance.task, measured).to_json(),
        "input_clips": None if measured is None else measured.input_clips,
    }


def _lines(netlist: Netlist, output: Path) -> Iterator[str]:
    """Say what was written, how accurate it is, what a search and early exit promise, and what was rounded."""
    from toolchain.evaluate import InputClips
    from toolchain.tasks import interval_text

    found = netlist.provenance
    yield (
        f"{output}: {len(netlist.spiking)} spiking populations, {len(netlist.connections)} connections, "
        f"T={netlist.timesteps}, hash {netlist.content_hash[:12]}"
    )
    if found.tail is not None:
        yield str(found.tail)
    if found.evaluation is not None:
        sure = interval_text(found.evaluation.integer_snn)
        yield str(found.evaluation) + ("" if sure is None else f" ({sure})")
        if note := InputClips.of(netlist, found.evaluation.input_clips or 0, found.evaluation.samples).note:
            yield f"note: {note}"
    yield from found.activations
    if found.search is not None:
        measured = found.search.measured
        yield (
            f"search: {measured.operations:,.0f} operations per sample, "
            f"divergence {measured.divergence:.4f} from the ANN, "
            f"{measured.agreement:.2%} {_alike(found.task)}, on held-out samples"
        )
    if found.early_exit is not None:
        mean = found.early_exit.samples.mean_timesteps
        yield f"early exit: {mean:.2f} of {netlist.timesteps} timesteps on held-out samples"
    for note in found.notes or ():
        yield f"note: {note}"


def _alike(task: TaskRecord | None) -> str:
    """Say what the agreement of a search is a share of."""
    return (
        "correlation with its outputs"
        if task is not None and task.name in ("detection", "regression")
        else "of its decisions"
    )
