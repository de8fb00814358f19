"""Whether two executors computed the same, where they first did not, and why."""

from toolchain.equivalence.compare import Divergence, EquivalenceReport, compare, join
from toolchain.equivalence.explain import Candidate, Contribution, Explanation, Membrane, diagnose

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
]
