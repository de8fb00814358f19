"""Calibration without training: thresholds, biases, membrane potentials, weights, early exit."""

from toolchain.calibrate.advanced import AdvancedCalibration
from toolchain.calibrate.aside import Aside
from toolchain.calibrate.calibration_data import CalibrationData
from toolchain.calibrate.calibrator import CalibrationMethod, Calibrator
from toolchain.calibrate.costs import UnitCosts, fire_at_cost, unit_costs
from toolchain.calibrate.early_exit import EarlyExitCalibration, check_early_exit
from toolchain.calibrate.histograms import Histogram, collect_histograms
from toolchain.calibrate.influence import influences
from toolchain.calibrate.levels import Levels
from toolchain.calibrate.light import calibrate_biases, shift_bias
from toolchain.calibrate.retune import Goal
from toolchain.calibrate.storage import Storage
from toolchain.calibrate.thresholds import (
    Init,
    ThresholdMethod,
    Thresholds,
    fire_with,
)
from toolchain.calibrate.walk import CalibrationWalk, Step, calibrate_units, channel_sum

__all__ = [
    "AdvancedCalibration",
    "Aside",
    "CalibrationData",
    "CalibrationMethod",
    "CalibrationWalk",
    "Calibrator",
    "EarlyExitCalibration",
    "Goal",
    "Histogram",
    "Init",
    "Levels",
    "Step",
    "Storage",
    "ThresholdMethod",
    "Thresholds",
    "UnitCosts",
    "calibrate_biases",
    "calibrate_units",
    "channel_sum",
    "check_early_exit",
    "collect_histograms",
    "fire_at_cost",
    "fire_with",
    "influences",
    "shift_bias",
    "unit_costs",
]
