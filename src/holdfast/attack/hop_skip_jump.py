"""HopSkipJump: along the decision boundary by the model's decisions alone."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast import noise
from holdfast.attack._common import positions, require_not_l1
from holdfast.attack._decisions import is_wrong, noise_start, note_start
from holdfast.attack._run import unheard
from holdfast.geometry import length, per_image, steepest
from holdfast.limits import AT_LEAST_1, AT_LEAST_2, require_ranges
from holdfast.types import Classifier, Images, Labels, Norm, Note, PerImage

PIECE = 50  # probes of one image in one pass: memory stays flat in their number
FINEST = 22  # halvings that fp32 can tell apart
GRAINS = 32  # steps of rounding that a probe moves a pixel, at least, on average


@dataclass(frozen=True, kw_only=True)
class HopSkipJump:
    """A minimum-norm attack that sees the predicted class and nothing else (Chen, Jordan and
    Wainwright, arXiv 1904.02144, Algorithm 2).

    From a noise image of another class it goes back to the boundary by bisection, estimates the
    boundary's normal from which of many random probes are misclassified, steps along it, and
    again. Every image has its own probes, steps and count of queries, so that a batch finds
    what one image at a time would; all images and probes go through the model together.
    Departures: all bisections of an image halve the same fixed number of times; a random start
    is bisected as every other point is; probes keep a distance at which rounding does not decide
    for them, which counts near large images. An image without any misclassified start is given
    back. Raises BadInput for settings out of range.

    Attributes:
        norm: what is made small.
        queries: most predictions asked for per image.
        probes: of the first estimate; the t-th has sqrt(t) times as many.
        seed: of start and probes.
    """

    name: ClassVar[str] = "hop-skip-jump"
    minimal: ClassVar[bool] = True
    norm: Norm = "l2"
    queries: int = 5000
    probes: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, queries=AT_LEAST_1, probes=AT_LEAST_2)
        require_not_l1(self.norm)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        note: Note = unheard,
    ) -> Images:  # fmt: skip
        index = positions(x, index)
        adv, used = noise_start(
            model, x, y, index, self.queries, self.seed, noise.Stream.HOP_SKIP_JUMP, 0
        )
        note_start(note, x, adv, used, self.norm)
        best, halvings, turn = adv.clone(), self._halvings(x), 0
        while True:
            rows = (used + halvings <= self.queries).nonzero().flatten()
            if not len(rows):
                return best
            adv[rows] = self._to_boundary(model, x[rows], y[rows], adv[rows], halvings)
            best[rows] = _nearer(x[rows], best[rows], adv[rows], self.norm)
            used[rows] += halvings
            note(rows, used[rows], length(best[rows] - x[rows], self.norm))
            turn += 1
            probes = round(self.probes * math.sqrt(turn))
            used[used + probes >= self.queries] = self.queries
            rows = (used < self.queries).nonzero().flatten()
            if not len(rows):
                return best
            used[rows] += probes
            found = (x[rows], y[rows], adv[rows])
            normal = self._normal(model, *found, index[rows], turn, probes)
            adv[rows], used[rows] = self._step(model, *found, normal, turn, used[rows])

    def _halvings(self, x: Images) -> int:
        """Bisections until what is left is the paper's share of the way: d^-1.5 (l2), d^-2."""
        power = 1.5 if self.norm == "l2" else 2.0
        return min(math.ceil(power * math.log2(max(x.shape[1:].numel(), 2))), FINEST)

    def _to_boundary(
        self, model: Classifier, x: Images, y: Labels, adv: Images, halvings: int
    ) -> Images:
        """The misclassified end of a bisection between each image and a misclassified one."""
        low, high = torch.zeros(len(x)).to(x), torch.ones(len(x)).to(x)
        for _ in range(halvings):
            middle = (low + high) / 2
            stays = is_wrong(model, self._between(x, adv, middle), y)
            high, low = torch.where(stays, middle, high), torch.where(stays, low, middle)
        return self._between(x, adv, high)

    def _between(self, x: Images, adv: Images, share: PerImage) -> Images:
        """So far from the image towards the other: along the line, or into the smaller box."""
        change, share = adv - x, per_image(share, x)
        if self.norm == "l2":
            return torch.where(share < 1, x + share * change, adv)
        reach = share * per_image(length(change, "linf"), x)
        return torch.where(share < 1, x + change.clamp(-reach, reach), adv)

    def _normal(
        self, model: Classifier, x: Images, y: Labels, adv: Images, index: Labels, turn: int,
        probes: int,
    ) -> Images:  # fmt: skip
        """An estimate of the boundary's normal: probes weighted by their decisions, less the mean
        decision (the paper's equations 10 and 16)."""
        pixels = x.shape[1:].numel()
        least = GRAINS * torch.finfo(x.dtype).eps * math.sqrt(pixels)
        size = (length(adv - x, self.norm) / pixels).clamp_min(least)
        reach = per_image(size if turn > 1 else torch.full_like(size, 0.1), x)[:, None]
        plain, signed, decided = torch.zeros_like(x), torch.zeros_like(x), torch.zeros(len(x)).to(x)
        for piece in range(0, probes, PIECE):
            count = min(PIECE, probes - piece)
            shape = (count, *x.shape[1:])
            drawn = noise.normal(
                index, shape, self.seed, noise.Stream.HOP_SKIP_JUMP, turn, piece
            ).to(x)
            drawn = steepest(drawn.flatten(0, 1), "l2").view_as(drawn)
            near = (adv[:, None] + reach * drawn).clamp(0, 1)
            drawn = (near - adv[:, None]) / reach  # what the pixel box leaves of it
            stays = is_wrong(model, near.flatten(0, 1), y.repeat_interleave(count))
            sign = 2.0 * stays.view(len(x), count).to(x) - 1
            plain += drawn.sum(1)
            signed += (sign.view(*sign.shape, *(1,) * (x.ndim - 1)) * drawn).sum(1)
            decided += sign.sum(1)
        mean = decided / probes
        lone = mean.abs() == 1  # all probes agree: their mean is the only hint
        normal = torch.where(per_image(lone, x), signed, signed - per_image(mean, x) * plain)
        return steepest(normal, self.norm)

    def _step(
        self, model: Classifier, x: Images, y: Labels, adv: Images, normal: Images, turn: int,
        used: Labels,
    ) -> tuple[Images, Labels]:  # fmt: skip
        """A step along the normal, halved until its end is misclassified; and the queries used."""
        size = length(adv - x, self.norm) / math.sqrt(turn)
        moved, asked = adv.clone(), used.clone()
        rows = torch.arange(len(x), device=x.device)
        for _ in range(FINEST):
            rows = rows[asked[rows] < self.queries]
            if not len(rows):
                break
            ahead = (adv[rows] + per_image(size[rows], adv[rows]) * normal[rows]).clamp(0, 1)
            stays = is_wrong(model, ahead, y[rows])
            asked[rows] += 1
            moved[rows[stays]] = ahead[stays]
            size[rows] /= 2
            rows = rows[~stays]
        return moved, asked


def _nearer(x: Images, one: Images, other: Images, norm: Norm) -> Images:
    closer = length(other - x, norm) < length(one - x, norm)
    return torch.where(per_image(closer, x), other, one)
