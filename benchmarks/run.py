"""Run every benchmark, one after the other: `make bench`.

    python benchmarks/run.py [NAME ...]

Each benchmark is a process of its own, prints a table and writes results/NAME.json. The exit status
is 1 when one of them fails. By name only run the reproduction study, an hour for a network, and `gpu`, which needs one.
"""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
#: Those that stand alone; the modules that they share are not among them.
BENCHMARKS = ("simulator", "limits", "early_exit", "cost", "memory", "conversion", "lava", "workers", "search")


def main() -> None:
    wanted = sys.argv[1:] or [name for name in BENCHMARKS if (FOLDER / f"{name}.py").exists()]
    if unknown := [name for name in wanted if not (FOLDER / f"{name}.py").exists()]:
        sys.exit(f"benchmarks/run.py: no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    failed = []
    for name in wanted:
        print(f"== {name}", file=sys.stderr, flush=True)
        result = subprocess.run([sys.executable, FOLDER / f"{name}.py"], check=False, env=os.environ)
        if result.returncode:
            failed.append(name)
    if failed:
        sys.exit(f"benchmarks/run.py: {', '.join(failed)} failed")


if __name__ == "__main__":
    main()
