"""Design rules: does a netlist fit a target, what breaks, and what would help.

A rule is a small function that yields violations; `RULES` is the list, and `check` runs all of it.
A number that no source states is not checked, and the report says so.
"""

from hw_targets.rules.check import RULES, Rule, check
from hw_targets.rules.report import CheckReport, Violation

__all__ = ["RULES", "CheckReport", "Rule", "Violation", "check"]
