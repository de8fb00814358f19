"""When each population works: start offsets, path delays and the length of a pipelined run.

The reference has no delay: a burst reaches its targets within the timestep that emits it. Hardware
needs one step per hop. A population at depth d (its longest path from the input) therefore runs
timestep t of the reference at step t + d; connections that skip depth are delayed until everything
that meets at a population belongs to the same timestep (semantics, section 4). Samples follow each
other without a gap: every population starts a sample at its own offset and again T steps later. A connection's own
delay is time that its payloads may use for hops: a loop is balanced where its delays are as many as its hops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.netlist import InputError, Netlist, NetlistError


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
        Per population its depth d >= 0: it computes timestep t of sample n at step ``n * T + t + d``.
    delays : tuple of int
        Per connection, in the netlist's order, steps from the source's burst to its effect, at least 1.
    """

    timesteps: int
    offsets: Mapping[str, int]
    delays: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise NetlistError("schedule", f"{self.timesteps} timesteps found, expected at least 1")
        if not self.offsets or min(self.offsets.values()) < 0:
            raise NetlistError("schedule", "every population needs an offset of at least 0")
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
        """Return when a population computes, in a run of `samples` back to back."""
        return Window(self.offsets[name], self.timesteps, samples)


def schedule(netlist: Netlist) -> Schedule:
    """Balance all paths of a netlist: offsets are longest paths, delays make shorter ones wait.

    A source at depth d computes timestep t at step t + d; its burst is due when the target, at depth e,
    computes the same timestep: at step t + e, e - d later, or by the connection's own delay later still. A path to the
    source, longer by the connection, is a path to the target: e >= d + 1, so that every hop has its step.

    Parameters
    ----------
    netlist : Netlist

    Returns
    -------
    Schedule
        For every connection, delay = offset of the target - offset of the source + its own least delay.

    Raises
    ------
    UnsupportedError
        When a loop has more hops than its delays are timesteps.
    """
    offsets = dict(netlist.depths)
    return Schedule(
        timesteps=netlist.timesteps,
        offsets=offsets,
        delays=tuple(offsets[c.target] - offsets[c.source] + c.least_delay for c in netlist.connections),
    )
