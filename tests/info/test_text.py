"""A netlist as text: stable, the same as the golden file, and different wherever the content hash is."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from exchange_netlists import ARCHITECTURES
from hypothesis import given
from hypothesis import strategies as st

from toolchain.files import read_netlist, write_netlist
from toolchain.info import netlist_text
from toolchain.netlist import NetlistError, Provenance

GOLDEN = Path(__file__).parent / "golden"
#: Fields of a netlist that its hash covers, besides populations and connections.
SETTINGS = ("timesteps", "weight_bits", "membrane_bits", "alpha")


def body(text):
    """Return the lines but the last, which names the hash."""
    *lines, last = text.splitlines()
    assert last.startswith("hash ")
    return lines


@pytest.mark.parametrize("architecture", ["every_operator", "residual"])
def test_the_text_is_the_golden_file(architecture):
    netlist = ARCHITECTURES[architecture](seed=7, phi=4)
    assert netlist_text(netlist) == (GOLDEN / f"{architecture}.txt").read_text()


def test_each_population_and_operator_has_a_line(netlist):
    text = netlist_text(netlist)
    counts = {word: sum(line.startswith(word) for line in text.splitlines()) for word in ("population ", "  ")}
    assert counts == {"population ": len(netlist.populations), "  ": sum(len(c.operators) for c in netlist.connections)}
    assert text.endswith(f"\nhash {netlist.content_hash}\n")


def test_the_file_and_the_provenance_leave_no_mark(netlist, tmp_path):
    write_netlist(replace(netlist, provenance=Provenance()), tmp_path / "net.h5")
    assert netlist_text(read_netlist(tmp_path / "net.h5")) == netlist_text(netlist)


def changed(draw, value):
    """Return another value of the same type: one number moved by one, or a text or switch turned."""
    if isinstance(value, np.ndarray):
        at = draw(st.integers(0, value.size - 1))
        step = np.zeros(value.size, value.dtype)
        step[at] = draw(st.sampled_from([-1, 1]))
        return value + step.reshape(value.shape)
    if isinstance(value, tuple) and value:
        at = draw(st.integers(0, len(value) - 1))
        return (*value[:at], changed(draw, value[at]), *value[at + 1 :])
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"direct": "frames", "frames": "direct"}.get(value, f"{value}_")
    return value if isinstance(value, tuple) else value + draw(st.sampled_from([-1, 1]))


@st.composite
def neighbours(draw):
    """A netlist, and one that differs in a single number, text or switch (or not at all)."""
    netlist = ARCHITECTURES[draw(st.sampled_from(sorted(ARCHITECTURES)))](seed=7, phi=4)
    items = [*netlist.populations, *(o for c in netlist.connections for o in c.operators), netlist]
    item = draw(st.sampled_from(items))
    name = draw(st.sampled_from(SETTINGS if item is netlist else [f.name for f in fields(item)]))
    try:
        other = replace(item, **{name: changed(draw, getattr(item, name))})
        if item is netlist:
            return netlist, other
        populations = tuple(other if p is item else p for p in netlist.populations)
        connections = tuple(
            replace(c, operators=tuple(other if o is item else o for o in c.operators)) for c in netlist.connections
        )
        return netlist, replace(netlist, populations=populations, connections=connections)
    except NetlistError:
        return netlist, netlist


@given(neighbours())
def test_texts_differ_exactly_where_hashes_do(pair):
    first, second = pair
    assert (body(netlist_text(first)) != body(netlist_text(second))) == (first.content_hash != second.content_hash)


def test_a_change_is_one_line(make):
    netlist = make("residual")
    stem = replace(netlist.populations[1], threshold=netlist.populations[1].threshold + 1)
    other = replace(netlist, populations=(netlist.populations[0], stem, *netlist.populations[2:]))
    pairs = zip(body(netlist_text(netlist)), body(netlist_text(other)), strict=True)
    assert [a.split()[1] for a, b in pairs if a != b] == ["stem"]
