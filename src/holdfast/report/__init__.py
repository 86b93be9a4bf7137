"""Records as figures."""

from holdfast.report.figures import bars, curves

__all__ = ["bars", "curves"]
