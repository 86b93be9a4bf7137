"""The policy gradient of eq. 1 of Gupta 2020, with exploration, baseline and correction.

A classifier's softmax is read as a policy p over actions (= classes). Actions a are drawn from a
behaviour b, which is p, or p mixed with uniform exploration; each is told a reward R, a baseline c
is subtracted, and the loss of an image is the mean over its actions of

    none         -(R - c) log p(a)
    importance   -(R - c) w log p(a),  w = min(p(a) / b(a), clip) held constant
    mixed        -(R - c) log b(a)
    policy       -(R - c) v log p(a),  v = p(a) held constant where R - c < 0, else 1
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput
from holdfast.feedback.reward import Matrix, Signed, table
from holdfast.loss import entropy, full
from holdfast.types import Batch, Classifier, Labels, Logits, PerImage, Reward, State

STREAM = 2  # keeps these numbers apart from those of other users of the same seed
Actions = Int[Tensor, "batch actions"]
PerAction = Float[Tensor, "batch actions"]

REMEDIES = (
    "this diverges: the loss of a class that is explored and punished has no lower bound; take "
    "one of: correction=importance, correction=mixed, correction=policy, or rewards 1 and 0 with "
    "baseline=none (for research: allow_divergent)"
)


@dataclass(frozen=True, kw_only=True)
class EpsilonGreedy:
    """With probability epsilon an action is drawn uniformly instead of from the policy.

    Raises BadInput for an epsilon outside [0, 1].

    Attributes:
        epsilon: probability of exploring, in the first epoch.
        final: the same from epoch `over` on, linear in between; None: as `epsilon`.
        over: epochs until `final`.
        coin: one toss per image, or one for the whole batch as in Zou et al.'s code.
    """

    epsilon: float = 0.0
    final: float | None = None
    over: int = 1
    coin: Literal["image", "batch"] = "image"

    def __post_init__(self) -> None:
        for value in (self.epsilon, self.final or 0.0):
            if not 0 <= value <= 1:
                raise BadInput(f"expected an epsilon in [0, 1], got {value}")
        if self.over < 1:
            raise BadInput(f"expected at least 1 epoch to change epsilon over, got {self.over}")

    @property
    def explores(self) -> bool:
        return self.epsilon > 0 or bool(self.final)

    def at(self, epoch: int) -> float:
        """The probability of exploring in this epoch."""
        final = self.epsilon if self.final is None else self.final
        return self.epsilon + (final - self.epsilon) * min(epoch / self.over, 1)


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
        correction: how actions drawn by exploration are weighted; see the module's head.
        clip: largest importance weight.
        samples: actions per image.
        entropy: weight of the policy's entropy (in nats), which is added to the reward.
        seed: of the actions.
        allow_divergent: run a combination that diverges.
    """

    name: ClassVar[str] = "reward"
    reward: Signed | Matrix | Reward = field(default_factory=Signed)
    exploration: EpsilonGreedy = field(default_factory=EpsilonGreedy)
    baseline: Literal["none", "running", "expected", "leave_one_out"] = "none"
    correction: Literal["none", "importance", "mixed", "policy"] = "none"
    clip: float = 10.0
    samples: int = 1
    entropy: float = 0.0
    seed: int = 0
    allow_divergent: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise BadInput(f"expected at least 1 action per image, got samples={self.samples}")
        if self.baseline == "leave_one_out" and self.samples < 2:
            raise BadInput("expected samples of 2 or more for baseline=leave_one_out, got 1")
        if self.exploration.coin == "batch" and self.baseline == "leave_one_out":
            raise BadInput(
                "expected coin=image with baseline=leave_one_out: one coin for the batch makes an "
                "image's actions depend on each other; got coin=batch"
            )
        if self.diverges and not self.allow_divergent:
            raise BadInput(f"exploration without correction, with rewards below 0: {REMEDIES}")

    @property
    def diverges(self) -> bool:
        punishes = getattr(self.reward, "lowest", -1.0) < 0 or self.baseline != "none"
        return self.exploration.explores and self.correction == "none" and punishes

    def __call__(self, model: Classifier, batch: Batch, state: State) -> tuple[PerImage, State]:
        logits = full(model(batch.x))
        logp = logits.log_softmax(1)
        policy = logp.detach().exp()
        epsilon = self.exploration.at(batch.epoch)
        action = self.draw(policy, batch, epsilon)
        told = table(self.reward, batch.y, logits.shape[1])
        received = told.gather(1, action)
        gain = received - self._baseline(received, told, policy, state)
        loss = -(gain * self._credit(logp, action, gain, epsilon)).mean(1)
        return loss - self.entropy * entropy(logits), self._remember(state, received)

    def draw(self, policy: Logits, batch: Batch, epsilon: float) -> Actions:
        """`samples` actions per image out of the behaviour, by inverting its cumulative sum."""
        classes, key = policy.shape[1], (self.seed, STREAM, batch.epoch)
        toss = noise.uniform(batch.index, (self.samples, 2), *key)
        picked = torch.searchsorted(policy.cumsum(1), toss[:, :, 0].contiguous(), right=True)
        picked = picked.clamp_max(classes - 1)  # a cumulative sum may end just below 1
        if epsilon == 0:
            return picked
        # the first image's toss speaks for the batch
        explore = toss[:1, :1, 1] if self.exploration.coin == "batch" else toss[:, :, 1]
        anything = noise.uniform(batch.index, (self.samples,), *key, 1) * classes
        return torch.where(explore < epsilon, anything.long(), picked)

    def _baseline(self, received: PerAction, told: Logits, policy: Logits, state: State) -> Tensor:
        if self.baseline == "running":
            return state.get("mean", torch.zeros((), device=received.device))
        if self.baseline == "expected":
            return (policy * told).sum(1, keepdim=True)
        if self.baseline == "leave_one_out":
            return (received.sum(1, keepdim=True) - received) / (self.samples - 1)
        return torch.zeros((), device=received.device)

    def _credit(self, logp: Logits, action: Actions, gain: PerAction, epsilon: float) -> PerAction:
        """The log-probability that is reinforced, weighted by the correction."""
        picked = logp.gather(1, action)
        chance = picked.detach().exp()
        uniform = epsilon / logp.shape[1]
        if self.correction == "mixed":
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
        return {"mean": torch.lerp(state.get("mean", now), now, 0.1)}


def expected_reward(reward: Reward, logits: Logits, y: Labels) -> PerImage:
    """The policy's expected reward for each image."""
    return (logits.softmax(1) * table(reward, y, logits.shape[1])).sum(1)
