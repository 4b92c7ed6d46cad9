"""What a run amounts to, as text, JSON and figures."""

from jaxdiff.report.report import write_report

__all__ = ["write_report"]
