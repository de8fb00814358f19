"""Simulators: the golden integer step (numpy) and the PyTorch reference that is held to it.

`golden` needs numpy only; what needs torch is imported at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sim import golden

if TYPE_CHECKING:
    from sim.activity import Activity
    from sim.compilation import compile_layer
    from sim.early_exit import EarlyExit, EarlyExitSimulator, alpha_schedule, compile_early_exit, confidence
    from sim.layer import Layer, LayerResult
    from sim.recording import Recording, compile_recording
    from sim.reference import BatchResult, Simulator, compile_netlist, simulate, stream

_HOME = {
    "Activity": "sim.activity",
    "BatchResult": "sim.reference",
    "EarlyExit": "sim.early_exit",
    "EarlyExitSimulator": "sim.early_exit",
    "Layer": "sim.layer",
    "LayerResult": "sim.layer",
    "Recording": "sim.recording",
    "Simulator": "sim.reference",
    "alpha_schedule": "sim.early_exit",
    "compile_early_exit": "sim.early_exit",
    "compile_layer": "sim.compilation",
    "compile_netlist": "sim.reference",
    "compile_recording": "sim.recording",
    "confidence": "sim.early_exit",
    "simulate": "sim.reference",
    "stream": "sim.reference",
}

__all__ = [
    "Activity",
    "BatchResult",
    "EarlyExit",
    "EarlyExitSimulator",
    "Layer",
    "LayerResult",
    "Recording",
    "Simulator",
    "alpha_schedule",
    "compile_early_exit",
    "compile_layer",
    "compile_netlist",
    "compile_recording",
    "confidence",
    "golden",
    "simulate",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
