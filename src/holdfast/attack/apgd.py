"""AutoPGD: projected gradient ascent that chooses its own step sizes."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.attack._common import ENOUGH, momentum_step, positions, require_not_l1
from holdfast.errors import BadInput
from holdfast.geometry import higher, length, per_image, steepest
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, SHARE, require_ranges
from holdfast.loss import (
    Loss,
    LossName,
    at_least_fp32,
    gradient,
    inf_once_wrong,
    resolve_loss,
    rivals,
    targeted_dlr,
)
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

PERIODS = 0.22, 0.06, 0.03  # shares of the steps: the first period, the shortest, the decrease


@dataclass(frozen=True, kw_only=True)
class APGD:
    """AutoPGD (Croce and Hein, arXiv 2003.01690, algorithm 1) in each of its three forms.

    APGD-CE is the default, `loss="dlr"` is APGD-DLR, and `loss="dlr", targets=9` is APGD-T.
    Steps start at twice the radius. At each checkpoint an image that made too little progress
    goes back to its best point with half the step. Where the paper's text and its authors' code
    differ, the code is followed, since published numbers come from it: the random start lies on
    the sphere, a share of rises of exactly `rho` is too little, and the first step counts as a
    rise where its loss is positive.

    Where it is called with `stop`, as the evaluator does, an image rests once it is wrong;
    otherwise all climb on, and each one's point of highest loss is returned.

    Raises BadInput for settings that make no sense, and for fewer than 3 classes with `dlr`
    or 4 with `targets`.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        steps: gradient steps of one restart.
        restarts: tries per image, and per target.
        targets: 0 climbs `loss`; else the targeted DLR loss towards so many of the most likely
            other classes, one after the other.
        loss: what is climbed; `dlr` where there are targets.
        rho: share of steps between two checkpoints that must raise the loss.
        draws: passes over whose gradients the mean is taken at each step (expectation over
            transformation; Athalye et al., arXiv 1707.07397), for a model that is random.
        seed: of the random starts; each is a function of seed, image index, target and restart.
    """

    name: ClassVar[str] = "apgd"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 100
    restarts: int = 1
    targets: int = 0
    loss: LossName | Loss = "ce"
    rho: float = 0.75
    draws: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(
            self, radius=AT_LEAST_0, steps=AT_LEAST_1, restarts=AT_LEAST_1, targets=AT_LEAST_0,
            draws=AT_LEAST_1, rho=SHARE,
        )  # fmt: skip
        require_not_l1(self.norm)
        resolve_loss(self.loss)
        if self.targets and self.loss != "dlr":
            raise BadInput(f"expected loss 'dlr' where there are targets, got {self.loss!r:.60}")

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        stop: bool = False,
    ) -> Images:  # fmt: skip
        index = positions(x, index)
        logits = at_least_fp32(model(x))
        adv, height = (
            x.clone(),
            inf_once_wrong(torch.full_like(logits[:, 0], -torch.inf), logits, y, stop),
        )
        wrong = rivals(logits, y)
        for rank in range(min(self.targets, logits.shape[1] - 1) or 1):
            for restart in range(self.restarts):
                at = (height < torch.inf).nonzero().squeeze(1)
                if not len(at):
                    return adv
                start = self._start(x[at], index[at], rank, restart)
                found = self._run(model, x[at], y[at], wrong[at, rank], start, stop)
                adv[at], height[at] = higher(adv[at], height[at], *found)
        return adv

    def _start(self, x: Images, index: Labels, *stream: int) -> Images:
        """A point of the sphere of this radius, cut to the pixel box."""
        draw = noise.normal if self.norm == "l2" else _centred
        change = draw(index, tuple(x.shape[1:]), self.seed, noise.Stream.APGD, *stream)
        change = change / per_image(length(change, self.norm), change)
        return (x + self.radius * change.to(x.dtype)).clamp(0, 1)

    def _loss(self, target: Labels) -> Loss:
        return partial(targeted_dlr, target=target) if self.targets else resolve_loss(self.loss)

    def _run(
        self, model: Classifier, x: Images, y: Labels, target: Labels, start: Images, stop: bool
    ) -> tuple[Images, PerImage]:
        """One restart: each image's best point and its height."""
        path, periods = self._begin(model, x, y, target, start, stop), _periods(self.steps)
        adv, height = path.best.clone(), path.height.clone()
        for step in range(1, self.steps + 1):
            standing = path.height < torch.inf
            if standing.sum() < ENOUGH * len(standing):
                path = _rows(path, standing)
            if not len(path.place):
                break
            path = self._step(model, path, step, stop)
            if step in periods:
                path = self._check(path, periods[step])
            adv[path.place], height[path.place] = path.best, path.height
        return adv, height

    def _begin(
        self, model: Classifier, x: Images, y: Labels, target: Labels, start: Images, stop: bool
    ) -> "_Path":
        climb, logits = gradient(model, start, y, loss := self._loss(target), self.draws)
        height = inf_once_wrong(loss(logits, y), logits, y, stop)
        return _Path(
            place=torch.arange(len(x), device=x.device), x=x, y=y, target=target, adv=start,
            old=start, climb=climb, best=start, best_climb=climb, height=height, checked=height,
            step_size=torch.full((len(x),), 2 * self.radius, dtype=x.dtype, device=x.device),
            before=torch.zeros_like(height), rises=torch.zeros_like(y),
            halved=torch.ones_like(y, dtype=torch.bool),
        )  # fmt: skip

    def _step(self, model: Classifier, path: "_Path", step: int, stop: bool) -> "_Path":
        """Move, then look at loss, gradient and prediction where the move ended."""
        loss, step_size = self._loss(path.target), per_image(path.step_size, path.adv)
        change = step_size * steepest(path.climb, self.norm)
        old = path.old if step > 1 else None
        adv = momentum_step(path.x, path.adv, old, change, self.radius, self.norm)
        if step < self.steps:
            climb, logits = gradient(model, adv, path.y, loss, self.draws)
        else:
            climb, logits = path.climb, at_least_fp32(model(adv))
        value = loss(logits, path.y)
        reached = inf_once_wrong(value, logits, path.y, stop)
        better = per_image(reached > path.height, adv)
        best, height = higher(path.best, path.height, adv, reached)
        return dataclasses.replace(
            path, adv=adv, old=path.adv, climb=climb, best=best, height=height,
            best_climb=torch.where(better, climb, path.best_climb), before=value,
            rises=path.rises + (value > path.before),
        )  # fmt: skip

    def _check(self, path: "_Path", period: int) -> "_Path":
        """Half the step, from the best point on, where one of the two conditions holds."""
        idle = ~path.halved & (path.height <= path.checked)
        stuck = idle | (path.rises <= self.rho * period)
        back = per_image(stuck, path.adv)
        return dataclasses.replace(
            path, adv=torch.where(back, path.best, path.adv), halved=stuck, checked=path.height,
            climb=torch.where(back, path.best_climb, path.climb), rises=torch.zeros_like(path.y),
            step_size=torch.where(stuck, path.step_size / 2, path.step_size),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class _Path:
    """How far each image has come in one run; every tensor has one row per image.

    place: the image's row when the run began.
    target: class that a targeted loss climbs to.
    adv, old: where it is, and where it was a move ago; climb: the gradient at adv.
    best, best_climb: its best point so far and the gradient there; height: the best one's rank.
    step_size: length of a step; before: loss at the last point.
    rises: steps since the last checkpoint that raised the loss.
    checked: height at the last checkpoint; halved: whether its step was halved there.
    """

    place: Labels
    x: Images
    y: Labels
    target: Labels
    adv: Images
    old: Images
    climb: Images
    best: Images
    best_climb: Images
    height: PerImage
    checked: PerImage
    step_size: PerImage
    before: PerImage
    rises: Int[Tensor, " batch"]
    halved: Bool[Tensor, " batch"]


def _rows(path: _Path, kept: Bool[Tensor, " batch"]) -> _Path:
    return _Path(**{f.name: getattr(path, f.name)[kept] for f in dataclasses.fields(path)})


def _periods(steps: int) -> dict[int, int]:
    """Each checkpoint, and the steps since the one before it."""
    period, shortest, less = (max(int(share * steps), 1) for share in PERIODS)
    found, point = {}, period
    while point <= steps:
        found[point] = period
        period = max(period - less, shortest)
        point += period
    return found


def _centred(
    index: Labels, shape: tuple[int, ...], seed: int, *stream: int
) -> Float[Tensor, "batch *shape"]:
    return 2 * noise.uniform(index, shape, seed, *stream) - 1
