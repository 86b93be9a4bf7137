"""Objectives without sampling: cross-entropy, and the noise-free twins of the policy gradient."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F

from holdfast.errors import BadInput
from holdfast.feedback.repeated import Repeated
from holdfast.feedback.reward import Matrix, Signed, table
from holdfast.feedback.sampling import interpolated
from holdfast.feedback.weights import ClassWeights, of_class, require_weights
from holdfast.limits import AT_LEAST_1, FINITE, SHARE, SHARE_BELOW_1, require_ranges
from holdfast.loss import (
    Loss,
    LossName,
    at_least_fp32,
    cross_entropy,
    each,
    entropy,
    resolve_loss,
)
from holdfast.types import Batch, Classifier, PerImage, Reward, State


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Supervised learning: -log of the policy's probability of the true class.

    Raises BadInput for settings out of range, and for another number of weights than classes.

    Attributes:
        smoothing: share of the label that is spread over all classes (Szegedy et al., arXiv
            1512.00567, section 7).
        weights: a factor for each class; `balanced` is images / (classes x images of the class),
            counted by the trainer on the training split. The mean is over images, not weights.
    """

    name: ClassVar[str] = "ce"
    smoothing: float = 0.0
    weights: ClassWeights = ()

    def __post_init__(self) -> None:
        require_ranges(self, smoothing=SHARE_BELOW_1)
        require_weights(self.weights)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        loss = F.cross_entropy(
            logits, batch.y.long(), reduction="none", label_smoothing=self.smoothing
        )  # fmt: skip
        if not self.weights:
            return loss, state
        if self.weights != "balanced" and len(self.weights) != logits.shape[1]:
            raise BadInput(f"expected {logits.shape[1]} class weights, got {len(self.weights)}")
        return of_class(self.weights, batch.y) * loss, state


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """Supervised learning by any loss of logits and labels, such as a focal loss of your own.

    Raises BadInput for a loss that gives no number for each image.

    Attributes:
        loss: what is descended: the name of one that attacks climb, or a function of (logits, y).
    """

    name: ClassVar[str] = "loss"
    loss: LossName | Loss = "ce"

    def __post_init__(self) -> None:
        resolve_loss(self.loss)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        return each(resolve_loss(self.loss), at_least_fp32(model(batch.x)), batch.y), state


@dataclass(frozen=True, kw_only=True)
class GCE:
    """Generalised cross-entropy, (1 - p_y^q) / q (Zhang and Sabuncu, arXiv 1805.07836, eq. 6).

    q = 0 is cross-entropy, q = 1 half of the expected regret with rewards +1 and -1: with q
    growing from 0 to 1, training begins supervised and ends on reward.
    Raises BadInput for a q outside [0, 1].

    Attributes:
        q: in the first epoch.
        final: q from epoch `over` on, linear in between; None: as `q`.
        over: epochs until `final`.
    """

    name: ClassVar[str] = "gce"
    q: float = 0.7
    final: float | None = None
    over: int = 1

    def __post_init__(self) -> None:
        require_ranges(self, q=SHARE, final=SHARE, over=AT_LEAST_1)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        loss = cross_entropy(at_least_fp32(model(batch.x)), batch.y)
        q = interpolated(self.q, self.final, batch.epoch, self.over)
        return (-torch.expm1(-q * loss) / q if q else loss), state


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Expected regret: the reward of the true class minus the policy's expected reward.

    The policy gradient of Gupta 2020 (arXiv 2012.04353, eq. 1) with every action taken in
    proportion to its probability, so without sampling noise. With rewards +1 and -1 it is exactly
    the mean absolute error, 2 (1 - p_y); at a uniform start its gradient is that of cross-entropy
    divided by half the number of classes, so it leaves chance slowly.

    Attributes:
        reward: what each action is told.
        entropy: weight of the policy's entropy (in nats), which is added to the reward.
        repeated: a punishment that grows with mistakes in a row on the same image.
    """

    name: ClassVar[str] = "expected"
    reward: Signed | Matrix | Reward = field(default_factory=Signed)
    entropy: float = 0.0
    repeated: Repeated = field(default_factory=Repeated)

    def __post_init__(self) -> None:
        require_ranges(self, entropy=FINITE)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        told = table(self.reward, batch.y, logits.shape[1])
        told = self.repeated.punish(told, batch, state)
        regret = told.amax(1) - (logits.softmax(1) * told).sum(1)
        state = self.repeated.remember(logits, batch, state)
        return regret - self.entropy * entropy(logits), state


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """(1 - epsilon) (1 - p_y) + (epsilon / K) cross-entropy.

    The noise-free twin of Zou et al.'s training: its gradient is the mean gradient of the policy
    gradient with 0/1 reward and uncorrected epsilon-greedy exploration (derivation in
    docs/objectives.md). The control that tells the effect of noise from that of the loss's shape.

    Attributes:
        epsilon: probability of exploring; 0.1 in Zou et al.'s code.
    """

    name: ClassVar[str] = "mixed"
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        require_ranges(self, epsilon=SHARE)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        loss = cross_entropy(logits, batch.y)
        share = self.epsilon / logits.shape[1]
        return (1 - self.epsilon) * (1 - (-loss).exp()) + share * loss, state
