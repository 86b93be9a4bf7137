"""The policy gradient of eq. 1 of Gupta 2020, with exploration, baseline and correction.

A classifier's softmax is read as a policy p over actions (= classes). Actions a are drawn from a
behaviour b, which is p, or p mixed with uniform exploration; each is told a reward R, a baseline c
is subtracted, and the loss of an image is the mean over its actions of

    none         -(R - c) log p(a)
    importance   -(R - c) w log p(a),  w = min(p(a) / b(a), clip) held constant
    behaviour    -(R - c) log b(a)
    policy       -(R - c) v log p(a),  v = p(a) held constant where R - c < 0, else 1
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from holdfast.errors import BadInput
from holdfast.feedback import sampling
from holdfast.feedback.repeated import Repeated
from holdfast.feedback.reward import Matrix, Signed, table
from holdfast.feedback.sampling import Actions, EpsilonGreedy, PerAction
from holdfast.limits import ABOVE_0_OR_INF, FINITE, require_ranges
from holdfast.loss import at_least_fp32, entropy
from holdfast.types import Batch, Classifier, Logits, PerImage, Reward, State

REMEDIES = (
    "this diverges: the loss of a class that is explored and punished has no lower bound; take "
    "one of: correction=importance, correction=behaviour, correction=policy, or rewards 1 and 0 "
    "with baseline=none (for research: allow_divergent)"
)


@dataclass(frozen=True, kw_only=True)
class PolicyGradient:
    """Reward training: sample classes from the policy, reinforce them by what they are told
    (Gupta 2020, arXiv 2012.04353, eq. 1; Zou et al. 2026 with rewards 1 and 0, epsilon 0.1).

    All actions of an image come from one forward pass. They are a function of seed, image index
    and epoch alone: the same in any batch (with coin=image) and after a resume.

    Raises BadInput for settings out of range, and for a combination that diverges: exploration,
    no correction, and a reward minus baseline that can be negative (a reward without an attribute
    `lowest` counts as one that can).

    Attributes:
        reward: what an action is told.
        exploration: how the behaviour differs from the policy.
        baseline: what is subtracted from the reward; `running` is a moving mean over past
            batches, `expected` the policy's own expected reward, `leave_one_out` the mean over the
            image's other actions.
        correction: of actions drawn by exploration: `importance` weighs them by their probability
            under the policy over that under the behaviour, `behaviour` takes the logarithm of the
            latter, `policy` weighs those that are punished by the former.
        clip: largest importance weight.
        samples: actions per image.
        entropy: weight of the policy's entropy (in nats), which is added to the reward.
        repeated: a punishment that grows with mistakes in a row on the same image.
        seed: of the actions.
        allow_divergent: run a combination that diverges.
    """

    name: ClassVar[str] = "reward"
    reward: Signed | Matrix | Reward = field(default_factory=Signed)
    exploration: EpsilonGreedy = field(default_factory=EpsilonGreedy)
    baseline: Literal["none", "running", "expected", "leave_one_out"] = "none"
    correction: Literal["none", "importance", "behaviour", "policy"] = "none"
    clip: float = 10.0
    samples: int = 1
    entropy: float = 0.0
    repeated: Repeated = field(default_factory=Repeated)
    seed: int = 0
    allow_divergent: bool = False

    def __post_init__(self) -> None:
        require_ranges(self, clip=ABOVE_0_OR_INF, entropy=FINITE)
        sampling.require_samples(self.samples, self.baseline)
        if self.exploration.coin == "batch" and self.baseline == "leave_one_out":
            raise BadInput(
                "expected coin=image with baseline=leave_one_out: one coin for the batch makes an "
                "image's actions depend on each other; got coin=batch"
            )
        if self.diverges and not self.allow_divergent:
            raise BadInput(f"exploration without correction, with rewards below 0: {REMEDIES}")

    @property
    def diverges(self) -> bool:
        lowest = getattr(self.reward, "lowest", -1.0) - self.repeated.growth * self.repeated.most
        punishes = lowest < 0 or self.baseline != "none"
        return self.exploration.explores and self.correction == "none" and punishes

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = at_least_fp32(model(batch.x))
        logp = logits.log_softmax(1)
        policy = logp.detach().exp()
        action = sampling.draw(policy, batch, self.samples, self.seed, self.exploration)
        told = table(self.reward, batch.y, logits.shape[1])
        told = self.repeated.punish(told, batch, state)
        received = told.gather(1, action)
        gain = received - self._baseline(received, told, policy, state)
        epsilon = self.exploration.at(batch.epoch)
        loss = -(gain * self._credit(logp, action, gain, epsilon)).mean(1)
        state = self._remember(self.repeated.remember(logits, batch, state), received)
        return loss - self.entropy * entropy(logits), state

    def _baseline(self, received: PerAction, told: Logits, policy: Logits, state: State) -> Tensor:
        if self.baseline == "running":
            return state.get("mean", torch.zeros((), device=received.device))
        return sampling.baseline(self.baseline, received, told, policy)

    def _credit(self, logp: Logits, action: Actions, gain: PerAction, epsilon: float) -> PerAction:
        """The log-probability that is reinforced, weighted by the correction."""
        picked = logp.gather(1, action)
        chance = picked.detach().exp()
        uniform = epsilon / logp.shape[1]
        if self.correction == "behaviour":
            return ((1 - epsilon) * picked.exp() + uniform).log() if epsilon else picked
        if self.correction == "importance":
            behaviour = (1 - epsilon) * chance + uniform
            tiny = torch.finfo(behaviour.dtype).tiny  # an underflown chance has weight 0, not 0/0
            return picked * (chance / behaviour.clamp_min(tiny)).clamp_max(self.clip)
        if self.correction == "policy":
            return picked * torch.where(gain < 0, chance, 1)
        return picked

    def _remember(self, state: State, received: PerAction) -> State:
        """The running mean of rewards: a tenth of the newest batch, nine tenths of the past."""
        if self.baseline != "running":
            return state
        now = received.mean()
        return state | {"mean": torch.lerp(state.get("mean", now), now, 0.1)}
