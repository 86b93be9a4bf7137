"""What a training run is made of."""

from dataclasses import dataclass
from typing import Literal

from holdfast import attack
from holdfast.data import Augment
from holdfast.errors import BadInput
from holdfast.model import Mode
from holdfast.training.optimizer import Optimizer, Schedule
from holdfast.types import Attack, Norm, Objective


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """How adversarial images enter training.

    Raises BadInput for a setting out of range.

    Attributes:
        mix: `adv` trains on adversarial images alone (Gupta 2020, Algorithm 1), `both` on the
            clean loss plus `rate` times the adversarial one (Zou et al. 2026).
        rate: weight of the adversarial loss in `both`.
        start: epochs of clean training that come first.
        ramp: epochs over which the radius then grows from 0.
        loss: `own` climbs the adversary's own loss; `objective` climbs the loss that is trained.
        mode: `eval` makes the images with dropout off, `train` with it on.
    """

    mix: Literal["adv", "both"] = "adv"
    rate: float = 1.0
    start: int = 0
    ramp: float = 0.0
    loss: Literal["own", "objective"] = "own"
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        for name in ("rate", "start", "ramp"):
            if getattr(self, name) < 0:
                raise BadInput(f"expected {name} of 0 or more, got {getattr(self, name)}")

    def share(self, progress: float) -> float:
        """Share of the full radius after `progress` epochs; 0 before the start."""
        if progress < self.start:
            return 0.0
        return min((progress - self.start) / self.ramp, 1.0) if self.ramp else 1.0


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is measured after each epoch, on part of the training and of the validation images.

    Raises BadInput for a setting out of range.

    Attributes:
        images: how many of each split.
        radius: budget of the watching FGSM and PGD; None: the adversary's (no attack without one).
        steps: of the watching PGD; 10 decides what is called best.
        every: epochs between two measurements with attacks.
    """

    images: int = 1000
    radius: float | None = None
    steps: int = 10
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("images", "steps", "every"):
            if getattr(self, name) < 1:
                raise BadInput(f"expected {name} of 1 or more, got {getattr(self, name)}")

    def attacks(self, adversary: Attack | None) -> dict[str, Attack]:
        """The watching attacks by name; none where there is no radius to attack with."""
        radius = getattr(adversary, "radius", None) if self.radius is None else self.radius
        if radius is None:
            return {}
        norm: Norm = getattr(adversary, "norm", None) or "linf"
        return {
            "fgsm": attack.FGSM(radius=radius, norm=norm),
            "pgd": attack.PGD(radius=radius, norm=norm, steps=self.steps),
        }


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of one run; `train` says what each means and what it is by default."""

    objective: Objective
    adversary: Attack | None
    adversarial: Adversarial
    epochs: int
    batch_size: int
    optimizer: Optimizer
    schedule: Schedule
    augment: Augment
    clip: float | None
    ema: float | None
    watch: Watch
    best: Literal["auto", "clean", "robust"]
    keep_every: int
    precision: Literal["auto", "fp32", "bf16"]
    device: str
    seed: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise BadInput(f"expected {name} of 1 or more, got {getattr(self, name)}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise BadInput(f"expected an ema decay between 0 and 1, got {self.ema}")
        if self.clip is not None and not self.clip > 0:
            raise BadInput(f"expected a clip above 0, got {self.clip}")
        self.watch.attacks(self.adversary)  # refuses a radius that makes no sense
        entry = self.adversarial
        if self.adversary is not None and entry.ramp:
            attack.resized(self.adversary, radius=0.0)
        if self.adversary is not None and entry.loss == "objective":
            attack.resized(self.adversary, loss="ce")
        if self.best == "robust" and not self.watch.attacks(self.adversary):
            raise BadInput("expected an adversary or a watch radius for best=robust, got neither")

    @property
    def criterion(self) -> str:
        """The measurement on the validation split that decides which checkpoint is best."""
        robust = self.best == "robust" or (self.best == "auto" and self.adversary is not None)
        attacked = robust and self.watch.attacks(self.adversary)
        return "validation_pgd" if attacked else "validation_clean"
