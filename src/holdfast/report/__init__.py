"""Records as figures, and for TensorBoard."""

from holdfast.report.figures import bars, curves, heat, histograms
from holdfast.report.landscapes import contour, surface
from holdfast.report.ranges import ranges
from holdfast.report.tensorboard import tensorboard

__all__ = ["bars", "contour", "curves", "heat", "histograms", "ranges", "surface", "tensorboard"]
