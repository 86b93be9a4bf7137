"""What a training run is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from holdfast import attack, noise
from holdfast.data import Augment, Dataset
from holdfast.errors import BadInput, name_of, require_call, require_value
from holdfast.feedback import OBJECTIVES, adversary_loss, leaves, needs_pairs
from holdfast.geometry import require_radius_in_box
from holdfast.limits import ABOVE_0, AT_LEAST_0, AT_LEAST_1, SHARE_INSIDE, require_ranges
from holdfast.model import Mode
from holdfast.training.guard import Guard, hardened
from holdfast.training.optimizer import Optimizer
from holdfast.training.perturb import AWP
from holdfast.training.schedule import Schedule
from holdfast.types import Attack, Norm, Objective


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """How adversarial images enter training.

    Raises BadInput for a setting out of range.

    Attributes:
        mix: `adv` trains on adversarial images alone (Gupta 2020, Algorithm 1), `both` on the
            clean loss plus `weight` times the adversarial one (Zou et al. 2026).
        weight: of the adversarial loss in `both`.
        start: epochs of clean training that come first.
        ramp: epochs over which the radius then grows from 0.
        loss: `own` climbs the adversary's own loss, `objective` the loss that is trained, `kl` the
            divergence from the clean prediction; `auto` is `kl` for trades, else `own`.
        mode: `eval` makes the images with dropout off, `train` with it on.
    """

    mix: Literal["adv", "both"] = "adv"
    weight: float = 1.0
    start: int = 0
    ramp: float = 0.0
    loss: Literal["auto", "own", "objective", "kl"] = "auto"
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        require_ranges(self, weight=AT_LEAST_0, start=AT_LEAST_0, ramp=AT_LEAST_0)

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
        require_ranges(
            self, images=AT_LEAST_1, steps=AT_LEAST_1, every=AT_LEAST_1, radius=AT_LEAST_0
        )

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


EXAMPLES: dict[str, tuple[str, Any]] = {
    "data": ("data.load('digits') or data.from_arrays(...)", Dataset),
    "objective": ("feedback.PolicyGradient()", Callable),
    "adversary": ("attack.PGD()", Callable),
    "adversarial": ("training.Adversarial(mix='both')", Adversarial),
    "optimizer": ("training.AdamW()", Optimizer),
    "schedule": ("training.Cosine()", Callable),
    "augment": ("data.Augment(flip=True)", Augment),
    "awp": ("training.AWP()", AWP),
    "guard": ("training.Guard()", Guard),
    "watch": ("training.Watch(images=500)", Watch),
}
NAMED: dict[str, tuple[str, Mapping[str, Any]]] = {
    "objective": ("feedback", OBJECTIVES), "adversary": ("attack", attack.ATTACKS),
}  # fmt: skip
OF_LOGITS = ", or a loss of (logits, y) in hf.feedback.Supervised(loss=...)"
CALLS: dict[str, tuple[Any, ...]] = {
    "objective": (("model", "batch", "state"), (), OF_LOGITS),
    "adversary": (("model", "x", "y"), attack.OPTIONAL_ARGUMENTS),
    "schedule": (("update", "per_epoch", "total"), ()),
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
    awp: AWP
    guard: Guard
    watch: Watch
    best: Literal["auto", "clean", "robust"]
    keep_every: int
    precision: Literal["auto", "fp32", "bf16"]
    device: str
    seed: int

    def __post_init__(self) -> None:
        require_ranges(
            self, epochs=AT_LEAST_1, batch_size=AT_LEAST_1, ema=SHARE_INSIDE, keep_every=AT_LEAST_0,
            clip=ABOVE_0,
        )  # fmt: skip
        noise.require_seed(self.seed)
        if self.adversary is not None:
            self._check_adversary(self.adversary)
        elif needing := self._paired():
            name = name_of(needing[0], "the objective")
            raise BadInput(f"expected an adversary for {name}, got none; give one, such as pgd")
        elif self.guard.rolls_back:
            raise BadInput("expected an adversary for catastrophe=rollback, got none; take warn")
        watched = {"best=robust": self.best == "robust",
                   "catastrophe=stop": self.guard.catastrophe == "stop"}  # fmt: skip
        for name, wanted in watched.items():
            if wanted and not self.watch.attacks(self.adversary):
                raise BadInput(f"expected an adversary or a watch radius for {name}, got neither")

    def _check_adversary(self, adversary: Attack) -> None:
        """Raises BadInput for an adversary that cannot do what is asked of it."""
        require_radius_in_box(getattr(adversary, "radius", 0.0), getattr(adversary, "norm", "linf"))
        if self.adversarial.start >= self.epochs:
            raise BadInput(
                f"expected adversarial.start below the {self.epochs} epochs, got "
                f"{self.adversarial.start}: the adversary would never come"
            )
        if self.adversarial.ramp:
            attack.with_settings(adversary, radius=0.0)
            if getattr(adversary, "radius", None) is None:
                raise BadInput("expected an adversary with a radius for adversarial.ramp, got None")
        self._check_climb(adversary)
        if self.guard.catastrophe == "rollback":
            hardened(adversary, 1)
            if self.watch.every > 1:
                raise BadInput(
                    "expected watch.every=1 for catastrophe=rollback, which does one epoch again, "
                    f"got {self.watch.every}; take stop, or measure every epoch"
                )
        if self.adversarial.mix == "both" and (two := self._paired()):
            raise BadInput(
                f"expected adversarial.mix=adv for {name_of(two[0], 'pairs')}, "
                "whose loss holds clean and adversarial images already, got both"
            )

    def _check_climb(self, adversary: Attack) -> None:
        """Raises BadInput for an adversary that cannot climb the loss that it is to climb."""
        wanted = self.adversarial.loss
        if wanted == "auto":
            wanted = "kl" if "kl" in map(adversary_loss, leaves(self.objective)) else "own"
        name = name_of(adversary, "an adversary")
        if wanted != "own" and "loss" not in attack.settings_of(adversary):
            raise BadInput(
                f"expected an adversary that can climb the loss {wanted}, got {name}, which has no "
                "setting `loss`; take pgd or apgd, or adversarial.loss=own"
            )
        if wanted != "own" and getattr(adversary, "targets", 0):
            raise BadInput(
                f"expected an adversary without targets to climb the loss {wanted}, got {name} "
                "with some; take targets=0, or adversarial.loss=own"
            )
        if wanted == "objective" and (two := self._paired()):
            name = name_of(two[0], "an objective of pairs")
            raise BadInput(
                f"expected adversarial.loss of auto, kl or own for {name}, whose loss needs the "
                "adversarial images that are being made; got objective"
            )
        if wanted == "kl" and getattr(adversary, "start", "random") == "clean":
            remedy = "start=random" if "start" in attack.settings_of(adversary) else "pgd"
            raise BadInput(
                "expected an adversary with a random start to climb the divergence, whose gradient "
                f"at the image is zero; got {name} with start=clean, take {remedy}"
            )

    def _paired(self) -> list[Objective]:
        """The objectives that take clean and adversarial images together."""
        return [one for one in leaves(self.objective) if needs_pairs(one)]

    @property
    def criterion(self) -> str:
        """The measurement on the validation split that decides which checkpoint is best."""
        robust = self.best == "robust" or (self.best == "auto" and self.adversary is not None)
        attacked = robust and self.watch.attacks(self.adversary)
        return "validation_pgd" if attacked else "validation_clean"


def require_values(**settings: Any) -> None:
    """Raises BadInput for words of the command line, numbers and classes in the place of values;
    settings that are no values are passed over."""
    for name, (example, kinds) in EXAMPLES.items():
        value = settings.get(name)
        if name in settings and (name, value) != ("adversary", None):
            module, table = NAMED.get(name, ("", {}))
            if isinstance(value, str) and value in table:
                example = f"{module}.{table[value].__name__}()"
            require_value(name, value, example, kinds)
            if name in CALLS:
                require_call(name, value, *CALLS[name])
