"""Projected gradient descent, the attack of adversarial training."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from holdfast import noise
from holdfast.attack._common import ENOUGH, positions
from holdfast.geometry import ascent, confine, higher, per_image, sample
from holdfast.limits import ABOVE_0, AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.loss import Loss, LossName, at_least_fp32, gradient, inf_once_wrong, resolve_loss
from holdfast.types import Classifier, Images, Labels, Logits, Norm, PerImage


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Steps along the steepest direction, each pulled back into ball and pixel box
    (Madry et al., arXiv 1706.06083).

    With `norm="l1"` a step changes few pixels, and ball and box are projected onto together
    (Croce and Hein, arXiv 2103.01208, section 3); what their steps learn on the way is left out.
    Where it is called with `stop`, as the evaluator does, an image rests once it is wrong.
    `steps=1, rel_stepsize=1.25` is FGSM with a random start (Wong et al., arXiv 2001.03994).
    Raises BadInput for a radius, number of steps or of restarts that makes no sense.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        steps: gradient steps of one restart.
        rel_stepsize: length of a step as a share of the radius.
        start: `random` begins anywhere in the ball, `clean` at the image.
        restarts: tries per image; more than one keeps the best: with `stop` the first that is
            wrong, else the one of highest loss, whose iterates are compared as under `best`.
        best: return the iterate of highest loss (one more forward pass), not the last one.
        loss: what is climbed.
        draws: passes over whose gradients the mean is taken at each step (expectation over
            transformation; Athalye et al., arXiv 1707.07397), for a model that is random.
        seed: of the random starts; each is a function of seed, image index and restart alone.
    """

    name: ClassVar[str] = "pgd"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 10
    rel_stepsize: float = 0.25
    start: Literal["random", "clean"] = "random"
    restarts: int = 1
    best: bool = False
    loss: LossName | Loss = "ce"
    draws: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(
            self, radius=AT_LEAST_0, steps=AT_LEAST_1, restarts=AT_LEAST_1, rel_stepsize=ABOVE_0,
            draws=AT_LEAST_1,
        )  # fmt: skip
        resolve_loss(self.loss)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        stop: bool = False,
    ) -> Images:  # fmt: skip
        index = positions(x, index)
        adv, height = self._climb(model, x, y, self._start(x, index, 0), stop)
        for restart in range(1, self.restarts):
            at = (height < torch.inf).nonzero().flatten()
            if not len(at):
                break
            rival = self._climb(
                model, x[at], y[at], self._start(x[at], index[at], restart), stop
            )  # fmt: skip
            adv[at], height[at] = higher(adv[at], height[at], *rival)
        return adv

    def _start(self, x: Images, index: Labels, restart: int) -> Images:
        if self.start == "clean":
            return x
        return (
            x + sample(x, self.radius, self.norm, index, self.seed, noise.Stream.PGD, restart)
        ).clamp(0, 1)

    def _climb(
        self, model: Classifier, x: Images, y: Labels, adv: Images, stop: bool
    ) -> tuple[Images, PerImage]:
        """One restart: the last or best iterate, and its rank."""
        loss, out, rows = resolve_loss(self.loss), adv.clone(), positions(x, None)
        height = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        for _ in range(self.steps):
            climb, logits = gradient(model, adv, y, loss, self.draws)
            if stop or self._compares:
                rank = self._rank(logits, y, stop)
                out[rows], height[rows] = higher(out[rows], height[rows], adv, rank)
            if stop:
                stands = height[rows] < torch.inf
                if stands.sum() < ENOUGH * len(rows):
                    rows, x, y, adv, climb = (part[stands] for part in (rows, x, y, adv, climb))
                if not len(rows):
                    return out, height
            step = ascent(adv, climb, self.rel_stepsize * self.radius, self.norm)
            adv = confine(x, adv + step, self.radius, self.norm)
        if self._compares:
            rank = self._rank(at_least_fp32(model(adv)), y, stop)
            out[rows], height[rows] = higher(out[rows], height[rows], adv, rank)
        else:
            out[rows] = torch.where(per_image(height[rows] < torch.inf, adv), adv, out[rows])
        return out, height

    @property
    def _compares(self) -> bool:
        return self.best or self.restarts > 1

    def _rank(self, logits: Logits, y: Labels, stop: bool) -> Float[Tensor, " batch"]:
        """What the iterate kept has most of: the loss, where iterates are compared, and more than
        any once it is wrong and may rest."""
        if self._compares:
            known = resolve_loss(self.loss)(logits, y).double()
        else:
            known = torch.full_like(y, -torch.inf, dtype=torch.float64)
        return inf_once_wrong(known, logits, y, stop)
