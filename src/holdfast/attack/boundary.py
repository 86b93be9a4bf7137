"""The boundary attack: a random walk along the decision boundary, towards the image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from holdfast import noise
from holdfast.attack._common import bisected, positions
from holdfast.attack._decisions import is_wrong, noise_start, note_start
from holdfast.attack._run import unheard
from holdfast.geometry import length, per_image, steepest
from holdfast.limits import AT_LEAST_1, SHARE_ABOVE_0, SHARE_INSIDE, require_ranges
from holdfast.types import Classifier, Images, Labels, Norm, Note, PerImage

HALVINGS = 10  # of the way between image and start, before the walk
EVERY = 10  # steps between two looks at the step along the sphere alone
CHANGE = 1.5  # factor by which the step along the sphere grows or shrinks
GAIN = 1.1  # factor by which the step ahead shrinks; it grows by its third power

Sizes = Float[Tensor, "batch 2"]  # of the steps along the sphere and ahead


@dataclass(frozen=True, kw_only=True)
class BoundaryAttack:
    """A minimum-norm attack, l2, that sees the predicted class and nothing else (Brendel, Rauber
    and Bethge, arXiv 1712.04248, algorithm 1).

    From a noise image of another class it walks: a random step along the sphere around the image,
    then one towards it, kept where the result is misclassified. Every image has its own noise and
    step sizes. As in the paper, the step along the sphere is adapted until half of such steps stay
    misclassified, and the step ahead until a quarter does. Departures: sizes change after each
    look, up and down by factors that balance at those rates, not by rates over a window; the
    start is first brought to the boundary by bisection. An image without any misclassified start
    is given back. Raises BadInput for settings out of range.

    Attributes:
        queries: most predictions asked for per image.
        along: first step along the sphere, as a share of the distance (the paper's delta).
        ahead: first step towards the image, as a share of the distance (the paper's epsilon).
        seed: of start and walk.
    """

    name: ClassVar[str] = "boundary"
    minimal: ClassVar[bool] = True
    norm: ClassVar[Norm] = "l2"
    queries: int = 5000
    along: float = 0.1
    ahead: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, queries=AT_LEAST_1, along=SHARE_ABOVE_0, ahead=SHARE_INSIDE)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        note: Note = unheard,
    ) -> Images:  # fmt: skip
        index = positions(x, index)
        adv, used = noise_start(
            model, x, y, index, self.queries, self.seed, noise.Stream.BOUNDARY, 0
        )
        note_start(note, x, adv, used, self.norm)
        rows = (used + HALVINGS <= self.queries).nonzero().flatten()
        if len(rows):
            adv[rows] = bisected(model, x[rows], y[rows], adv[rows], HALVINGS)
            used[rows] += HALVINGS
        sizes = torch.tensor([self.along, self.ahead]).to(x).repeat(len(x), 1)
        turn = 0
        while True:
            note(rows, used[rows], length(adv[rows] - x[rows], self.norm))
            looks = turn % EVERY == 0
            used[used + looks >= self.queries] = self.queries
            rows = (used < self.queries).nonzero().flatten()
            if not len(rows):
                return adv
            some = (x[rows], y[rows], adv[rows], sizes[rows])
            adv[rows], sizes[rows] = self._step(model, *some, index[rows], turn, looks)
            used[rows] += 1 + looks
            turn += 1

    def _step(
        self, model: Classifier, x: Images, y: Labels, adv: Images, sizes: Sizes, index: Labels,
        turn: int, looks: bool,
    ) -> tuple[Images, Sizes]:  # fmt: skip
        """One step of each walk: where it ends, and how long the next may be.

        looks: ask too whether the step along the sphere alone stays misclassified.
        """
        along, ahead = sizes.T
        beside = self._beside(x, adv, along, index, turn)
        if looks:
            stays = is_wrong(model, beside, y)
            along = (along * torch.where(stays, CHANGE, 1 / CHANGE)).clamp_max(1)
        rival = beside + per_image(ahead, x) * (x - beside)
        stays = is_wrong(model, rival, y)
        ahead = (ahead * torch.where(stays, GAIN**3, 1 / GAIN)).clamp_max(0.5)
        return torch.where(per_image(stays, x), rival, adv), torch.stack([along, ahead], 1)

    def _beside(self, x: Images, adv: Images, along: PerImage, index: Labels, turn: int) -> Images:
        """A random step of this share of the distance, at a right angle to the way to the image,
        put back on the sphere around that and into the pixel box."""
        way, distance = steepest(adv - x, "l2"), per_image(length(adv - x, "l2"), x)
        drawn = noise.normal(
            index, tuple(x.shape[1:]), self.seed, noise.Stream.BOUNDARY, 1, turn
        ).to(x)
        drawn = drawn - per_image((drawn * way).flatten(1).sum(1), x) * way
        ahead = way + per_image(along, x) * steepest(drawn, "l2")
        return (x + distance * steepest(ahead, "l2")).clamp(0, 1)
