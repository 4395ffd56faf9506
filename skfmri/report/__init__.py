"""A report of a run as one HTML file."""

from skfmri.report.document import write_report

__all__ = ["write_report"]
