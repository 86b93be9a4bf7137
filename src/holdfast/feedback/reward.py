"""Reward schemes: what the policy is told for the class it picked."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.errors import BadInput, require_field_types
from holdfast.feedback.weights import ClassWeights, of_class, require_weights
from holdfast.limits import FINITE, require_ranges
from holdfast.types import Labels, Logits, PerImage, Reward


@dataclass(frozen=True, kw_only=True)
class Signed:
    """One number for a right pick and one for a wrong one.

    +1 and -1 are those of Gupta 2020 (arXiv 2012.04353, section 2); 1 and 0 those of Zou et al.
    2026. Raises BadInput unless a right pick earns more.

    Attributes:
        correct: reward for picking the true class.
        wrong: reward for picking any other.
    """

    name: ClassVar[str] = "signed"
    correct: float = 1.0
    wrong: float = -1.0

    def __post_init__(self) -> None:
        require_ranges(self, correct=FINITE, wrong=FINITE)
        if not self.correct > self.wrong:
            raise BadInput(
                f"expected the reward for correct above that for wrong, "
                f"got {self.correct} and {self.wrong}"
            )

    @property
    def lowest(self) -> float:
        return self.wrong

    def __call__(self, action: Labels, y: Labels) -> PerImage:
        hit = (action == y).float()
        return self.wrong + (self.correct - self.wrong) * hit


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """Rewards of a size that depends on the true class, for imbalanced data (proposed in Gupta
    2020, arXiv 2012.04353, section 5).

    Raises BadInput for a weight below 0, and where `balanced` has not become numbers.

    Attributes:
        weights: a factor for each class; `balanced` is images / (classes x images of the class),
            counted by the trainer on the training split.
        correct: reward for picking the true class, before the factor.
        wrong: reward for picking any other, before the factor.
    """

    name: ClassVar[str] = "weighted"
    weights: ClassWeights = "balanced"
    correct: float = 1.0
    wrong: float = -1.0

    def __post_init__(self) -> None:
        require_field_types(self)
        Signed(correct=self.correct, wrong=self.wrong)
        require_weights(self.weights)

    @property
    def lowest(self) -> float:
        """Over all classes; of weights that are not known yet, with any from 0."""
        known = [] if self.weights == "balanced" else [w * self.wrong for w in self.weights]
        return min(known, default=min(self.wrong, 0.0))

    @property
    def classes(self) -> int | None:
        return None if self.weights == "balanced" else len(self.weights)

    def __call__(self, action: Labels, y: Labels) -> PerImage:
        signed = Signed(correct=self.correct, wrong=self.wrong)
        return of_class(self.weights, y) * signed(action, y)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A number for every pair of true class (row) and picked class (column).

    Raises BadInput unless the matrix is square and finite and in every row no class earns more than
    the true one, and some earn less.

    Attributes:
        values: K rows of K rewards.
    """

    name: ClassVar[str] = "matrix"
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        require_field_types(self)
        sizes = {len(row) for row in self.values}
        if sizes != {len(self.values)}:
            raise BadInput(
                f"expected a square reward matrix, got {len(self.values)} rows of {sizes}"
            )
        for i, row in enumerate(self.values):
            if not (all(map(math.isfinite, row)) and min(row) < max(row) == row[i]):
                raise BadInput(
                    f"expected the true class to earn most and others less, got row {i}: {row}"
                )

    @property
    def lowest(self) -> float:
        return min(map(min, self.values))

    @property
    def classes(self) -> int:
        return len(self.values)

    def __call__(self, action: Labels, y: Labels) -> PerImage:
        return torch.tensor(self.values, dtype=torch.float32, device=y.device)[y, action]


def table(reward: Reward, y: Labels, classes: int) -> Logits:
    """`[batch, classes]`: what each image's policy would be told for each pick.

    Raises BadInput where the reward has an attribute `classes` that is another number, and where it
    gives something else than a number for each action.
    """
    action = torch.arange(classes, device=y.device).repeat(len(y))
    made_for = getattr(reward, "classes", None)
    if made_for not in (None, classes):
        raise BadInput(f"expected a reward for {classes} classes, got one for {made_for}")
    told = reward(action, y.repeat_interleave(classes))
    if not isinstance(told, Tensor) or told.shape != action.shape:
        got = f"one of shape {tuple(told.shape)}" if isinstance(told, Tensor) else repr(told)
        raise BadInput(
            f"expected a reward for each action, a tensor of shape ({len(action)},), got {got:.60}"
        )
    return told.float().reshape(len(y), classes)


def expected_reward(reward: Reward, logits: Logits, y: Labels) -> PerImage:
    """The policy's expected reward for each image."""
    return (logits.softmax(1) * table(reward, y, logits.shape[1])).sum(1)
