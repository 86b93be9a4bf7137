"""Objectives of clean and adversarial images together: TRADES and MART."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from holdfast.errors import BadInput, name_of
from holdfast.feedback.handover import leaves
from holdfast.feedback.objective import CrossEntropy
from holdfast.feedback.protocol import needs_pairs, updates_per_batch, with_scope
from holdfast.limits import AT_LEAST_0, require_ranges
from holdfast.loss import (
    at_least_fp32,
    cross_entropy,
    kl_divergence,
    without_true_class,
)
from holdfast.types import Batch, Classifier, Labels, Logits, Objective, PerImage, State


@dataclass(frozen=True, kw_only=True)
class Trades:
    """An objective at x plus beta KL(p(x) || p(adv)) (Zhang et al., arXiv 1901.08573, eq. 5, whose
    objective is cross-entropy; any other, such as reward, is ours).

    The adversary climbs that divergence (`adversarial.loss=auto` sees to it), from a random start:
    at x itself its gradient is zero. The paper's start is normal noise of 0.001, ours is anywhere
    in the ball. Where the step has no adversary yet, the objective alone.
    Raises BadInput for a beta below 0, and for a base that wants pairs itself or more than one
    update from a batch.

    Attributes:
        beta: weight of the divergence; 1 / lambda in the paper, 6 in its experiments.
        base: the objective at x; it sees the same logits as the divergence.
    """

    name: ClassVar[str] = "trades"
    pairs: ClassVar[bool] = True
    climbs: ClassVar[str] = "kl"
    beta: float = 6.0
    base: Objective = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        require_ranges(self, beta=AT_LEAST_0)
        for one in leaves(self.base):
            if needs_pairs(one) or updates_per_batch(one) > 1:
                name = name_of(one, "another")
                raise BadInput(
                    "expected a base for trades that takes one update from clean images, got "
                    f"{name}; take ce, reward or expected"
                )

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        clean = replace(batch, adv=None)
        loss, state = with_scope("base", self.base, lambda _: logits, clean, state)
        if batch.adv is None:
            return loss, state
        return loss + self.beta * kl_divergence(at_least_fp32(model(batch.adv)), logits), state


@dataclass(frozen=True, kw_only=True)
class MART:
    """Boosted cross-entropy at adv, -log p_y(adv) - log(1 - max p_k(adv)) over wrong k, plus
    beta KL(p(x) || p(adv)) (1 - p_y(x)): images that are wrong when clean count most (Wang et al.,
    "Improving adversarial robustness requires revisiting misclassified examples", ICLR 2020,
    openreview.net/forum?id=rklOg6EFwS).

    The adversary climbs its own loss, cross-entropy as in the paper. Where the step has no
    adversary yet, boosted cross-entropy at x. Raises BadInput for a beta below 0.

    Attributes:
        beta: weight of the divergence, the paper's lambda; 6 in the authors' code.
    """

    name: ClassVar[str] = "mart"
    pairs: ClassVar[bool] = True
    beta: float = 6.0

    def __post_init__(self) -> None:
        require_ranges(self, beta=AT_LEAST_0)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        if batch.adv is None:
            return _boosted(logits, batch.y), state
        attacked = at_least_fp32(model(batch.adv))
        doubt = 1 - (-cross_entropy(logits, batch.y)).exp()
        extra = kl_divergence(attacked, logits) * doubt
        return _boosted(attacked, batch.y) + self.beta * extra, state


def _boosted(logits: Logits, y: Labels) -> PerImage:
    """-log p_y - log(1 - p_k) for the likeliest wrong class k."""
    rival = without_true_class(logits, y).argmax(1, keepdim=True)
    others = logits.scatter(1, rival, -torch.inf).logsumexp(1)
    return cross_entropy(logits, y) + logits.logsumexp(1) - others
