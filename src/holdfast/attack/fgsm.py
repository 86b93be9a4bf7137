"""The fast gradient sign method."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.geometry import ascent, confine
from holdfast.limits import AT_LEAST_0, require_ranges
from holdfast.loss import Loss, LossName, gradient, resolve_loss
from holdfast.types import Classifier, Images, Labels, Norm


@dataclass(frozen=True, kw_only=True)
class FGSM:
    """One step of full length along the steepest direction (Goodfellow et al., arXiv 1412.6572).

    With `norm="l2"` the step goes along the normalised gradient (the fast gradient method), with
    `norm="l1"` along few pixels to their bounds.
    Raises BadInput where the radius is negative or not finite.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        loss: what is climbed.
    """

    name: ClassVar[str] = "fgsm"
    start: ClassVar[str] = "clean"
    radius: float = 8 / 255
    norm: Norm = "linf"
    loss: LossName | Loss = "ce"

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0)
        resolve_loss(self.loss)

    @torch.no_grad()
    def __call__(self, model: Classifier, x: Images, y: Labels) -> Images:
        climb, _ = gradient(model, x, y, resolve_loss(self.loss))
        return confine(x, x + ascent(x, climb, self.radius, self.norm), self.radius, self.norm)
