"""What every benchmark shares: the machine's facts, interleaved timing, tables and result files."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def machine_facts() -> dict[str, Any]:
    """Say what ran: processor, cores, instructions that matter, versions, load when it started."""
    model = ""
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else ""
    found = torch.cpu.get_capabilities()
    wanted = ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "l2_cache_size", "num_physical_cores")
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: found.get(name) for name in wanted},
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "numba")},
        "commit": _commit(),
    }


def processor_seconds() -> float:
    """Return what this process and its finished children have used of the processor."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def _commit() -> str | None:
    result = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return result.stdout.strip() or None


def interleave(
    functions: Mapping[str, Callable[[], object]], rounds: int, *, clock: Callable[[], float] = perf_counter
) -> dict[str, list[float]]:
    """Time functions in turn, so that what else the machine does hits all of them alike.

    Returns the seconds of every round by `clock`; each function runs once before, untimed.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], name: str, base: str) -> float:
    """Return the median over rounds of one function's time over another's."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys, to stderr: stdout is for `--json`."""
    table = Table()
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else "" if v is None else str(v) for v in row.values()))
    # A file is wider than the 80 columns that rich takes it for.
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    console.print(title, highlight=False)
    console.print(table)


def finish(name: str, result: Mapping[str, Any], *, as_json: bool) -> None:
    """Write results/NAME.json with the machine's facts; print the object where it was asked for."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps({"machine": machine_facts(), **result}, indent=2) + "\n")
    scratch.replace(path)
    if as_json:
        print(json.dumps(result))
    else:
        print(f"{path}", file=sys.stderr)
