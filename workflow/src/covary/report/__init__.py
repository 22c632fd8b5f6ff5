"""The association report: one HTML page that needs no other file."""

from covary.report.page import FIGURES, TABLES, render
from covary.report.runtime import read_benchmarks
from covary.report.summary import concerns, sentences, verdicts

__all__ = ["FIGURES", "TABLES", "concerns", "read_benchmarks", "render", "sentences", "verdicts"]
