"""From a float network and calibration data to a netlist: the passes in order.

gates and curves -> silent channels -> thresholds -> calibration -> firing-pattern search -> spike compression ->
quantise -> longer bursts -> early exit (semantics, section 7; every network that a search weighs is calibrated first).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

from toolchain.calibrate import (
    Aside,
    Calibrator,
    EarlyExitCalibration,
    Levels,
    Thresholds,
    check_early_exit,
    collect_histograms,
)
from toolchain.convert.agreement import check_agreement, flattered_note, measure_agreement
from toolchain.convert.bursts import LONGEST, Converted, advice, lengthen, lengthened_note
from toolchain.convert.fit import fit_notes
from toolchain.convert.frames import frames_note
from toolchain.convert.purpose import network_task, task_record
from toolchain.convert.recipe import Recipe
from toolchain.convert.samples import SampleSets, draw_samples
from toolchain.convert.silence import silence
from toolchain.convert.stages import check_scored, guess_note, measure_stages, measure_substituted
from toolchain.data import Dataset, check_data
from toolchain.display import Progress, silent
from toolchain.netlist import Netlist, Provenance, TaskName
from toolchain.network import Activation, Curve, FloatNetwork, SpikingNetwork
from toolchain.pieces import measure_curves, substitute
from toolchain.quantize import Precision, check_precision, quantize, whole_resamplings
from toolchain.search import ChannelSearch, Judge, LayerSearch, MeasurementCache, Measuring, default_folder
from toolchain.tasks import Decoder


def convert_network(
    network: FloatNetwork,
    data: Dataset,
    recipe: Recipe,
    *,
    evaluate: Dataset | None = None,
    decode: Decoder | None = None,
    progress: Progress = silent,
) -> Netlist:
    """Convert a float network into a netlist.

    Parameters
    ----------
    network : FloatNetwork
    data : Dataset
        To calibrate on; labels are not used. Of frames, the ANN sees their mean.
    recipe : Recipe
    evaluate : Dataset, optional
        Samples on which the score of ANN, float SNN and netlist is measured (`toolchain.convert.stages`): what is true
        of them is known.
    decode : Decoder, optional
        Makes boxes of the outputs, for the score of a detector.
    progress : Progress

    Returns
    -------
    Netlist
        Its provenance records the network's origin, the recipe, the calibration data's hash, what it is
        for and the scores.

    Raises
    ------
    InputError
        When the data do not have the shape that the network takes, or hold NaN; when the outputs are none that the
        task has, or it is not known what is true of the data to evaluate on.
    TargetError
        When a number does not fit the target's fields.
    UnsupportedError
        When the network has gates and `freeze_gates` is false.
    CollapseError
        When the netlist does not compute what the ANN does, unless the recipe accepts that; the layer where it breaks
        is named.
    """
    # Whatever can be refused is refused now, not after minutes of calibration.
    precision = Precision(recipe.weight_bits, recipe.hardware)
    firing = [u.name for u in network.units if isinstance(u, Activation | Curve)]
    check_precision(precision, dict.fromkeys(firing, recipe.longest))
    search = search_pass(recipe) if recipe.searches else None
    task = network_task(network, recipe, decode)
    if recipe.early_exit:
        check_early_exit(network, frames=data.is_frames)
    samples = draw_samples(network, data, recipe)
    if evaluate is not None:
        check_data(evaluate, samples.source, recipe.steps, data.parts)
        check_scored(network, task, recipe.task, evaluate)

    # The network that is converted: of populations that spike, none of which decides what it never says.
    x = samples.calibration.x
    made = substitute(network, x, pieces=recipe.pieces, freeze_gates=recipe.freeze_gates, progress=progress)
    whole, rounded = whole_resamplings(made.network)
    histograms = collect_histograms(whole, x, progress=progress)
    live, silenced = silence(whole, histograms, len(samples.calibration))
    thresholds = Thresholds(
        recipe.steps, recipe.init, recipe.threshold, per_layer=recipe.threshold_per_layer, radix=recipe.radix
    )
    calibrator = Calibrator(
        live, samples.source, histograms, samples.calibration, precision, thresholds, recipe.calibrate, progress
    )
    passes = _Passes(network, calibrator, precision, samples, recipe.task, progress)
    levels = Levels(calibrator)
    record = None
    if search is not None:
        found = search(calibrator, Judge(network, samples.judged, precision, recipe.task))
        first = done = passes.quantized({name: f.phi for name, f in found.spiking.firing.items()}, found.spiking)
        record = found.record
    else:
        # Digits of one base: in radix code all bursts are as long.
        first = done = passes.fired(made.bursts(recipe.most, alike=recipe.radix is not None))
        if recipe.phi is None and recipe.radix is None:
            done = lengthen(first, levels, min(LONGEST, recipe.payload_limit), passes.fired)

    # What became of it, measured and said.
    made_for = task_record(task, recipe, decode)
    spiking, netlist = done.networks.take()
    netlist = replace(
        netlist, provenance=replace(netlist.provenance, task=made_for, tail=network.tail, parts=data.parts or None)
    )
    notes = [
        *rounded,
        *silenced,
        *(netlist.provenance.notes or ()),
        *lengthened_note(first, done),
        *(advice(done, levels, recipe.payload_limit, recipe.calibrate) if recipe.radix is None else ()),
        *([flattered_note(done.agreement)] if samples.unseen is samples.calibration else ()),
        *check_agreement(done.agreement, accept=recipe.accept_collapse),
        *fit_notes(netlist, recipe.hardware),
    ]
    curves, gates, scores = measure_curves(made, netlist, x, samples.calibration.emitted), made.gates, None
    if evaluate is not None:
        assert task is not None
        scores = measure_stages(network, spiking, netlist, evaluate, task, progress=progress)
        curves, gates = measure_substituted(made, curves, netlist, evaluate, task)
        said = (
            guess_note(scores, task, evaluate, recipe.normalize),
            frames_note(network, scores, netlist, evaluate, task),
        )
        notes += filter(None, said)
    provenance = Provenance(
        network=network.origin,
        calibration_data=samples.sha256,
        recipe=recipe.settings(),
        adafire=version("adafire"),
        tail=network.tail,
        parts=data.parts or None,
        task=made_for,
        search=record,
        curves=curves or None,
        gates=gates,
        evaluation=scores,
        notes=tuple(notes),
    )
    netlist = replace(netlist, provenance=provenance)
    return EarlyExitCalibration(recipe.alpha_base)(netlist, network, samples.judged) if recipe.early_exit else netlist


@dataclass(frozen=True, eq=False)
class _Passes:
    """Calibration and quantisation of one network on its samples, however it fires.

    Parameters
    ----------
    ann : FloatNetwork
        What the result is to agree with.
    calibrator : Calibrator
    precision : Precision
    samples : SampleSets
    task : TaskName or None
        What the network is for.
    progress : Progress
    """

    ann: FloatNetwork
    calibrator: Calibrator
    precision: Precision
    samples: SampleSets
    task: TaskName | None
    progress: Progress

    def fired(self, phi: Mapping[str, int]) -> Converted:
        """Convert with the longest burst of every activation."""
        return self.quantized(phi, self.calibrator.calibrate(self.calibrator.fire(phi)))

    def quantized(self, phi: Mapping[str, int], spiking: SpikingNetwork) -> Converted:
        """Quantise a calibrated network, and measure how it agrees with the ANN."""
        netlist = quantize(spiking, self.precision)
        agreement = measure_agreement(self.ann, netlist, self.samples.unseen, task=self.task, progress=self.progress)
        return Converted(phi, netlist.timesteps, agreement, Aside((spiking, netlist), self.samples.calibration.storage))


def search_pass(recipe: Recipe) -> ChannelSearch | LayerSearch:
    """Return the search that `search`, `compress` and `strategy` of a recipe ask for."""
    budget, tolerance = recipe.budget if recipe.search else None, recipe.tolerance if recipe.compress else None
    if recipe.strategy == "channels":
        return ChannelSearch(recipe.most, recipe.longest_burst, budget, tolerance)
    measuring = Measuring(executor=recipe.executor, cache=MeasurementCache(recipe.cache or default_folder()))
    return LayerSearch(recipe.most, recipe.longest_burst, recipe.phi_min, budget, tolerance, measuring)
