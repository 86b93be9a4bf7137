"""Records as figures, and for TensorBoard."""

from holdfast.report.figures import bars, curves, heat
from holdfast.report.tensorboard import tensorboard

__all__ = ["bars", "curves", "heat", "tensorboard"]
