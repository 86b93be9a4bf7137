"""Maximum-likelihood reinforcement learning: from expected reward to cross-entropy by sampling."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.feedback import sampling
from holdfast.feedback.sampling import EpsilonGreedy
from holdfast.limits import AT_LEAST_2, FINITE, require_ranges
from holdfast.loss import at_least_fp32, cross_entropy, entropy
from holdfast.types import Batch, Classifier, PerImage, State


@dataclass(frozen=True, kw_only=True)
class MaxRL:
    """Rewards 1 and 0, less their mean over the image's actions, over that mean; nothing where no
    action was right (Tajwar et al., arXiv 2602.02710).

    The log-likelihood is -sum over k of (1 - p_y)^k / k; policy gradients climb its first term
    alone. With N actions the mean gradient of this objective is that of the first N - 1 terms
    (derivation in docs/objectives.md; N terms would need the images without a right action too),
    so 2 actions are the policy gradient and many are cross-entropy.
    Raises BadInput for fewer than 2 actions.

    Attributes:
        samples: actions per image, N.
        exact: no sampling: the first N - 1 terms themselves.
        entropy: weight of the policy's entropy (in nats), which is added to the reward.
        seed: of the actions.
    """

    name: ClassVar[str] = "maxrl"
    samples: int = 8
    exact: bool = False
    entropy: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, samples=AT_LEAST_2, entropy=FINITE)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        if self.exact:
            miss = -torch.expm1(-cross_entropy(logits, batch.y))
            order = torch.arange(1, self.samples, device=miss.device)
            loss = (miss[:, None] ** order / order).sum(1)
            return loss - self.entropy * entropy(logits), state
        logp = logits.log_softmax(1)
        action = sampling.draw(logp.detach().exp(), batch, self.samples, self.seed, EpsilonGreedy())
        hit = (action == batch.y[:, None]).to(logp.dtype)
        mean = hit.mean(1, keepdim=True)
        gain = torch.where(mean > 0, (hit - mean) / mean, 0)
        loss = -(gain * logp.gather(1, action)).mean(1)
        return loss - self.entropy * entropy(logits), state
