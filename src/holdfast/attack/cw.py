"""Carlini and Wagner's l2 attack."""

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.attack._common import bisected
from holdfast.geometry import length, per_image
from holdfast.limits import ABOVE_0, AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.loss import at_least_fp32, margin, pixel_gradient, rounding
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

INSIDE = 1 - 1e-6  # pixels at 0 and 1 are drawn in by this share: tanh does not reach them
FADE = (0.9, 0.999)  # how Adam's two moments fade
GROW = 10.0  # how fast the weight grows until it is large enough
CHECKS = 10  # of a search; an image whose sum has not fallen between two gives it up
FALLS = 0.9999


@dataclass(frozen=True, kw_only=True)
class CW:
    """The nearest image of another class: Adam on `distance**2 + c * gap`, with a binary search
    over c for each image (Carlini and Wagner, arXiv 1608.04644, section V.A to VI.A).

    The image is (tanh(w) + 1) / 2, and w is what Adam moves; the gap is what the true logit is
    ahead of the largest other, or 0. Departures: c is in units of the clean image's gap, so that
    the scale of the logits does not matter; each search starts from where the one before it ended,
    with Adam's moments, so that a c counts as large enough by the last stretch of its search, and
    not by any step of it; an image that does not improve leaves its search by itself; the way to
    the nearest wrong image is bisected at the end, since next to a boundary every step of Adam is
    too long.
    Raises BadInput for settings that make no sense.

    Attributes:
        searches: values of c that are tried for each image.
        steps: of Adam, for each c.
        lr: Adam's learning rate, in w; the paper's is 0.01, with 10,000 steps.
        first: the c to begin with.
        confidence: by how much the largest other logit must lead, in units of the logits.
    """

    name: ClassVar[str] = "cw"
    minimal: ClassVar[bool] = True
    norm: ClassVar[Norm] = "l2"
    searches: int = 9
    steps: int = 100
    lr: float = 0.05
    first: float = 1.0
    confidence: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(
            self, steps=AT_LEAST_1, searches=AT_LEAST_1, lr=ABOVE_0, first=ABOVE_0,
            confidence=AT_LEAST_0,
        )  # fmt: skip

    @torch.no_grad()
    def __call__(self, model: Classifier, x: Images, y: Labels) -> Images:
        out = x.clone()
        lead = -margin(at_least_fp32(model(x)), y)
        rows = (lead >= 0).nonzero()[:, 0]
        if len(rows):
            out[rows] = self._nearest(model, x[rows], y[rows], lead[rows])
        return out

    def _nearest(self, model: Classifier, x: Images, y: Labels, lead: PerImage) -> Images:
        """For images that are right: the nearest wrong one that was met, or x."""
        every = _begin(x, y, lead, self.first)
        for _ in range(self.searches):
            every.sum.fill_(torch.inf)
            rows = torch.arange(len(x), device=x.device)
            for stretch in torch.arange(self.steps).tensor_split(min(CHECKS, self.steps)):
                every.hit[rows] = False
                some, before = every.some(rows), every.sum[rows]
                for _ in stretch:
                    self._step(model, some)
                every.put(rows, some)
                rows = rows[some.sum < FALLS * before]
                if not len(rows):
                    break
            every.high = torch.where(every.hit, every.c, every.high)
            every.low = torch.where(every.hit, every.low, every.c)
            every.c = _between(every.low, every.high, every.c)
        return every.best if self.confidence else bisected(model, x, y, every.best)

    def _step(self, model: Classifier, now: "_Images") -> None:
        """One forward and backward pass: what is met is judged, and Adam moves on."""
        w = now.w.detach().requires_grad_()
        with torch.enable_grad():
            adv = (w.tanh() + 1) / 2
            logits = at_least_fp32(model(adv))
            behind = margin(logits, now.y)
            slack = rounding(logits.detach())
            beyond = slack.clamp_min(self.confidence)
            gap = (beyond + slack - behind).clamp_min(0) / now.unit
            total = (adv - now.x).square().flatten(1).sum(1) + now.c * gap
            slope = pixel_gradient(total.sum(), w)
        now.sum = total.detach()
        now.judge(adv.detach(), behind.detach() > beyond)
        now.move(slope, self.lr)


def _between(low: PerImage, high: PerImage, c: PerImage) -> PerImage:
    """The next weight: the middle of the two ends, or ten times more where no upper is known."""
    return torch.where(high.isinf(), GROW * c, (low + high) / 2)


@dataclass(eq=False)
class _Images:
    """Where the attack of each image stands; every field has a row per image.

    unit: what a gap is divided by. w, mean, spread, age: the point, Adam's moments, its steps.
    c, low, high: the weight now, the largest too small one, the smallest large enough one.
    sum: the loss at the last step. hit: whether it was wrong within the last stretch of this c,
    where what an earlier one had found is left behind.
    best, distance: the nearest wrong image so far, and how far that is.
    """

    x: Images
    y: Labels
    unit: PerImage
    w: Images
    mean: Images
    spread: Images
    age: PerImage
    c: PerImage
    low: PerImage
    high: PerImage
    sum: PerImage
    hit: Tensor
    best: Images
    distance: PerImage

    def some(self, rows: Tensor) -> "_Images":
        """The images in these rows."""
        return _Images(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    def put(self, rows: Tensor, some: "_Images") -> None:
        """Takes these rows back; logits may be wider than pixels."""
        for one in fields(self):
            whole = getattr(self, one.name)
            whole[rows] = getattr(some, one.name).to(whole)

    def judge(self, adv: Images, wrong: Tensor) -> None:
        """Remembers the images that are wrong, and nearer than any before."""
        distance = length(adv - self.x, "l2")
        nearer = wrong & (distance < self.distance)
        self.hit = self.hit | wrong
        self.best = torch.where(per_image(nearer, adv), adv, self.best)
        self.distance = torch.where(nearer, distance, self.distance)

    def move(self, slope: Images, rate: float) -> None:
        """One step of Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1)."""
        self.age = self.age + 1
        self.mean = self.mean.lerp(slope, 1 - FADE[0])
        self.spread = self.spread.lerp(slope.square(), 1 - FADE[1])
        mean = self.mean / per_image(1 - FADE[0] ** self.age, slope)
        spread = self.spread / per_image(1 - FADE[1] ** self.age, slope)
        self.w = self.w - rate * mean / (spread.sqrt() + 1e-8)


def _begin(x: Images, y: Labels, lead: PerImage, c: float) -> _Images:
    """At the clean images, nothing found yet."""
    none, infinite = torch.zeros_like(lead), torch.full_like(lead, torch.inf)
    return _Images(
        x=x, y=y, unit=lead.where(lead > 0, 1), w=((2 * x - 1) * INSIDE).atanh(),
        mean=torch.zeros_like(x), spread=torch.zeros_like(x), age=none,
        c=none + c, low=none.clone(), high=infinite, sum=infinite.clone(),
        hit=torch.zeros_like(y, dtype=torch.bool), best=x.clone(), distance=infinite.clone(),
    )  # fmt: skip
