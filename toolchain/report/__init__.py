"""One run of a netlist as a report: a self-contained page, JSON, CSV, Markdown."""

from toolchain.report.measure import Measurement, measure
from toolchain.report.render import to_html
from toolchain.report.rows import Row, rows, to_json
from toolchain.report.text import to_csv, to_markdown

__all__ = ["Measurement", "Row", "measure", "rows", "to_csv", "to_html", "to_json", "to_markdown"]
