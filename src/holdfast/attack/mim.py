"""The momentum iterative method."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.attack._climb import ascend, require_dense
from holdfast.limits import ABOVE_0, AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.loss import Loss, LossName, called
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
        stride: length of a step as a share of the radius; the paper takes 1 / steps.
        decay: what is left of the sum after each step; 0 is BIM.
        loss: what is climbed.
    """

    name: ClassVar[str] = "mim"
    start: ClassVar[str] = "clean"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 10
    stride: float = 0.1
    decay: float = 1.0
    loss: LossName | Loss = "ce"

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0, steps=AT_LEAST_1, stride=ABOVE_0, decay=AT_LEAST_0)
        require_dense(self.norm)
        called(self.loss)

    @torch.no_grad()
    def __call__(self, model: Classifier, x: Images, y: Labels, stop: bool = False) -> Images:
        return ascend(
            model, x, y, called(self.loss), self.radius, self.norm, self.steps, self.stride,
            self.decay, stop,
        )  # fmt: skip
