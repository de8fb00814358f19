"""The same counts priced on chips, from the constants that their makers published.

A chip's energy is a list of terms: how often an operation happens, and its price where one was
published. A term without a price stays in the list with the reason; then there is no total, only
the part that is priced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hw_targets.target import available_targets, load_target
from toolchain.energy.counts import Counts
from toolchain.energy.prices import Prices
from toolchain.energy.readings import updates_between_digits


@dataclass(frozen=True)
class Term:
    """One kind of operation on a chip.

    Parameters
    ----------
    what : str
    count : int or None
        How often it happens, sum over samples; None where counts do not tell.
    price : str or None
        Name of its price; None where none was published.
    value : Decimal or None
        The price, pJ.
    why : str
        Why it has no price.
    """

    what: str
    count: int | None
    price: str | None
    value: Decimal | None
    why: str = ""

    @property
    def energy(self) -> Decimal | None:
        """Count x price, pJ; None without a price."""
        return None if self.value is None or self.count is None else self.value * self.count

    def to_json(self) -> dict[str, Any]:
        """Return the term as JSON values, with `why` where it has no price."""
        told: dict[str, Any] = {"what": self.what, "count": self.count}
        if self.price is None:
            return {**told, "why": self.why}
        return {**told, "price": self.price, "energy_pj": None if self.energy is None else float(self.energy)}


@dataclass(frozen=True)
class TargetEnergy:
    """What a run would cost on a chip, as far as its operations have published prices.

    Parameters
    ----------
    target : str
        The target's name.
    name : str
        The chip's full name.
    terms : tuple of Term
    """

    target: str
    name: str
    terms: tuple[Term, ...]

    @property
    def priced(self) -> tuple[Term, ...]:
        """The terms that have a price."""
        return tuple(t for t in self.terms if t.price is not None)

    @property
    def unpriced(self) -> tuple[Term, ...]:
        """The terms that have none."""
        return tuple(t for t in self.terms if t.price is None)

    @property
    def priced_part(self) -> Decimal:
        """Energy of the priced terms, pJ, sum over samples."""
        return sum((t.energy for t in self.priced if t.energy is not None), Decimal(0))

    @property
    def energy(self) -> Decimal | None:
        """The total, pJ, sum over samples; None while a term has no price."""
        return None if self.unpriced else self.priced_part

    @property
    def prices(self) -> tuple[str, ...]:
        """Names of the prices that it uses."""
        return tuple(t.price for t in self.priced if t.price is not None)

    @property
    def rule(self) -> str:
        """The formula in words, and what has no price."""
        if not self.priced:
            return "no published energy per operation is known"
        priced = " + ".join(f"{t.value} x {t.what}" for t in self.priced)
        missing = ", ".join(t.what for t in self.unpriced)
        return f"{priced}; unpriced, so no total: {missing}" if missing else priced

    def to_json(self) -> dict[str, Any]:
        """Return the terms and the total, null while a term has no price."""
        return {
            "target": self.target,
            "name": self.name,
            "energy_pj": None if self.energy is None else float(self.energy),
            "priced_pj": float(self.priced_part) if self.priced else None,
            "rule": self.rule,
            "prices": list(self.prices),
            "terms": [t.to_json() for t in self.priced],
            "unpriced": [t.to_json() for t in self.unpriced],
        }


def price_on_targets(counts: Counts, prices: Prices) -> tuple[TargetEnergy, ...]:
    """Price a run on every chip that there is a target file for.

    Parameters
    ----------
    counts : Counts
    prices : mapping of str to Price

    Returns
    -------
    tuple of TargetEnergy
        Chips with priced terms first.
    """
    chips = [t for t in map(load_target, available_targets()) if t.kind == "chip"]
    models = {t: _MODELS.get(t.name, _unpublished) for t in chips}
    found = [TargetEnergy(t.name, t.title, (*terms(counts, prices), *_digits(counts))) for t, terms in models.items()]
    return tuple(sorted(found, key=lambda t: not t.priced))


def _digits(counts: Counts) -> tuple[Term, ...]:
    """Return what digits ask of any chip besides: no maker publishes it."""
    if counts.radix is None:
        return ()
    why = "no published energy of a programmed neuron's multiplication is known"
    return (Term("multiplications of membranes by the base", updates_between_digits(counts), None, None, why),)


def _updates(counts: Counts) -> tuple[int, int]:
    """Return the neuron updates that emit a spike, and the others."""
    active = sum(p.active for p in counts.neurons)
    return active, counts.neuron_updates - active


def _priced(what: str, count: int, price: str, prices: Prices) -> Term:
    return Term(what, count, price, prices[price].value)


def _input_layer(counts: Counts) -> Term:
    why = "its payload is no binary spike; the count is that of payloads sent as single spikes"
    return Term(
        "synaptic operations of the input layer", sum(c.sops for c in counts.input_connections), None, None, why
    )


def _loihi1(counts: Counts, prices: Prices) -> tuple[Term, ...]:
    active, inactive = _updates(counts)
    bursts = any(c.payload_max > 1 for c in counts.spiking_connections)
    why = "bursts are unrolled into single spikes; the unrolled netlist (`unroll` of check) has the sub-steps"
    unrolled = (Term("neuron updates of the sub-steps that bursts take", None, None, None, why),) if bursts else ()
    return (
        _priced("synaptic operations", counts.sops, "loihi1_synaptic_op", prices),
        _priced("neuron updates that spike", active, "loihi1_update_active", prices),
        _priced("neuron updates that do not", inactive, "loihi1_update_inactive", prices),
        *unrolled,
        _input_layer(counts),
        Term("spike routing", counts.spikes, None, None, "published per hop; the hops depend on where cores lie"),
        Term("static power", None, None, None, "not published per operation"),
    )


def _truenorth(counts: Counts, prices: Prices) -> tuple[Term, ...]:
    # The price is all in: routing and static power must not be added to it.
    return (_priced("synaptic events", counts.sops, "truenorth_event", prices), _input_layer(counts))


def _unpublished(counts: Counts, prices: Prices) -> tuple[Term, ...]:
    del prices
    why = "no published energy per operation is known"
    sops = sum(c.sops for c in counts.connections)
    return (
        Term("synaptic operations", sops, None, None, why),
        Term("neuron updates", sum(_updates(counts)), None, None, why),
        Term("spike routing", counts.spikes, None, None, why),
        Term("static power", None, None, None, why),
    )


_MODELS: dict[str, Callable[[Counts, Prices], tuple[Term, ...]]] = {"loihi1": _loihi1, "truenorth": _truenorth}
