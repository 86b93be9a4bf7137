"""Training: the loop, its settings, its checkpoints."""

from holdfast.training.guard import Guard
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
from holdfast.training.perturb import AWP
from holdfast.training.recipe import Adversarial, Watch

__all__ = [
    "AWP",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "AdamW",
    "Adversarial",
    "Constant",
    "Cosine",
    "Decay",
    "Diverged",
    "Guard",
    "OneCycle",
    "RMSprop",
    "Watch",
    "train",
]
