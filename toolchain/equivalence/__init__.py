"""Whether two executors computed the same, and where they first did not."""

from toolchain.equivalence.compare import Divergence, EquivalenceReport, compare, join

__all__ = ["Divergence", "EquivalenceReport", "compare", "join"]
