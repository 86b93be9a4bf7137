"""Records as figures, tables and a page, and for TensorBoard."""

from holdfast.report.budgets import budgets
from holdfast.report.differences import differences
from holdfast.report.figures import bars, curves, heat, histograms
from holdfast.report.gallery import MOST, images
from holdfast.report.landscapes import contour, surface
from holdfast.report.measured import Measured, measured
from holdfast.report.page import page
from holdfast.report.ranges import ranges
from holdfast.report.summary import Summary, summary
from holdfast.report.tensorboard import tensorboard

__all__ = [
    "MOST", "Measured", "Summary", "bars", "budgets", "contour", "curves", "differences", "heat",
    "histograms", "images", "measured", "page", "ranges", "summary", "surface", "tensorboard",
]  # fmt: skip
