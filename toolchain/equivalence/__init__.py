"""Whether two executors computed the same, where they first did not, and why."""

from toolchain.equivalence.compare import compare, join
from toolchain.equivalence.explain import diagnose
from toolchain.equivalence.result import (
    Candidate,
    Contribution,
    Divergence,
    EquivalenceReport,
    Explanation,
    Membrane,
)
from toolchain.equivalence.verify import verify

__all__ = [
    "Candidate",
    "Contribution",
    "Divergence",
    "EquivalenceReport",
    "Explanation",
    "Membrane",
    "compare",
    "diagnose",
    "join",
    "verify",
]
