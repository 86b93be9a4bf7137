"""holdfast: image classifiers trained by feedback, and whether their robustness is real."""

from holdfast import (
    attack,
    data,
    diagnosis,
    evaluation,
    feedback,
    margin,
    model,
    report,
    retraining,
    training,
)
from holdfast.diagnosis import diagnose
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.record import version
from holdfast.retraining import retrain
from holdfast.training import train

__version__ = version()

__all__ = [
    "BadInput",
    "attack",
    "data",
    "diagnose",
    "diagnosis",
    "evaluate",
    "evaluation",
    "feedback",
    "margin",
    "model",
    "report",
    "retrain",
    "retraining",
    "train",
    "training",
]
