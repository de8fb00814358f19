"""When each population works: start offsets, path delays and the length of a pipelined run.

The reference has no delay: a burst reaches its targets within the timestep that emits it. Hardware
needs one step per hop. A population at depth d (its longest path from the input) therefore runs
timestep t of the reference at step t + d; connections that skip depth are delayed until everything
that meets at a population belongs to the same timestep (semantics, section 4). Samples follow each
other without a gap: every population starts a sample at its own offset and again T steps later. A connection's own
delay is time that its payloads may use for hops: a loop is balanced where its delays are as many as its hops.

In radix code (section 10) a number is there once its last digit has come: a population that fires has its own first
digit in the step that takes the last one in, so that a hop takes a window. Max-pooling has the digit that it takes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.netlist import AdaFire, InputError, Netlist, NetlistError


@dataclass(frozen=True)
class Window:
    """The steps in which one population computes.

    Parameters
    ----------
    offset : int
        Step of its first timestep.
    timesteps : int
        T; every T steps it starts over with the next sample.
    samples : int
        How many follow each other.
    """

    offset: int
    timesteps: int
    samples: int

    def when(self, step: int) -> tuple[int, int] | None:
        """Return (sample, timestep) to compute at a step counted from 0, or None when idle.

        Examples
        --------
        >>> Window(offset=1, timesteps=4, samples=2).when(5)
        (1, 0)
        """
        local = step - self.offset
        if not 0 <= local < self.samples * self.timesteps:
            return None
        return divmod(local, self.timesteps)

    def sends(self, step: int) -> bool:
        """Return whether the burst of the step before leaves at this step."""
        return self.when(step - 1) is not None


@dataclass(frozen=True)
class Schedule:
    """Offsets and delays of a netlist's pipeline, in steps.

    Parameters
    ----------
    timesteps : int
        T, the steps that one sample occupies each population for.
    offsets : mapping of str to int
        Per population its depth d >= 0: it takes in timestep t of sample n at step ``n * T + t + d``.
    sends : mapping of str to int
        Per population that emits, what takes the place of d for what it sends: the same d in rate code.
    delays : tuple of int
        Per connection, in the netlist's order, steps from the source's burst to its effect, at least 1.
    begins : int
        Timestep in which the input first has something to send: of a window its last one, which takes a picture whole.
    """

    timesteps: int
    offsets: Mapping[str, int]
    sends: Mapping[str, int]
    delays: tuple[int, ...]
    begins: int = 0

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise NetlistError("schedule", f"{self.timesteps} timesteps found, expected at least 1")
        if not self.offsets or min(self.offsets.values()) < 0:
            raise NetlistError("schedule", "every population needs an offset of at least 0")
        if any(sent < self.offsets[name] for name, sent in self.sends.items()):
            raise NetlistError("schedule", "a population cannot send what it has not taken in")
        if self.delays and min(self.delays) < 1:
            raise NetlistError("schedule", f"a delay of {min(self.delays)} found: a hop takes at least one step")

    @property
    def depth(self) -> int:
        """Steps from the first input to the first effect on the deepest population."""
        return max(self.offsets.values())

    def steps(self, samples: int) -> int:
        """Return the length of a run of `samples` back to back: ``samples * T + depth``.

        The deepest population computes its last timestep, number ``samples * T - 1``, `depth` steps
        after the input sent it.

        Raises
        ------
        InputError
            When there is nothing to run.
        """
        if samples < 1:
            raise InputError("schedule", f"{samples} samples found, expected at least 1")
        return samples * self.timesteps + self.depth

    def window(self, name: str, samples: int) -> Window:
        """Return when a population takes in and computes, in a run of `samples` back to back."""
        return Window(self.offsets[name], self.timesteps, samples)

    def sending(self, name: str, samples: int) -> Window:
        """Return when what a population emits is there: it leaves a step later each time."""
        return Window(self.sends[name], self.timesteps, samples)

    @property
    def latency(self) -> int:
        """Steps from the input's first payload until the answer is there, the first and the last counted."""
        return self.steps(1) - self.begins


def schedule(netlist: Netlist) -> Schedule:
    """Balance all paths of a netlist: offsets are longest paths, delays make shorter ones wait.

    A source that sends timestep t at step t + d reaches a target that takes t in at step t + e by waiting e - d steps,
    or by the connection's own delay longer still. A path to the source, longer by the connection, is a path to the
    target: e >= d + 1 less the delay, so that every hop has its step.

    Parameters
    ----------
    netlist : Netlist

    Returns
    -------
    Schedule
        For every connection, delay = offset of the target - what stands for it at the source's sending + its own least
        delay.

    Raises
    ------
    UnsupportedError
        When a loop has more hops than its delays are timesteps.
    """
    last = 0 if netlist.radix is None else netlist.radix.digits - 1
    offsets = dict(netlist.depths) if netlist.radix is None else {}
    sends: dict[str, int] = {}
    for population in netlist.populations:
        name = population.name
        if netlist.radix is not None:
            offsets[name] = max((sends[c.source] + 1 for c in netlist.inputs(name)), default=0)
        if population.emits:
            sends[name] = offsets[name] + (last if isinstance(population, AdaFire) else 0)
    delays = tuple(offsets[c.target] - sends[c.source] + c.least_delay for c in netlist.connections)
    return Schedule(netlist.timesteps, offsets, sends, delays, begins=last)
