"""Actions drawn from a policy, and what is subtracted from their rewards."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput
from holdfast.limits import AT_LEAST_1, SHARE, require_ranges
from holdfast.types import Batch, Logits

Actions = Int[Tensor, "batch actions"]
PerAction = Float[Tensor, "batch actions"]
Baseline = Literal["none", "expected", "leave_one_out"]


def interpolated(first: float, final: float | None, epoch: int, over: int) -> float:
    """From `first` to `final` in a straight line over so many epochs; None: `first` throughout."""
    return first if final is None else first + (final - first) * min(epoch / over, 1)


@dataclass(frozen=True, kw_only=True)
class EpsilonGreedy:
    """With probability epsilon an action is drawn uniformly instead of from the policy.

    Raises BadInput for an epsilon outside [0, 1].

    Attributes:
        epsilon: probability of exploring, in the first epoch.
        final: the same from epoch `over` on, linear in between; None: as `epsilon`.
        over: epochs until `final`.
        coin: one toss per image, or one for the whole batch as in Zou et al.'s code; of several
            processes each tosses for its share of the batch.
    """

    epsilon: float = 0.0
    final: float | None = None
    over: int = 1
    coin: Literal["image", "batch"] = "image"

    def __post_init__(self) -> None:
        require_ranges(self, epsilon=SHARE, final=SHARE, over=AT_LEAST_1)

    @property
    def explores(self) -> bool:
        return self.epsilon > 0 or bool(self.final)

    def at(self, epoch: int) -> float:
        """The probability of exploring in this epoch."""
        return interpolated(self.epsilon, self.final, epoch, self.over)


def draw(
    policy: Logits, batch: Batch, samples: int, seed: int, exploration: EpsilonGreedy
) -> Actions:
    """So many actions per image out of the behaviour, by inverting its cumulative sum.

    They are a function of seed, image index and epoch alone: the same in any batch (with
    coin=image) and after a resume.
    """
    classes, key = policy.shape[1], (seed, noise.Stream.ACTIONS, batch.epoch)
    epsilon = exploration.at(batch.epoch)
    toss = noise.uniform(batch.index, (samples, 2), *key)
    upto = policy.cumsum(1)
    height = toss[:, :, 0] * upto[:, -1:]  # which may be just below 1
    picked = torch.searchsorted(upto, height.contiguous(), right=True).clamp_max(classes - 1)
    if epsilon == 0:
        return picked
    # the first image's toss speaks for the batch
    explore = toss[:1, :1, 1] if exploration.coin == "batch" else toss[:, :, 1]
    anything = noise.uniform(batch.index, (samples,), *key, 1) * classes
    return torch.where(explore < epsilon, anything.long(), picked)


def baseline(kind: Baseline, received: PerAction, told: Logits, policy: Logits) -> Tensor:
    """What is subtracted from the rewards of an image's actions; broadcasts to `received`.

    `expected` is the policy's own expected reward, `leave_one_out` the mean over the image's
    other actions. Neither changes the mean gradient where the policy's own actions are scored;
    docs/objectives.md says what holds under exploration.
    """
    if kind == "expected":
        return (policy * told).sum(1, keepdim=True)
    if kind == "leave_one_out":
        return (received.sum(1, keepdim=True) - received) / (received.shape[1] - 1)
    return torch.zeros((), device=received.device)


def require_samples(samples: int, kind: str) -> None:
    """Raises BadInput for fewer actions per image than the baseline needs."""
    if samples < 1:
        raise BadInput(f"expected at least 1 action per image, got samples={samples}")
    if kind == "leave_one_out" and samples < 2:
        raise BadInput("expected samples of 2 or more for baseline=leave_one_out, got 1")
