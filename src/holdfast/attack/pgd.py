"""Projected gradient descent, the attack of adversarial training."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from holdfast.attack._climb import gradient, higher, positions, require
from holdfast.geometry import ascent, confine, sample
from holdfast.loss import Loss, LossName, called, full
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

STREAM = 1  # keeps these numbers apart from those of other users of the same seed


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Steps along the steepest direction, each pulled back into ball and pixel box
    (Madry et al., arXiv 1706.06083).

    With `norm="l1"` a step changes few pixels, and ball and box are projected onto together
    (Croce and Hein, arXiv 2103.01208, section 3); what their steps learn on the way is left out.
    `steps=1, stride=1.25` is FGSM with a random start (Wong et al., arXiv 2001.03994).
    Raises BadInput for a radius, number of steps or of restarts that makes no sense.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        steps: gradient steps of one restart.
        stride: length of a step as a share of the radius.
        start: `random` begins anywhere in the ball, `clean` at the image.
        restarts: tries per image; more than one keeps the best.
        best: return the iterate of highest loss (one more forward pass), not the last one.
        loss: what is climbed.
        seed: of the random starts; each is a function of seed, image index and restart alone.
    """

    name: ClassVar[str] = "pgd"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 10
    stride: float = 0.25
    start: Literal["random", "clean"] = "random"
    restarts: int = 1
    best: bool = False
    loss: LossName | Loss = "ce"
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.radius, self.steps, self.restarts)

    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        index = positions(x, index)
        adv, height = self._climb(model, x, y, self._start(x, index, 0))
        for restart in range(1, self.restarts):
            rival, rival_height = self._climb(model, x, y, self._start(x, index, restart))
            adv, height = higher(adv, height, rival, rival_height)
        return adv

    def _start(self, x: Images, index: Labels, restart: int) -> Images:
        if self.start == "clean":
            return x
        return (x + sample(x, self.radius, self.norm, index, self.seed, STREAM, restart)).clamp(
            0, 1
        )

    def _climb(
        self, model: Classifier, x: Images, y: Labels, adv: Images
    ) -> tuple[Images, PerImage]:
        """One restart: the last or best iterate, and its loss (-inf unless compared)."""
        loss, compare = called(self.loss), self.best or self.restarts > 1
        top, height = adv, torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        for _ in range(self.steps):
            climb, logits = gradient(model, adv, y, loss)
            if compare:
                top, height = higher(top, height, adv, loss(logits, y))
            step = ascent(adv, climb, self.stride * self.radius, self.norm)
            adv = confine(x, adv + step, self.radius, self.norm)
        if not compare:
            return adv, height
        with torch.no_grad():
            return higher(top, height, adv, loss(full(model(adv)), y))
