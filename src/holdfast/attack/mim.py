"""The momentum iterative method."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.attack._common import ENOUGH, mean_normalised, positions, require_not_l1
from holdfast.geometry import confine, per_image, steepest
from holdfast.limits import ABOVE_0, AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.loss import Loss, LossName, gradient, is_clearly_wrong, resolve_loss
from holdfast.types import Classifier, Images, Labels, Norm


@dataclass(frozen=True, kw_only=True)
class MIM:
    """BIM along a running sum of gradients (Dong et al., arXiv 1710.06081, algorithm 1).

    Each image's gradient is divided by its mean absolute value before it is added: the paper's
    L1 norm up to a constant, which no step depends on. Where it is called with `stop`, as the
    evaluator does, an image rests once it is wrong. Raises BadInput for a radius, number of steps
    or decay that makes no sense.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        steps: gradient steps.
        rel_stepsize: length of a step as a share of the radius; the paper takes 1 / steps.
        decay: what is left of the sum after each step; 0 is BIM.
        loss: what is climbed.
        draws: passes over whose gradients the mean is taken at each step, for a model that is
            random.
    """

    name: ClassVar[str] = "mim"
    start: ClassVar[str] = "clean"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 10
    rel_stepsize: float = 0.1
    decay: float = 1.0
    loss: LossName | Loss = "ce"
    draws: int = 1

    def __post_init__(self) -> None:
        require_ranges(
            self, radius=AT_LEAST_0, steps=AT_LEAST_1, rel_stepsize=ABOVE_0, decay=AT_LEAST_0,
            draws=AT_LEAST_1,
        )  # fmt: skip
        require_not_l1(self.norm)
        resolve_loss(self.loss)

    @torch.no_grad()
    def __call__(self, model: Classifier, x: Images, y: Labels, stop: bool = False) -> Images:
        loss, size = resolve_loss(self.loss), self.rel_stepsize * self.radius
        out, rows, adv, velocity = x.clone(), positions(x, None), x, torch.zeros_like(x)
        for _ in range(self.steps):
            slope, logits = gradient(model, adv, y, loss, self.draws)
            velocity = self.decay * velocity + mean_normalised(slope)
            moved = confine(x, adv + size * steepest(velocity, self.norm), self.radius, self.norm)
            if not stop:
                adv = moved
                continue
            stands = ~is_clearly_wrong(logits, y)
            adv = torch.where(per_image(stands, x), moved, adv)
            if stands.sum() < ENOUGH * len(rows):
                out[rows] = adv
                rows, x, y, adv, velocity = (part[stands] for part in (rows, x, y, adv, velocity))
            if not len(rows):
                return out
        out[rows] = adv
        return out
