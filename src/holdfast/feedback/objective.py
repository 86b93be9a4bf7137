"""Objectives without sampling: cross-entropy, and the noise-free twins of the policy gradient."""

from dataclasses import dataclass, field
from typing import ClassVar

from holdfast.errors import BadInput
from holdfast.feedback.reward import Matrix, Signed, table
from holdfast.loss import cross_entropy, entropy, full
from holdfast.types import Batch, Classifier, PerImage, Reward, State


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Supervised learning: -log of the policy's probability of the true class."""

    name: ClassVar[str] = "ce"

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        return cross_entropy(full(model(batch.x)), batch.y), state


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Expected regret: the reward of the true class minus the policy's expected reward.

    The policy gradient of Gupta 2020 (arXiv 2012.04353, eq. 1) with every action taken in
    proportion to its probability, so without sampling noise. With rewards +1 and -1 it is exactly
    the mean absolute error, 2 (1 - p_y); at a uniform start its gradient is that of cross-entropy
    divided by the number of classes, so it leaves chance slowly.

    Attributes:
        reward: what each action is told.
        entropy: weight of the policy's entropy (in nats), which is added to the reward.
    """

    name: ClassVar[str] = "expected"
    reward: Signed | Matrix | Reward = field(default_factory=Signed)
    entropy: float = 0.0

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = full(model(batch.x))
        told = table(self.reward, batch.y, logits.shape[1])
        regret = told.amax(1) - (logits.softmax(1) * told).sum(1)
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
        if not 0 <= self.epsilon <= 1:
            raise BadInput(f"expected an epsilon in [0, 1], got {self.epsilon}")

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = full(model(batch.x))
        loss = cross_entropy(logits, batch.y)
        share = self.epsilon / logits.shape[1]
        return (1 - self.epsilon) * (1 - (-loss).exp()) + share * loss, state
