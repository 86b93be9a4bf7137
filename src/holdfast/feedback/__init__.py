"""Training signals: rewards, and the objectives built from them."""

from holdfast.feedback.objective import CrossEntropy, Expected, Mixed
from holdfast.feedback.policy import EpsilonGreedy, PolicyGradient, expected_reward
from holdfast.feedback.reward import Matrix, Signed, table
from holdfast.types import Objective, Reward

OBJECTIVES: dict[str, type[Objective]] = {
    "ce": CrossEntropy,
    "reward": PolicyGradient,
    "expected": Expected,
    "mixed": Mixed,
}

REWARDS: dict[str, type[Reward]] = {"signed": Signed, "matrix": Matrix}

__all__ = [
    "OBJECTIVES",
    "REWARDS",
    "CrossEntropy",
    "EpsilonGreedy",
    "Expected",
    "Matrix",
    "Mixed",
    "PolicyGradient",
    "Signed",
    "expected_reward",
    "table",
]
