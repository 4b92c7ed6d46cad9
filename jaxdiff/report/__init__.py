"""What a run amounts to, as text, JSON and figures."""

from jaxdiff.report.lattice import write_lattice_report
from jaxdiff.report.report import write_report

__all__ = ["write_lattice_report", "write_report"]
