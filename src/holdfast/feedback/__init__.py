"""Training signals: rewards, and the objectives built from them."""

from holdfast.feedback.boundary import Boundary
from holdfast.feedback.handover import Handover, active_objective, leaves
from holdfast.feedback.maxrl import MaxRL
from holdfast.feedback.objective import GCE, CrossEntropy, Expected, Mixed, Supervised
from holdfast.feedback.paired import MART, Trades
from holdfast.feedback.policy import PolicyGradient
from holdfast.feedback.ppo import PPO
from holdfast.feedback.protocol import (
    adversary_loss,
    needs_pairs,
    persistent,
    substate,
    updates_per_batch,
    with_scope,
)
from holdfast.feedback.repeated import Repeated
from holdfast.feedback.reward import Matrix, Signed, Weighted, expected_reward, table
from holdfast.feedback.sampling import EpsilonGreedy, draw
from holdfast.feedback.weights import suited
from holdfast.types import Objective, Reward

REWARDS: dict[str, type[Reward]] = {"signed": Signed, "weighted": Weighted, "matrix": Matrix}
OBJECTIVES: dict[str, type[Objective]] = {
    "ce": CrossEntropy,
    "reward": PolicyGradient,
    "expected": Expected,
    "mixed": Mixed,
    "gce": GCE,
    "maxrl": MaxRL,
    "ppo": PPO,
    "trades": Trades,
    "mart": MART,
    "handover": Handover,
    "loss": Supervised,
}

__all__ = [
    "GCE",
    "MART",
    "OBJECTIVES",
    "PPO",
    "REWARDS",
    "Boundary",
    "CrossEntropy",
    "EpsilonGreedy",
    "Expected",
    "Handover",
    "Matrix",
    "MaxRL",
    "Mixed",
    "PolicyGradient",
    "Repeated",
    "Signed",
    "Supervised",
    "Trades",
    "Weighted",
    "active_objective",
    "adversary_loss",
    "draw",
    "expected_reward",
    "leaves",
    "needs_pairs",
    "persistent",
    "substate",
    "suited",
    "table",
    "updates_per_batch",
    "with_scope",
]
