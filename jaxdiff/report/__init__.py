"""What a run amounts to, as text, JSON and figures."""

from jaxdiff.report.lattice import write_lattice_report
from jaxdiff.report.report import write_report
from jaxdiff.report.transport import read_transport, write_transport_report

__all__ = [
    "read_transport",
    "write_lattice_report",
    "write_report",
    "write_transport_report",
]
