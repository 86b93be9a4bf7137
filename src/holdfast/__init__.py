"""holdfast: image classifiers trained by feedback, and whether their robustness is real."""

from holdfast import attack, data, diagnosis, feedback, margin, model, training
from holdfast.diagnosis import diagnose
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.record import version
from holdfast.training import train

__version__ = version()

__all__ = [
    "BadInput",
    "attack",
    "data",
    "diagnose",
    "diagnosis",
    "evaluate",
    "feedback",
    "margin",
    "model",
    "train",
    "training",
]
