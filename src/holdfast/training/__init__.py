"""Training: the loop, its settings, its checkpoints."""

from holdfast.training.epoch import Diverged
from holdfast.training.folder import changed_since, has_no_checkpoint
from holdfast.training.guard import Guard
from holdfast.training.job import as_network
from holdfast.training.loop import train
from holdfast.training.optimizer import OPTIMIZERS, SGD, AdamW, RMSprop
from holdfast.training.perturb import AWP
from holdfast.training.ready import rehearse
from holdfast.training.recipe import Adversarial, Recipe, Watch
from holdfast.training.schedule import SCHEDULES, Constant, Cosine, Decay, OneCycle, Steps

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
    "Recipe",
    "Steps",
    "Watch",
    "as_network",
    "changed_since",
    "has_no_checkpoint",
    "rehearse",
    "train",
]
