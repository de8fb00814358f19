"""Rewriting of operator chains: fewer operators, the same linear map.

Scales (normalisation, averages) fold into a neighbouring weight, slices move towards the source and pads towards the
target until a weight absorbs them, so that a concatenation becomes connections that read slices of the next layer's
weights. Every rule is an identity of linear maps with a name; the tests hold the text of a chain before and after each,
and compare both sides on random chains.
"""

from toolchain.frontend.rewrites.parallel import SUM_RULES, join_parallel
from toolchain.frontend.rewrites.rule import Chain, Rule, SumRule, Zero
from toolchain.frontend.rewrites.simplify import RULES, simplify

__all__ = ["RULES", "SUM_RULES", "Chain", "Rule", "SumRule", "Zero", "join_parallel", "simplify"]
