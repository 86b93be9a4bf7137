"""Proximal policy optimisation: several updates from one batch of actions, kept close together."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from holdfast.feedback import sampling
from holdfast.feedback.repeated import Repeated
from holdfast.feedback.reward import Matrix, Signed, table
from holdfast.feedback.sampling import Baseline, EpsilonGreedy
from holdfast.limits import ABOVE_0_OR_INF, AT_LEAST_1, FINITE, require_ranges
from holdfast.loss import at_least_fp32, entropy
from holdfast.types import OF_BATCH, Batch, Classifier, PerImage, Reward, State

BEFORE, TOLD = f"{OF_BATCH}before", f"{OF_BATCH}told"


@dataclass(frozen=True, kw_only=True)
class PPO:
    """The clipped surrogate of Schulman et al. (arXiv 1707.06347, eq. 7) on one-step episodes.

    The actions of a batch are drawn once, from the policy before its first update; every one of
    `passes` updates then climbs min(w g, clip(w, 1 - clip, 1 + clip) g), w = p(a) / p_before(a),
    g = reward - baseline. No value network: the baseline does its work. Dropout, where the
    network has it, is part of w, as it is drawn anew for each pass. Schedule and moving average
    count batches, not updates; with weight perturbation p_before is that of the moved weights.
    Raises BadInput for settings out of range.

    Attributes:
        reward: what an action is told.
        baseline: subtracted from the reward; see PolicyGradient.
        samples: actions per image.
        passes: updates from each batch; each costs a forward and a backward pass.
        clip: how far w may move from 1.
        entropy: weight of the policy's entropy (in nats), which is added to the reward.
        repeated: a punishment that grows with mistakes in a row on the same image.
        seed: of the actions.
    """

    name: ClassVar[str] = "ppo"
    reward: Signed | Matrix | Reward = field(default_factory=Signed)
    baseline: Baseline = "expected"
    samples: int = 8
    passes: int = 4
    clip: float = 0.2
    entropy: float = 0.0
    repeated: Repeated = field(default_factory=Repeated)
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, passes=AT_LEAST_1, clip=ABOVE_0_OR_INF, entropy=FINITE)
        sampling.require_samples(self.samples, self.baseline)

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        logp = logits.log_softmax(1)
        before = state.get(BEFORE, logp.detach())
        if BEFORE not in state:
            told = self.repeated.punish(table(self.reward, batch.y, logits.shape[1]), batch, state)
            state = self.repeated.remember(logits, batch, state) | {BEFORE: before, TOLD: told}
        told, policy = state[TOLD], before.exp()
        action = sampling.draw(policy, batch, self.samples, self.seed, EpsilonGreedy())
        received = told.gather(1, action)
        gain = received - sampling.baseline(self.baseline, received, told, policy)
        weight = (logp.gather(1, action) - before.gather(1, action)).exp()
        near = weight.clamp(1 - self.clip, 1 + self.clip)
        loss = -torch.minimum(weight * gain, near * gain).mean(1)
        return loss - self.entropy * entropy(logits), state
