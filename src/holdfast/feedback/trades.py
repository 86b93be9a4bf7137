"""TRADES: cross-entropy on clean images, and no other prediction anywhere near them."""

from dataclasses import dataclass
from typing import ClassVar

from holdfast.limits import AT_LEAST_0, require_ranges
from holdfast.loss import at_least_fp32, cross_entropy, kl_divergence
from holdfast.types import Batch, Classifier, PerImage, State


@dataclass(frozen=True, kw_only=True)
class Trades:
    """Cross-entropy at x plus beta KL(p(x) || p(adv)) (Zhang et al., arXiv 1901.08573, eq. 5).

    The adversary climbs that divergence (`adversarial.loss=auto` sees to it), from a random start:
    at x itself its gradient is zero. The paper's start is normal noise of 0.001, ours is anywhere
    in the ball. Where the step has no adversary yet, cross-entropy alone.
    Raises BadInput for a beta below 0.

    Attributes:
        beta: weight of the divergence; 1 / lambda in the paper, 6 in its experiments.
    """

    name: ClassVar[str] = "trades"
    pairs: ClassVar[bool] = True
    climbs: ClassVar[str] = "kl"
    beta: float = 6.0

    def __post_init__(self) -> None:
        require_ranges(self, beta=AT_LEAST_0)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        loss = cross_entropy(logits, batch.y)
        if batch.adv is None:
            return loss, state
        return loss + self.beta * kl_divergence(at_least_fp32(model(batch.adv)), logits), state
