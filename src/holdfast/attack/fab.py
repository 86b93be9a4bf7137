"""The targeted fast adaptive boundary attack."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from holdfast import noise
from holdfast.attack._common import positions, require_not_l1
from holdfast.geometry import length, per_image, sample, to_plane
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, SHARE, require_ranges
from holdfast.loss import (
    at_least_fp32,
    gradient,
    is_clearly_wrong,
    is_correct,
    lead,
    margin,
    rivals,
)
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

FAR = {"linf": 0.3, "l2": 1.0}  # ball of a random start where no distance is known yet
CLOSE = 1e-8  # lengths below this count as this when near and far are weighed


@dataclass(frozen=True, kw_only=True)
class FAB:
    """The nearest image of another class, by projections onto the boundary that a network made
    linear would have (Croce and Hein, arXiv 1907.02044), towards one target class after another:
    the FAB-T of AutoAttack (arXiv 2003.01690).

    With K classes there are K - 1 targets at most: one of 2 classes, two of 3. An image that is
    wrong already stays as it is. Departures: an image counts as fooled only where rounding
    cannot undo it; no final search along the line to the image, as in AutoAttack.
    Raises BadInput for settings that make no sense and for a model of one class.

    Attributes:
        norm: what is made small.
        steps: for each target and restart; each costs two forward passes and one backward.
        targets: the most likely wrong classes of the clean image that are tried, K - 1 at most.
        restarts: rounds over the targets; the first starts at the image, others at random.
        radius: if given, random starts keep within half of it, and an image needs no further
            targets once an image of another class was found within it. Pixel units of [0, 1].
        pull: largest weight of the image itself against the present point (alpha_max).
        overshoot: steps are lengthened by this factor, to get across the boundary (eta).
        back: share of a found change that is kept, to look for a shorter one (beta).
        seed: of the random starts; each is a function of seed, image index, restart and target.
    """

    name: ClassVar[str] = "fab"
    minimal: ClassVar[bool] = True
    norm: Norm = "linf"
    steps: int = 100
    targets: int = 9
    restarts: int = 1
    radius: float | None = None
    pull: float = 0.1
    overshoot: float = 1.05
    back: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(
            self, radius=AT_LEAST_0, steps=AT_LEAST_1, restarts=AT_LEAST_1, targets=AT_LEAST_1,
            pull=SHARE, back=SHARE, overshoot=AT_LEAST_1,
        )  # fmt: skip
        require_not_l1(self.norm)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        index, out = positions(x, index), x.clone()
        rivals, reach = self._rivals(model, x, y)
        for restart in range(self.restarts):
            for rank in range(rivals.shape[1]):
                left = (reach > (self.radius or 0)).nonzero().flatten()
                if not len(left):
                    return out
                start = self._start(x[left], reach[left], index[left], restart, rank)
                rival = rivals[left, rank]
                found, distance = self._descend(model, x[left], start, y[left], rival)
                nearer = distance < reach[left]
                out[left[nearer]], reach[left[nearer]] = found[nearer], distance[nearer]
        return out

    def _rivals(
        self, model: Classifier, x: Images, y: Labels
    ) -> tuple[Int[Tensor, "batch targets"], PerImage]:
        """Wrong classes, likely ones first; the distance 0 of what is wrong already, or inf."""
        logits = at_least_fp32(model(x))
        likely = rivals(logits, y)[:, : self.targets]
        reach = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        return likely, reach.masked_fill(~is_correct(logits, y), 0)

    def _start(self, x: Images, reach: PerImage, index: Labels, restart: int, rank: int) -> Images:
        """The image, then a point of the ball of half the distance found or of half the radius."""
        if restart == 0:
            return x
        known = reach.clamp_max(torch.inf if self.radius is None else self.radius)
        size = known.where(known < torch.inf, FAR[self.norm]) / 2
        change = sample(x, 1.0, self.norm, index, self.seed, noise.Stream.FAB, restart, rank)
        return (x + per_image(size, x) * change).clamp(0, 1)

    def _descend(
        self, model: Classifier, x: Images, adv: Images, y: Labels, rival: Labels
    ) -> tuple[Images, PerImage]:
        """Algorithm 1 towards one class: the nearest image found, and its distance or inf."""
        found = x.clone()
        reach = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        for _ in range(self.steps):
            adv = self._step(model, x, adv, y, rival)
            logits = at_least_fp32(model(adv))
            distance = length(adv - x, self.norm)
            nearer = is_clearly_wrong(logits, y) & (distance < reach)
            found = torch.where(per_image(nearer, x), adv, found)
            reach = torch.where(nearer, distance, reach)
            fooled = per_image(margin(logits, y) > 0, x)
            adv = torch.where(fooled, x + self.back * (adv - x), adv)
        return found, reach

    def _step(self, model: Classifier, x: Images, adv: Images, y: Labels, rival: Labels) -> Images:
        """Equation 9: project the point and the image alike, and weigh them by their distances."""
        slope, logits = gradient(model, adv, y, partial(lead, target=rival))
        gap = lead(logits, y, rival).to(x.dtype)
        clean_gap = gap + (slope * (x - adv)).flatten(1).sum(1)
        both = torch.cat([adv, x]), torch.cat([gap, clean_gap]), torch.cat([slope, slope])
        here, there = to_plane(*both, self.norm).chunk(2)
        near, far = (length(change, self.norm).clamp_min(CLOSE) for change in (here, there))
        weight = per_image((near / (near + far)).clamp_max(self.pull), x)
        return torch.lerp(adv + self.overshoot * here, x + self.overshoot * there, weight).clamp(
            0, 1
        )
