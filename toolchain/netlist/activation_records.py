"""Provenance of what neurons compute in the place of other activations and of gates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CurveRecord:
    """One activation function as pieces that saturate (`toolchain.pieces`).

    Errors are roots of mean squared errors over the standard deviation of the function's values.

    Parameters
    ----------
    unit : str
        Its name in the float network; populations are named after it.
    function : str
        As text, of x.
    pieces : int
        Populations in its place.
    extra_neurons : int
        Beyond one for each value.
    error : float
        Of the pieces, on the calibration data, before anything spikes.
    spiking_error : float
        Of what the populations emit, averaged over a run, against the float network: spikes, rounding and the errors of
        earlier layers included.
    operations : float
        Synaptic operations per sample that the pieces cause.
    beyond : float or None
        Share of its values on the data that accuracy was measured on that lie beyond those of the calibration data.
    """

    unit: str
    function: str
    pieces: int
    extra_neurons: int
    error: float
    spiking_error: float
    operations: float
    beyond: float | None = None

    def __str__(self) -> str:
        rest = "" if self.beyond is None else f", {self.beyond:.2%} of its values beyond their calibrated range"
        return (
            f"{self.unit}: {self.function} as {self.pieces} piece{'' if self.pieces == 1 else 's'}, error "
            f"{self.error:.1%}, {self.spiking_error:.1%} in spikes, {self.extra_neurons:,} more neurons{rest}"
        )


@dataclass(frozen=True)
class FrozenGates:
    """Gates that became their mean on the calibration data.

    Parameters
    ----------
    units : tuple of str
        The products, in order.
    samples : int
        Calibration samples that the following was measured on.
    agreement : float
        Share of the ANN's decisions that stay; the mean of several outputs.
    error : float
        Of the outputs: root of the squared error over that of their deviation from their mean.
    accuracy : float or None
        Of the ANN with frozen gates, on the labelled samples of the evaluation.
    """

    units: tuple[str, ...]
    samples: int
    agreement: float
    error: float
    accuracy: float | None = None

    def __str__(self) -> str:
        labelled = "" if self.accuracy is None else f", accuracy {self.accuracy:.2%} on the labelled samples"
        return (
            f"{len(self.units)} gates frozen at their means: {self.agreement:.1%} of {self.samples:,} calibration "
            f"samples keep their decision, outputs {self.error:.1%} off{labelled}"
        )
