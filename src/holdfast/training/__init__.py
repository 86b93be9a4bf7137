"""Training: the loop, its settings, its checkpoints."""

from holdfast.training.loop import Diverged, train
from holdfast.training.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    AdamW,
    Constant,
    Cosine,
    Decay,
    OneCycle,
    RMSprop,
)
from holdfast.training.recipe import Adversarial, Watch

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "AdamW",
    "Adversarial",
    "Constant",
    "Cosine",
    "Decay",
    "Diverged",
    "OneCycle",
    "RMSprop",
    "Watch",
    "train",
]
