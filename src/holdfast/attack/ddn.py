"""Decoupled direction and norm."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.attack._common import bisected
from holdfast.geometry import higher, length, per_image, steepest
from holdfast.limits import ABOVE_0, AT_LEAST_1, SHARE_INSIDE, require_ranges
from holdfast.loss import at_least_fp32, cross_entropy, gradient, is_clearly_wrong, margin
from holdfast.types import Classifier, Images, Labels, Logits, Norm, PerImage

SURE = 10.0  # the gap of logits beyond which softmax in fp32 starts to lose the gradient


@dataclass(frozen=True, kw_only=True)
class DDN:
    """The nearest image of another class: steps along the gradient, put on a sphere that shrinks
    while the image is wrong and grows while it is right (Rony et al., arXiv 1811.09600,
    algorithm 1).

    Departures: pixels are not rounded to 256 levels; logits further apart than 10 are brought
    closer before the cross-entropy, whose gradient fp32 would round to zero; where it is zero all
    the same the image stays where it is, and takes no random step as in the authors' code; one more
    forward pass judges the last image; the way to the nearest wrong image is bisected at the end,
    since a sphere of radius 1 that shrinks by a twentieth never reaches a boundary next door.
    Raises BadInput for settings that make no sense.

    Attributes:
        steps: of every image, as published; one that is wrong already takes none.
        first: radius of the first sphere, in pixel units of [0, 1].
        change: share by which a sphere shrinks or grows.
        step_size: length of the first step, in pixel units; it falls to a hundredth along a cosine.
    """

    name: ClassVar[str] = "ddn"
    minimal: ClassVar[bool] = True
    norm: ClassVar[Norm] = "l2"
    steps: int = 100
    first: float = 1.0
    change: float = 0.05
    step_size: float = 1.0

    def __post_init__(self) -> None:
        require_ranges(
            self, steps=AT_LEAST_1, first=ABOVE_0, change=SHARE_INSIDE, step_size=ABOVE_0
        )

    @torch.no_grad()
    def __call__(self, model: Classifier, x: Images, y: Labels) -> Images:
        out = x.clone()
        rows = (margin(at_least_fp32(model(x)), y) <= 0).nonzero()[:, 0]
        if len(rows):
            out[rows] = self._nearest(model, x[rows], y[rows])
        return out

    def _nearest(self, model: Classifier, x: Images, y: Labels) -> Images:
        """For images that are right: the nearest wrong one that was met, or x."""
        adv, best = x, (x, x.new_full((len(x),), -torch.inf))
        radius = x.new_full((len(x),), self.first)
        for step in range(self.steps):
            slope, logits = gradient(model, adv, y, _tempered)
            wrong = is_clearly_wrong(logits, y)
            best = higher(*best, adv, (-length(adv - x, "l2")).where(wrong, -torch.inf))
            radius = radius * torch.where(wrong, 1 - self.change, 1 + self.change)
            wave = (1 + math.cos(math.pi * step / self.steps)) / 2
            moved = adv - x + self.step_size * (0.01 + 0.99 * wave) * steepest(slope, "l2")
            adv = (x + per_image(radius, x) * steepest(moved, "l2")).clamp(0, 1)
        wrong = is_clearly_wrong(at_least_fp32(model(adv)), y)
        best = higher(*best, adv, (-length(adv - x, "l2")).where(wrong, -torch.inf))
        return bisected(model, x, y, best[0])


def _tempered(logits: Logits, y: Labels) -> PerImage:
    """Cross-entropy of logits divided, for each image, so that the true one leads by 10 at most."""
    lead = -margin(logits.detach(), y)
    return cross_entropy(logits / (lead / SURE).clamp_min(1)[:, None], y)
