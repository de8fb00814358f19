"""Run every benchmark, one after the other, and end with one table of figures and aims: `make bench`.

    python benchmarks/run.py [NAME ...]

Each benchmark is a process of its own, prints a table and writes results/NAME.json. The exit status
is 1 when one of them fails. By name only run the reproduction study, an hour for a network, and `gpu`, which needs one.
"""

import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from measure import finish, print_table, processor_seconds
from summary import print_summary

FOLDER = Path(__file__).parent
#: Those that stand alone; the modules that they share are not among them.
BENCHMARKS = ("simulator", "limits", "early_exit", "cost", "memory", "conversion", "lava", "workers", "search")


def timed(name: str) -> dict[str, Any]:
    """Run one benchmark; return what it took, its processes included, and whether it failed."""
    print(f"== {name}", file=sys.stderr, flush=True)
    started, used = perf_counter(), processor_seconds()
    result = subprocess.run([sys.executable, FOLDER / f"{name}.py"], check=False)
    return {
        "benchmark": name,
        "wall s": round(perf_counter() - started),
        "processor s": round(processor_seconds() - used),
        "status": result.returncode,
    }


def main() -> None:
    wanted = sys.argv[1:] or BENCHMARKS
    if unknown := [name for name in wanted if not (FOLDER / f"{name}.py").exists()]:
        sys.exit(f"benchmarks/run.py: no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    rows = [timed(name) for name in wanted]
    wall, processor = (sum(row[kind] for row in rows) for kind in ("wall s", "processor s"))
    print_table(f"what benchmarks took: {wall} s, {processor} of the processor", rows)
    if len(wanted) == len(BENCHMARKS):
        finish("run", {"benchmarks": rows, "wall s": wall, "processor s": processor}, as_json=False)
    print_summary()
    if failed := [row["benchmark"] for row in rows if row["status"]]:
        sys.exit(f"benchmarks/run.py: {', '.join(failed)} failed")


if __name__ == "__main__":
    main()
