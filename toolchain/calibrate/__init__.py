"""Calibration without training: thresholds, biases, membrane potentials, weights."""

from toolchain.calibrate.light import calibrate_biases
from toolchain.calibrate.spiking_walk import CalibrationData
from toolchain.calibrate.thresholds import Thresholds, collect_histograms, fire_with

__all__ = ["CalibrationData", "Thresholds", "calibrate_biases", "collect_histograms", "fire_with"]
