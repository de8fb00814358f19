"""Which kernels numpy's OpenBLAS should use: it does not recognise every processor.

The OpenBLAS in numpy 1.26 falls back to code from 2004 on processors that are newer than itself, and
is then three times as slow. Its choice can be named in the environment before it loads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"

#: OpenBLAS's names for families of kernels, best first, and the instructions that they use.
CORE_TYPES: tuple[tuple[str, frozenset[str]], ...] = (
    ("SkylakeX", frozenset({"avx2", "fma", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})),
    ("Haswell", frozenset({"avx2", "fma"})),
)


def core_type(instructions: Collection[str]) -> str | None:
    """Return the best core type for a processor's instruction sets (names as in /proc/cpuinfo)."""
    for name, needed in CORE_TYPES:
        if needed <= set(instructions):
            return name
    return None


def blas_environment(environment: Mapping[str, str], cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return what to add to a worker's environment: one thread each, the processor's own kernels."""
    added = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    if VARIABLE not in environment and cpuinfo.is_file():
        flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
        name = core_type(flags.partition(":")[2].split())
        if name:
            added[VARIABLE] = name
    return added
