"""A short climb towards the classes that are nearest to winning."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from holdfast import noise
from holdfast.attack._common import momentum_step, positions, require_not_l1
from holdfast.geometry import confine, higher, sample, steepest
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, SHARE, require_ranges
from holdfast.loss import Loss, at_least_fp32, gradient, lead, margin, margin_height, rivals
from holdfast.types import Classifier, Images, Labels, Logits, Norm, PerImage


@dataclass(frozen=True, kw_only=True)
class MinMargin:
    """Climbs from a random point, its steps shrinking along a cosine from twice the radius to 0.

    After the minimum-margin attack (Gao et al., arXiv 2206.07314): few targets, those of smallest
    margin first. As in A3 (Liu et al., arXiv 2203.05154) images that hardly move can be left alone.
    Departures: targets are ranked at the point it was handed, not at the clean image; what is
    climbed is the bare gap of two logits, since the steepest step of a gradient does not depend on
    its scale; the steps are AutoPGD's, on a fixed schedule.

    Returns for each image the point of largest margin among all it came to and the one it was
    handed. Called with `stop`, as the evaluator does, an image leaves the climb once it is fooled;
    otherwise all take every step. Raises BadInput for settings that make no
    sense and for a model of one class.

    Attributes:
        radius: budget in `norm` (linf or l2), pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        steps: of one climb; each costs a forward and a backward pass.
        targets: climbs towards so many other classes, one after the other, K - 1 at most; 0 is one
            climb towards whichever class is nearest at each step.
        near: leave alone what still has more than this share of its clean gap to go at the point
            it was handed; None: nothing is left alone.
        seed: of the random starts; each is a function of seed, image index, `targets` and rank.
    """

    name: ClassVar[str] = "min-margin"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 50
    targets: int = 3
    near: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0, steps=AT_LEAST_1, targets=AT_LEAST_0, near=SHARE)
        require_not_l1(self.norm)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        start: Images | None = None, stop: bool = False,
    ) -> Images:  # fmt: skip
        index = positions(x, index)
        adv = confine(x, x if start is None else start, self.radius, self.norm)
        logits = at_least_fp32(model(adv))
        height, worth = margin_height(logits, y, stop), self._worth(model, x, y, logits)
        wrong = rivals(logits, y)
        for rank in range(min(self.targets, logits.shape[1] - 1) or 1):
            at = (worth & (height < torch.inf)).nonzero().flatten()
            if not len(at):
                break
            key = (self.seed, noise.Stream.MIN_MARGIN, self.targets, rank)
            origin = (x[at] + sample(x[at], self.radius, self.norm, index[at], *key)).clamp(0, 1)
            best = adv[at], height[at]
            adv[at], height[at] = self._climb(
                model, x[at], y[at], wrong[at, rank], origin, best, stop
            )
        return adv

    def _worth(self, model: Classifier, x: Images, y: Labels, logits: Logits) -> Tensor:
        """`[batch]` flags: near enough to be climbed on with."""
        if self.near is None:
            return torch.ones_like(y, dtype=torch.bool)
        return margin(logits, y) >= self.near * margin(at_least_fp32(model(x)), y)

    def _climb(
        self, model: Classifier, x: Images, y: Labels, rival: Labels, adv: Images,
        best: tuple[Images, PerImage], stop: bool,
    ) -> tuple[Images, PerImage]:  # fmt: skip
        """One climb from `adv`: what was best before it or is on its way, and its height."""
        (top, height), old, rows = best, adv, torch.arange(len(x), device=x.device)
        for step in range(self.steps):
            slope, logits = gradient(model, adv, y, self._loss(rival))
            top[rows], height[rows] = higher(
                top[rows], height[rows], adv, margin_height(logits, y, stop)
            )
            stands = height[rows] < torch.inf
            if not stands.all():
                kept = (rows, x, y, rival, adv, old, slope)
                rows, x, y, rival, adv, old, slope = (part[stands] for part in kept)
            if not len(rows):
                return top, height
            step_size = self.radius * (1 + math.cos(math.pi * step / self.steps))
            change = step_size * steepest(slope, self.norm)
            before = old if step else None
            old, adv = adv, momentum_step(x, adv, before, change, self.radius, self.norm)
        last = adv, margin_height(at_least_fp32(model(adv)), y, stop)
        top[rows], height[rows] = higher(top[rows], height[rows], *last)
        return top, height

    def _loss(self, rival: Labels) -> Loss:
        return partial(lead, target=rival) if self.targets else margin
