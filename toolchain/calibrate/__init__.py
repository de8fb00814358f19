"""Calibration without training: thresholds, biases, membrane potentials, weights."""

from toolchain.calibrate.advanced import AdvancedCalibration
from toolchain.calibrate.calibrator import CalibrationMethod, Calibrator
from toolchain.calibrate.early_exit import EarlyExitCalibration
from toolchain.calibrate.influence import influences
from toolchain.calibrate.light import calibrate_biases
from toolchain.calibrate.price import PricedUnit, fire_at_price, price_unit
from toolchain.calibrate.retune import Goal
from toolchain.calibrate.spiking_walk import CalibrationData
from toolchain.calibrate.thresholds import Histogram, Thresholds, collect_histograms, fire_with

__all__ = [
    "AdvancedCalibration",
    "CalibrationData",
    "CalibrationMethod",
    "Calibrator",
    "EarlyExitCalibration",
    "Goal",
    "Histogram",
    "PricedUnit",
    "Thresholds",
    "calibrate_biases",
    "collect_histograms",
    "fire_at_price",
    "fire_with",
    "influences",
    "price_unit",
]
