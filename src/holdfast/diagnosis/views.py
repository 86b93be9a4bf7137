"""Ways of looking at a model whose gradients mislead: what an attack climbs instead of it.

A view takes a classifier and gives one with (nearly) the same predictions and better gradients. An
attack through a view is judged on the model itself, so that a bad view costs passes and no truth.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from holdfast import attack as attacks
from holdfast import noise
from holdfast.attack import PGD
from holdfast.diagnosis.hidden import StraightThrough
from holdfast.errors import choose
from holdfast.geometry import per_image
from holdfast.loss import at_least_fp32
from holdfast.model import Metered
from holdfast.types import Attack, Classifier, Images, Labels, Logits

SMOOTH = 8  # points whose logits the smoothed view takes the mean of
DEVIATION = 0.05  # of those points, pixel units
FAINT = 1e-30  # largest entry of a gradient that float32 does not hold well


class Averaged(nn.Module):
    """The mean policy of a model that is random: log of the mean of so many draws' softmax.

    For a sampled defence this is what its user gets in the long run, and what "expectation over
    transformation" (Athalye et al., arXiv 1707.07397) attacks.
    """

    def __init__(self, model: Classifier, draws: int = 8) -> None:
        super().__init__()
        self.model, self.draws = model, draws

    def forward(self, x: Tensor) -> Tensor:
        logp = torch.stack([at_least_fp32(self.model(x)).log_softmax(1) for _ in range(self.draws)])
        return logp.logsumexp(0) - math.log(self.draws)


def straight_through(model: Classifier) -> Classifier:
    """Operations without a gradient pass it on as if they were not there (`hidden`)."""

    def seen(x: Images) -> Logits:
        try:
            with StraightThrough():
                return model(x)
        except RuntimeError:  # of a model that writes into what it must not, once it is bridged
            return model(x)

    return seen


def rescaled(model: Classifier) -> Classifier:
    """Logits of each image divided by the lead of the first over the third, so that no softmax
    saturates; the divisor is held constant."""

    def seen(x: Images) -> Logits:
        logits = at_least_fp32(model(x))
        top = logits.detach().topk(min(3, logits.shape[1]), dim=1).values
        return logits / (top[:, :1] - top[:, -1:]).clamp_min(torch.finfo(logits.dtype).tiny)

    return seen


def logged(model: Classifier) -> Classifier:
    """Probabilities as the logits that they were, up to a shift."""

    def seen(x: Images) -> Logits:
        return at_least_fp32(model(x)).clamp_min(1e-30).log()

    return seen


def smoothed(model: Classifier) -> Classifier:
    """Mean logits over a few points near the image, the same for every image and every step: the
    slope across jumps that are finer than their distance."""

    def seen(x: Images) -> Logits:
        key = torch.zeros(1, dtype=torch.int64, device=x.device)
        drawn = noise.normal(key, (SMOOTH, *x.shape[1:]), 0, noise.Stream.VIEWS)[0].to(x)
        return (
            sum((at_least_fp32(model(x + DEVIATION * one)) for one in drawn), torch.zeros(()))
            / SMOOTH
        )

    return seen


def reversed_gradient(model: Classifier) -> Classifier:
    """The same predictions; gradients point the other way."""

    def seen(x: Images) -> Logits:
        return model(2 * x.detach() - x)

    return seen


def in_float64(model: Classifier) -> Classifier:
    """A copy with weights in float64 for an `nn.Module`; anything else as it is."""
    within = model.model if isinstance(model, Metered) else model
    if not isinstance(within, nn.Module):
        return model
    wide = copy.deepcopy(within).double()
    asked = model.through(wide) if isinstance(model, Metered) else wide

    def seen(x: Images) -> Logits:
        wide = x.double()
        if wide.requires_grad and wide is not x:
            wide.register_hook(_lifted)
        return asked(wide)

    return seen


def _lifted(slope: Tensor) -> Tensor:
    """Gradients that float32 would round to zero, made so long that their largest entry is 1;
    others as they are. Attacks go by their direction."""
    size = per_image(slope.flatten(1).abs().amax(1), slope)
    return torch.where((size > 0) & (size < FAINT), slope / size, slope)


VIEWS: dict[str, Callable[[Classifier], Classifier]] = {
    "straight-through": straight_through,
    "logged": logged,
    "rescaled": rescaled,
    "smoothed": smoothed,
    "turned": reversed_gradient,
    "float64": in_float64,
}


@dataclass(frozen=True, kw_only=True)
class ThroughViews:
    """An attack that climbs a model through views.

    All its steps are taken, as an image that is wrong in the view may be right without it.
    Raises BadInput for a view that has no name.

    Attributes:
        attack: what is run; its budget is the budget.
        views: names out of `VIEWS`, the one nearest to the model first.
    """

    name: ClassVar[str] = "seen"
    attack: Attack = field(default_factory=PGD)
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for view in self.views:
            choose(VIEWS, view, "a view")

    def __getattr__(self, name: str) -> object:
        return attacks.inner_setting(self, name)

    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        start: Images | None = None,
    ) -> Images:  # fmt: skip
        index = attacks.positions(x, index)
        for view in self.views:
            model = VIEWS[view](model)
        return attacks.run(self.attack, model, x, y, index, start).to(x)
