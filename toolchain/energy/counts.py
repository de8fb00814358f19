"""What a run did, in exact integers: operations per connection, updates and spikes per population.

Counts know nothing of prices. They add up over batches, so that any number of samples is counted in
memory that does not grow with it. Definitions: semantics, section 9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import add
from typing import TYPE_CHECKING

from toolchain.display import Displayed
from toolchain.netlist import InputError, Radix

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class ConnectionCounts:
    """Operations of one connection.

    Parameters
    ----------
    source, target : str
    kind : str
        The weighted operator that it is made of, or "Identity".
    from_input : bool
        Whether its source is the input: its operations are then multiply-accumulates, not SOPs.
    payload_max : int
        Greatest magnitude of a payload.
    synapses : int
        Sum of the source neurons' fan-out, borders of convolutions included: paths of the chain.
    macs : int
        Multiply-accumulates of one forward pass of the ANN. Products with padding zeros are not
        counted; an identity (`Scale`) and pooling multiply nothing.
    padded_macs : int
        The same with padding zeros, which is what FLOP counters print.
    additions : int
        Additions of one forward pass of the ANN in identities and pooling.
    sops : int
        Sum over samples, timesteps and source neurons of |payload| * fan-out: a burst of n is n
        accumulates.
    events : int
        Sum over samples, timesteps and source neurons of (payload != 0) * fan-out.
    effective : int
        As `events`, without the synapses whose weight quantised to zero.
    sops_by_timestep : tuple of int
        One per timestep; empty where the run did not keep its timesteps apart.
    """

    source: str
    target: str
    kind: str
    from_input: bool
    payload_max: int
    synapses: int
    macs: int
    padded_macs: int
    additions: int
    sops: int = 0
    events: int = 0
    effective: int = 0
    sops_by_timestep: tuple[int, ...] = ()


@dataclass(frozen=True)
class PopulationCounts:
    """Activity of one population.

    Parameters
    ----------
    name : str
    kind : str
        The population's type, "Input" or "AdaFire" or another.
    neurons : int
    spikes : int
        Sum over samples, timesteps and neurons of |payload|; 0 for a readout.
    active : int
        Number of payloads that are not zero; 0 for a readout.
    """

    name: str
    kind: str
    neurons: int
    spikes: int
    active: int


@dataclass(frozen=True)
class Weights:
    """Sizes of a netlist's arrays.

    Parameters
    ----------
    total, zeros : int
        Weights of all connections, and how many of them are zero.
    bits : int
        Width of a weight.
    parameters : int
        Thresholds, biases and initial membrane potentials, per channel or per neuron as stored.
    membrane_bits : int
        Width of each of these.
    """

    total: int
    zeros: int
    bits: int
    parameters: int
    membrane_bits: int

    @property
    def footprint(self) -> int:
        """Bytes of all arrays at their own width, each value in whole bytes."""
        return self.total * -(-self.bits // 8) + self.parameters * -(-self.membrane_bits // 8)


@dataclass(frozen=True)
class Counts(Displayed):
    """Counts of a run over `samples` samples, each a sum over all of them.

    Parameters
    ----------
    netlist_hash : str
    timesteps : int
        T, the longest run of a sample.
    samples : int
    steps : int
        Timesteps run, summed over samples: `samples * timesteps` without early exit.
    ann_macs : int
        Multiply-accumulates of one forward pass of the original network, as its conversion counted
        them; of the netlist's own connections where that is not recorded.
    ann_macs_with_padding : int or None
        The same with products of padding zeros; None of a netlist whose conversion recorded the first number alone.
    radix : Radix or None
        Base and digits of the numbers that spikes say; None for rates.
    held_input : bool
        Whether the input's payload is the same at every timestep (direct coding), so that the
        current of the first layer can be computed once per inference and held.
    connections : tuple of ConnectionCounts
        In the order of the netlist.
    populations : tuple of PopulationCounts
        In the order of the netlist.
    weights : Weights
    """

    netlist_hash: str
    timesteps: int
    samples: int
    steps: int
    ann_macs: int
    ann_macs_with_padding: int | None
    radix: Radix | None
    held_input: bool
    connections: tuple[ConnectionCounts, ...]
    populations: tuple[PopulationCounts, ...]
    weights: Weights

    @property
    def input_connections(self) -> tuple[ConnectionCounts, ...]:
        """The connections from the input."""
        return tuple(c for c in self.connections if c.from_input)

    @property
    def spiking_connections(self) -> tuple[ConnectionCounts, ...]:
        """The connections from spiking populations."""
        return tuple(c for c in self.connections if not c.from_input)

    @property
    def neurons(self) -> tuple[PopulationCounts, ...]:
        """All populations but the input."""
        return tuple(p for p in self.populations if p.kind != "Input")

    @property
    def sops(self) -> int:
        """Synaptic operations of all connections from spiking populations."""
        return sum(c.sops for c in self.spiking_connections)

    @property
    def spikes(self) -> int:
        """Sum of the payloads of all spiking populations."""
        return sum(p.spikes for p in self.neurons)

    @property
    def neuron_updates(self) -> int:
        """Neurons times timesteps, the readouts' too."""
        return self.steps * sum(p.neurons for p in self.neurons)

    def __rich__(self) -> RenderableType:
        """Return the operations of each connection as a table, means per sample."""
        # Rich loads when counts show: searches and workers count and show none.
        from rich.table import Table

        table = Table(
            "connection", "kind", "MACs", "SOPs", "events", title=f"Operations per sample, mean of {self.samples}"
        )
        for c in self.connections:
            table.add_row(
                f"{c.source}->{c.target}",
                c.kind,
                f"{c.macs:,}",
                f"{c.sops / self.samples:,.0f}",
                f"{c.events / self.samples:,.0f}",
            )
        return table

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both batches together.

        Raises
        ------
        InputError
            When the counts are of different netlists or numbers of timesteps.
        """
        if (self.netlist_hash, self.timesteps) != (other.netlist_hash, other.timesteps):
            raise InputError("counts", "counts of different netlists or numbers of timesteps cannot be added")
        return replace(
            self,
            samples=self.samples + other.samples,
            steps=self.steps + other.steps,
            connections=tuple(
                replace(
                    a,
                    sops=a.sops + b.sops,
                    events=a.events + b.events,
                    effective=a.effective + b.effective,
                    sops_by_timestep=tuple(map(add, a.sops_by_timestep, b.sops_by_timestep)),
                )
                for a, b in zip(self.connections, other.connections, strict=True)
            ),
            populations=tuple(
                replace(a, spikes=a.spikes + b.spikes, active=a.active + b.active)
                for a, b in zip(self.populations, other.populations, strict=True)
            ),
        )
