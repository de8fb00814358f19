"""What a netlist holds, for people and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from hw_targets.schedule import schedule
from toolchain.display import Displayed
from toolchain.files import schema_of
from toolchain.netlist import (
    AdaFire,
    Connection,
    CubaLif,
    Input,
    Leaky,
    LeakyReadout,
    MaxPool,
    Netlist,
    Population,
    Provenance,
    Readout,
    Tail,
    Weighted,
)
from toolchain.netlist.bounds import can_saturate


@dataclass(frozen=True)
class Summary(Displayed):
    """A netlist in numbers; see `summarize`."""

    fields: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return dict(self.fields)

    def __rich__(self) -> RenderableType:
        """Return tables for the terminal."""
        facts = Table(show_header=False)
        shown = ("schema", "hash", "spike_code", "timesteps", "latency", "parameters", "weight_bits", "membrane_bits")
        for key in shown:
            facts.add_row(key, str(self.fields[key]))
        provenance = Provenance.from_json(self.fields["provenance"])
        if provenance.task is not None:
            facts.add_row("task", provenance.task.name)
        if provenance.parts is not None:
            facts.add_row("inputs", ", ".join(map(str, provenance.parts)))
        if self.fields["tail"] is not None:
            facts.add_row("host", self.fields["tail"]["text"])
        populations = Table("population", "kind", "shape", "phi", "threshold", "saturates")
        for p in self.fields["populations"]:
            populations.add_row(
                p["name"],
                p["kind"],
                "x".join(map(str, p["shape"])),
                str(p.get("phi", "")),
                "{} .. {}".format(*p["threshold"]) if "threshold" in p else "",
                {None: "", True: "can", False: "cannot"}[p.get("can_saturate")],
            )
        connections = Table("connection", "operators", "weights")
        for c in self.fields["connections"]:
            name = f"{c['source']} -> {c['target']}"
            connections.add_row(name, ", ".join(c["operators"]) or "identity", f"{c['weights']:,}")
        return Group(facts, populations, connections, *map(escape, provenance.activations))


def summarize(netlist: Netlist) -> Summary:
    """Return what a netlist holds.

    Keys: schema, hash, spike_code, digits (null for rates), timesteps, latency (a pipeline's timesteps until the
    answer), weight_bits, membrane_bits, parameters (weights, biases and thresholds), alpha, populations, connections,
    tail (what the host computes, without its model), provenance.
    """
    populations = [_population(netlist, p) for p in netlist.populations]
    connections = [_connection(c) for c in netlist.connections]
    constants = sum(
        (p.threshold.size if isinstance(p, AdaFire | CubaLif) else 0) + p.bias.size
        for p in netlist.populations
        if not isinstance(p, Input | MaxPool)
    )
    return Summary(
        {
            "schema": schema_of(netlist),
            "hash": netlist.content_hash,
            "spike_code": netlist.spike_code,
            "digits": None if netlist.radix is None else netlist.radix.digits,
            "timesteps": netlist.timesteps,
            "latency": schedule(netlist).latency,
            "weight_bits": netlist.weight_bits,
            "membrane_bits": netlist.membrane_bits,
            "parameters": constants + sum(c["weights"] for c in connections),
            "alpha": list(netlist.alpha),
            "populations": populations,
            "connections": connections,
            "tail": _tail(netlist.provenance.tail),
            "provenance": replace(netlist.provenance, tail=None).to_json(),
        }
    )


def _tail(tail: Tail | None) -> dict[str, Any] | None:
    if tail is None:
        return None
    names = {name: list(getattr(tail, name)) for name in ("readouts", "operators", "outputs")}
    return {**names, "text": str(tail)}


def _population(netlist: Netlist, population: Population) -> dict[str, Any]:
    common = {"name": population.name, "kind": type(population).__name__, "shape": list(population.shape)}
    match population:
        case Input():
            return {
                **common,
                "bits": population.bits,
                "signed": population.signed,
                "scale": population.scale,
                "coding": population.coding,
            }
        case AdaFire():
            return {
                **common,
                "phi": population.phi,
                "threshold": [int(population.threshold.min()), int(population.threshold.max())],
                "can_saturate": can_saturate(netlist, population.name),
            }
        case MaxPool():
            return {**common, "kernel": list(population.kernel), "stride": list(population.stride)}
        case CubaLif():
            return {
                **common,
                **_decays(population),
                "threshold": [int(population.threshold.min()), int(population.threshold.max())],
                "reset": population.reset,
                "can_saturate": can_saturate(netlist, population.name),
            }
        case LeakyReadout():
            return {**common, **_decays(population), "can_saturate": can_saturate(netlist, population.name)}
        case Readout():
            return common


def _decays(population: Leaky) -> dict[str, list[int]]:
    decays = {"current_decay": population.current_decay, "voltage_decay": population.voltage_decay}
    return {name: [int(values.min()), int(values.max())] for name, values in decays.items()}


def _connection(connection: Connection) -> dict[str, Any]:
    # Only where there is one, as in the file.
    delays = (
        {"delay": [int(np.min(connection.delay)), int(np.max(connection.delay))]} if np.any(connection.delay) else {}
    )
    return {
        "source": connection.source,
        "target": connection.target,
        **delays,
        "operators": [type(o).__name__ for o in connection.operators],
        "weights": sum(o.weight.size for o in connection.operators if isinstance(o, Weighted)),
    }
