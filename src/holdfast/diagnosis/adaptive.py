"""The adaptive attack: it takes what a diagnosis found and answers with it.

What holds against it is the tightest upper bound on robust accuracy that holdfast has (Tramèr et
al., arXiv 2002.08347, on why no fixed battery can be the last word).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from holdfast import attack as attacks
from holdfast.attack import MIM, PGD, MinMargin, Square, Transfer, TransferMIM
from holdfast.diagnosis.views import ThroughViews
from holdfast.evaluation import acceptable
from holdfast.geometry import confine, higher
from holdfast.loss import at_least_fp32, margin_height
from holdfast.result import Finding, Sign
from holdfast.types import Attack, Classifier, Images, Labels, Norm, PerImage

# What a finding is answered with: views of the model, the one nearest to it first.
ANSWERS: dict[str, tuple[str, ...]] = {
    Sign.HIDDEN_OPERATIONS: ("straight-through",),
    Sign.ZERO_GRADIENTS: ("straight-through",),
    Sign.PROBABILITIES_FOR_LOGITS: ("logged",),
    Sign.GRADIENTS_POINT_THE_WRONG_WAY: ("turned",),
    Sign.FLOAT32_GRADIENTS_ARE_WRONG: ("float64",),
    Sign.UNSTABLE_PREDICTIONS: ("smoothed",),
    Sign.RANDOM_POINTS_FIND_MORE: ("smoothed",),
    Sign.GRADIENT_FREE_FINDS_MORE: ("smoothed",),
}
LAYERS = ("float64", "straight-through", "logged", "smoothed", "turned")  # nearest first


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Attempts one after the other, each on what the ones before it left, from the best point so
    far; the best point of each image over all of them.

    An attempt that names `start` sets out from there. Made by `answer`, or from attempts of your
    own.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1].
        norm: the norm that measures the budget.
        attempts: attacks of the same budget, in their order.
    """

    name: ClassVar[str] = "adaptive"
    radius: float = 8 / 255
    norm: Norm = "linf"
    attempts: tuple[Attack, ...] = field(default_factory=tuple)

    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        start: Images | None = None,
    ) -> Images:  # fmt: skip
        index = attacks.positions(x, index)
        best = x.clone() if start is None else confine(x, start, self.radius, self.norm)
        height = _height(model, best, y)
        for attempt in self.attempts:
            at = (height < torch.inf).nonzero().flatten()
            if not len(at):
                break
            found = attacks.run(attempt, model, x[at], y[at], index[at], best[at], stop=True)
            found = confine(x[at], found.detach(), self.radius, self.norm)
            sound = acceptable(x[at], found, self.radius, self.norm)
            reached = _height(model, found, y[at]).masked_fill(~sound, -torch.inf)
            best[at], height[at] = higher(best[at], height[at], found, reached)
        return best


@torch.no_grad()
def _height(model: Classifier, x: Images, y: Labels) -> PerImage:
    return margin_height(at_least_fp32(model(x)), y)


def answer(
    findings: Collection[Finding],
    *,
    radius: float = 8 / 255,
    norm: Norm = "linf",
    steps: int = 50,
    targets: int = 9,
    queries: int = 300,
    twin: Classifier | None = None,
    images: bool = True,
    seed: int = 0,
) -> Adaptive:
    """The attack that answers these findings.

    Always: climbs of the margin, whose direction no logit scale changes, towards the nearest
    class and then towards `targets` others; momentum; random search from the best point. Where
    something was found, the climbs first go through the views that answer it, then through all
    of those at once. A random model is to be handed over as `Averaged`, whose gradient is the
    expectation's.

    Args:
        findings: of a diagnosis or an evaluation; one without an answer changes nothing.
        radius, norm: the budget.
        steps: of the longest climb.
        targets: classes that short climbs go towards.
        queries: of the random search; 0: none.
        twin: a model of the same classes without the defence, whose images are tried too.
        images: whether it attacks images, [batch, c, h, w], and not other inputs, for which there
            are no random search and no transforms.
        seed: of all random starts.
    """
    budget: dict[str, Any] = {"radius": radius, "norm": norm}
    drawn: dict[str, Any] = budget | {"seed": seed}
    longest: Attack = MinMargin(steps=steps, targets=1, **drawn)
    slow: Attack = PGD(steps=steps, rel_stepsize=0.1, loss="margin", **drawn)
    tries: list[Attack | None] = [MinMargin(steps=max(steps // 2, 1), targets=0, **drawn), longest]
    names = {finding.name for finding in findings}
    queries *= 4 if Sign.GRADIENT_FREE_FINDS_MORE in names else 1
    tries += [_LOSSES[loss](slow) for loss in sorted(_losses(findings)) if loss in _LOSSES]
    for views in _stacks(names):
        tries += [ThroughViews(attack=longest, views=views), ThroughViews(attack=slow, views=views)]
    if twin is not None:
        sources: list[Attack] = [TransferMIM(**drawn)] if images else []
        sources += [PGD(steps=steps, loss="margin", **drawn)]
        tries += [Transfer(attack=one, source=twin) for one in sources]
    tries += [
        MinMargin(steps=max(steps // 5, 1), targets=targets, **drawn) if targets else None,
        MIM(steps=steps, loss="margin", **budget),
        Square(queries=queries, share=0.1, rescale=True, warm=True, **drawn)
        if queries and images
        else None,
    ]
    return Adaptive(**budget, attempts=tuple(one for one in tries if one is not None))


_LOSSES: dict[str, Callable[[Attack], Attack]] = {
    "dlr": lambda slow: attacks.with_settings(slow, loss="dlr", restarts=2),
    "rescaled": lambda slow: ThroughViews(
        attack=attacks.with_settings(slow, loss="ce"), views=("rescaled",)
    ),
}


def _losses(findings: Collection[Finding]) -> set[str]:
    """What found more than the claim by climbing another loss."""
    return {f.evidence.get("attack", "") for f in findings if f.name == Sign.LOSS_HIDES_ERRORS}


def _stacks(findings: Collection[str]) -> list[tuple[str, ...]]:
    """Each view that something calls for alone, then all of them together."""
    called = {view for name in findings for view in ANSWERS.get(name, ())}
    ordered = tuple(view for view in LAYERS if view in called)
    return [(view,) for view in ordered] + ([ordered] if len(ordered) > 1 else [])
