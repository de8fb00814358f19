"""Offsets, delays and length of a pipelined run."""

from dataclasses import replace

import pytest
from random_netlists import radix_netlist

from hw_targets.schedule import Schedule, schedule
from toolchain.netlist import AdaFire, InputError, NetlistError, UnsupportedError


def test_offsets_are_longest_paths(architecture, make_netlist):
    netlist = make_netlist(architecture)
    found = schedule(netlist)
    assert found.offsets[netlist.input.name] == 0
    for population in netlist.populations[1:]:
        incoming = [found.offsets[c.source] + 1 - c.least_delay for c in netlist.inputs(population.name)]
        assert found.offsets[population.name] == max(incoming, default=0)


def test_what_meets_belongs_to_the_same_timestep(architecture, make_netlist):
    """A burst of step s, delayed, takes effect when its target computes the same timestep of the same sample."""
    netlist = make_netlist(architecture)
    found = schedule(netlist)
    for connection, delay in zip(netlist.connections, found.delays, strict=True):
        assert delay >= 1
        source, target = found.window(connection.source, 3), found.window(connection.target, 3)
        for step in range(found.steps(3)):
            assert source.when(step) == target.when(step + delay - connection.least_delay)


def test_a_loop_needs_as_many_timesteps_as_hops(make_netlist):
    netlist = make_netlist("recurrent")
    back = next(c for c in netlist.connections if c.name == "b->a")
    hasty = replace(netlist, connections=(*(c for c in netlist.connections if c is not back), replace(back, delay=1)))
    with pytest.raises(UnsupportedError, match=r"the loop .* has more hops than timesteps of delay") as error:
        schedule(hasty)
    assert "a -> b -> a" in str(error.value) or "b -> a -> b" in str(error.value)


def test_the_shortcut_waits(make_netlist):
    netlist = make_netlist("shortcut")
    delays = {c.name: d for c, d in zip(netlist.connections, schedule(netlist).delays, strict=True)}
    assert delays["a->c"] == 2
    assert delays["b->c"] == 1


def test_samples_follow_each_other_without_a_gap(make_netlist):
    found = schedule(make_netlist("residual", timesteps=4))
    assert found.depth == 5
    assert found.steps(1) == 4 + 5
    assert found.steps(10) == 10 * 4 + 5
    seen = [found.window("b", 2).when(step) for step in range(found.steps(2))]
    assert seen == [None, None, *((n, t) for n in range(2) for t in range(4)), None, None, None]


@pytest.mark.parametrize("architecture", ["residual", "maxpool", "upsampling"])
def test_digits_wait_whole_windows(architecture):
    """What a target takes in at a step is what its sources sent a delay before: the same digit of the same sample."""
    netlist = radix_netlist(architecture, digits=3)
    found = schedule(netlist)
    for connection, delay in zip(netlist.connections, found.delays, strict=True):
        assert delay >= 1
        source, target = found.sending(connection.source, 3), found.window(connection.target, 3)
        for step in range(found.steps(3)):
            assert source.when(step) == target.when(step + delay)
    for population in netlist.spiking:
        first = found.sending(population.name, 1).offset
        # A number needs its last digit; the leading digits of a maximum are there with those of what it is taken over.
        waits = 2 if isinstance(population, AdaFire) else 0
        assert first == found.window(population.name, 1).offset + waits
    assert found.latency == found.steps(1) - 2


def test_nothing_to_run(make_netlist):
    with pytest.raises(InputError, match="0 samples"):
        schedule(make_netlist()).steps(0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timesteps": 0}, "0 timesteps"),
        ({"offsets": {}}, "offset"),
        ({"offsets": {"input": 0, "a": -1}}, "offset"),
        ({"delays": (1, 0)}, "a delay of 0"),
        ({"sends": {"input": 0, "a": 0}}, "not taken in"),
    ],
)
def test_a_schedule_that_cannot_be(fields, message):
    good = {"timesteps": 3, "offsets": {"input": 0, "a": 1}, "sends": {"input": 0}, "delays": (1,)}
    assert Schedule(**good).steps(1) == 4
    with pytest.raises(NetlistError, match=message):
        Schedule(**{**good, **fields})
