"""What a run on Lava cost, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from toolchain.display import Displayed
from toolchain.netlist import Trace

if TYPE_CHECKING:
    from rich.console import RenderableType

#: The fields of `ProcessTime`.
ACTIVITIES = ("send", "receive", "compute", "record")


@dataclass(frozen=True)
class ProcessTime:
    """Seconds that one population's process spent, summed over the run.

    Parameters
    ----------
    send, receive : float
        In Lava's ports; `receive` includes waiting for the sender.
    compute : float
        Connections and neurons.
    record : float
        Writing the trace.
    """

    send: float
    receive: float
    compute: float
    record: float


@dataclass(frozen=True)
class LavaTiming(Displayed):
    """Wall time of a run.

    Parameters
    ----------
    samples, lanes, steps : int
    total : float
        Seconds, all included, as the caller sees them.
    phases : mapping of str to float
        Seconds of the worker's phases: load (imports, job), build (Processes, kernels), compile
        (Lava's compiler, creation of the OS processes), run, stop.
    processes : mapping of str to ProcessTime
        By population.
    """

    samples: int
    lanes: int
    steps: int
    total: float
    phases: Mapping[str, float]
    processes: Mapping[str, ProcessTime]

    @property
    def step(self) -> float:
        """Seconds per step."""
        return self.phases["run"] / self.steps

    @property
    def start_up(self) -> float:
        """Seconds before the first and after the last step."""
        return self.total - self.phases["run"]

    def busy(self, activity: str) -> float:
        """Seconds of one activity of `ProcessTime`, over all processes."""
        return float(sum(getattr(p, activity) for p in self.processes.values()))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "samples": self.samples,
            "lanes": self.lanes,
            "steps": self.steps,
            "seconds": self.total,
            "seconds_per_step": self.step,
            "start_up_seconds": self.start_up,
            "phases": dict(self.phases),
            "activities": {name: self.busy(name) for name in ACTIVITIES},
            "processes": {name: asdict(p) for name, p in self.processes.items()},
        }

    def __rich__(self) -> RenderableType:
        """Show where the seconds went, by phase and by process."""
        from rich.console import Group
        from rich.table import Table

        phases = Table("seconds", *self.phases, "total", title=f"Lava: {self.steps} steps of {1e3 * self.step:.3g} ms")
        phases.add_row(
            f"{self.samples} samples, {self.lanes} side by side",
            *(f"{seconds:.3g}" for seconds in (*self.phases.values(), self.total)),
        )
        processes = Table("process (seconds)", *ACTIVITIES)
        for name, process in self.processes.items():
            processes.add_row(name, *(f"{getattr(process, activity):.3g}" for activity in ACTIVITIES))
        return Group(phases, processes)


def add_timings(timings: Sequence[LavaTiming]) -> LavaTiming:
    """Return the sum of consecutive runs, one start-up each.

    Parameters
    ----------
    timings : sequence of LavaTiming
        At least one; of the same netlist.
    """

    def total(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {name: sum(v[name] for v in values) for name in values[0]}

    return LavaTiming(
        samples=sum(t.samples for t in timings),
        lanes=max(t.lanes for t in timings),
        steps=sum(t.steps for t in timings),
        total=sum(t.total for t in timings),
        phases=total([t.phases for t in timings]),
        processes={
            name: ProcessTime(**total([asdict(t.processes[name]) for t in timings])) for name in timings[0].processes
        },
    )


@dataclass(frozen=True, eq=False)
class LavaRun(Displayed):
    """A run on Lava: what came out, and what it cost."""

    trace: Trace
    timing: LavaTiming

    def __rich__(self) -> RenderableType:
        """Show what it cost: the trace is for `toolchain.equivalence` to read."""
        return self.timing
