"""A network becomes a netlist."""

from __future__ import annotations

from pathlib import Path

from toolchain.api.arguments import Decode, Network, decoder, read_ann
from toolchain.convert import Recipe, convert_network
from toolchain.data import in_units
from toolchain.display import Progress, silent
from toolchain.doors import Data, open_data
from toolchain.netlist import Netlist


def convert(
    network: Network,
    calibration: Data,
    recipe: Recipe | None = None,
    *,
    weights: str | Path | None = None,
    evaluate: Data | None = None,
    evaluate_limit: int = 256,
    decode: Decode | None = None,
    progress: Progress = silent,
) -> Netlist:
    """Convert a trained network into a spiking netlist, without training.

    Parameters
    ----------
    network : nn.Module, str or Path
        A module in eval mode, or what SPEC of ``adafire convert`` names.
    calibration : Dataset, path, ndarray or iterable, as of `dataset`
        Unlabelled data.
    recipe : Recipe, optional
        By default ``Recipe()``: T = 8, phi = 4, 8-bit weights.
    weights : path, optional
        Loaded into the module first.
    evaluate : Dataset, path, ndarray or iterable, optional
        Samples of which it is known what is true; the scores of ANN, float SNN and netlist go into the netlist's
        provenance.
    evaluate_limit : int
        Use the first of them only.
    decode : str or callable, optional
        Makes boxes of the outputs, to score detection (`toolchain.tasks.Decoder`).
    progress : Progress

    Raises
    ------
    UnsupportedError
        When the network holds a layer that cannot be converted; it is named.
    InputError
        When the data do not fit.
    TargetError
        When a number does not fit the target's fields.
    CollapseError
        When the netlist does not compute what the ANN does, unless the recipe accepts that.
    """
    data = in_units(open_data(calibration, labelled=False, progress=progress))
    labelled = None if evaluate is None else open_data(evaluate, limit=evaluate_limit, progress=progress)
    recipe = recipe or Recipe()
    ann = read_ann(network, weights, data.parts or data.shape, recipe.output_names)
    return convert_network(ann, data, recipe, evaluate=labelled, decode=decoder(decode), progress=progress)
