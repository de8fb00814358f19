"""One run of a netlist as a report: a self-contained page, JSON, CSV, Markdown."""

from toolchain.report.baselines import Baseline, run_baseline
from toolchain.report.comparison import compare_html
from toolchain.report.measure import Measurement, measure
from toolchain.report.render import to_html
from toolchain.report.rows import Row, rows, to_json
from toolchain.report.run import converted_for, run_report
from toolchain.report.text import to_csv, to_markdown
from toolchain.report.written import check_report_path, written

__all__ = [
    "Baseline",
    "Measurement",
    "Row",
    "check_report_path",
    "compare_html",
    "converted_for",
    "measure",
    "rows",
    "run_baseline",
    "run_report",
    "to_csv",
    "to_html",
    "to_json",
    "to_markdown",
    "written",
]
