"""DeepFool: step to the nearest boundary of the network made linear."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.attack._common import positions, require_not_l1
from holdfast.geometry import per_image, steepest
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, AT_LEAST_2, require_ranges
from holdfast.loss import (
    at_least_fp32,
    is_clearly_wrong,
    lead,
    pixel_gradient,
    rounding,
    without_true_class,
)
from holdfast.types import Classifier, Images, Labels, Logits, Norm


@dataclass(frozen=True, kw_only=True)
class DeepFool:
    """The nearest image of another class, by steps to the nearest boundary that a network made
    linear at the present image would have (Moosavi-Dezfooli et al., arXiv 1511.04599, algorithm 2;
    section 3.3 for other norms).

    Departures: the class to leave is the true one, so an image that is wrong already stays as it
    is; candidates are ranked anew at each step, not once at the clean image; each step starts from
    the image clipped to the pixel box; steps aim beyond the boundary by twice what rounding may do
    to the logits, and an image is done only once it is wrong by more than that, so that it is wrong
    again when seen alone.
    Raises BadInput for settings that make no sense.

    Attributes:
        norm: what is made small.
        steps: at most; an image leaves the batch as soon as it is wrong.
        overshoot: the sum of steps is lengthened by this share, to get across curved boundaries.
        candidates: how many of the most likely classes are looked at, the true one included; one
            backward pass for each of the others, at each step.
    """

    name: ClassVar[str] = "deepfool"
    minimal: ClassVar[bool] = True
    norm: Norm = "l2"
    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10

    def __post_init__(self) -> None:
        require_ranges(self, steps=AT_LEAST_1, overshoot=AT_LEAST_0, candidates=AT_LEAST_2)
        require_not_l1(self.norm)

    @torch.no_grad()
    def __call__(self, model: Classifier, x: Images, y: Labels) -> Images:
        out, rows, adv = x.clone(), positions(x, None), x
        for step in range(self.steps + 1):
            pixels, logits = _recorded(model, adv)
            stands = ~is_clearly_wrong(logits, y)
            out[rows[~stands]] = adv[~stands]
            if step == self.steps or not stands.any():
                break
            if self._rivals(logits) * (~stands).sum() > stands.sum():
                # another look at those that stand costs less than slopes of those that do not
                rows, x, y, adv = (part[stands] for part in (rows, x, y, adv))
                pixels, logits = _recorded(model, adv)
                stands = torch.ones_like(y, dtype=torch.bool)
            change = (adv - x) / (1 + self.overshoot) + self._step(pixels, logits, y)
            moved = (x + (1 + self.overshoot) * change).clamp(0, 1)
            rows, x, y, adv = (part[stands] for part in (rows, x, y, moved))
        return out

    def _rivals(self, logits: Logits) -> int:
        """How many classes are looked at besides the true one."""
        return min(self.candidates, logits.shape[1]) - 1

    def _step(self, pixels: Images, logits: Logits, y: Labels) -> Images:
        """The shortest change that takes a linear network across a boundary; zero without slope."""
        found, nearest = torch.zeros_like(pixels), torch.full_like(logits[:, 0], torch.inf)
        slack = 2 * rounding(logits.detach())
        rivals = without_true_class(logits.detach(), y)
        rivals = rivals.topk(self._rivals(logits)).indices
        for rival in rivals.T:
            with torch.enable_grad():
                gap = -lead(logits, y, rival)
                total = -gap.sum()
            climb = pixel_gradient(total, pixels, again=True)
            unit = steepest(climb, self.norm)
            fall = (climb * unit).flatten(1).sum(1)
            far = torch.where(fall > 0, (gap.detach() + slack) / fall, torch.inf)
            closer = far < nearest
            nearest = torch.where(closer, far, nearest)
            found = torch.where(per_image(closer, found), per_image(far, unit) * unit, found)
        return found.to(pixels)


def _recorded(model: Classifier, x: Images) -> tuple[Images, Logits]:
    """The pixels, and the logits with the graph that leads back to them."""
    pixels = x.detach().requires_grad_()
    with torch.enable_grad():
        return pixels, at_least_fp32(model(pixels))
