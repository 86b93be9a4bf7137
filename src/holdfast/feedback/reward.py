"""Reward schemes: what the policy is told for the class it picked."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.errors import BadInput
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
class Matrix:
    """A number for every pair of true class (row) and picked class (column).

    Raises BadInput unless the matrix is square and in every row the true class earns most.

    Attributes:
        values: K rows of K rewards.
    """

    name: ClassVar[str] = "matrix"
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        sizes = {len(row) for row in self.values}
        if sizes != {len(self.values)}:
            raise BadInput(
                f"expected a square reward matrix, got {len(self.values)} rows of {sizes}"
            )
        for i, row in enumerate(self.values):
            if not row[i] >= max(row):
                raise BadInput(f"expected the true class to earn most, got row {i}: {row}")

    @property
    def lowest(self) -> float:
        return min(map(min, self.values))

    def __call__(self, action: Labels, y: Labels) -> PerImage:
        return torch.tensor(self.values, dtype=torch.float32, device=y.device)[y, action]


def table(reward: Reward, y: Labels, classes: int) -> Logits:
    """`[batch, classes]`: what each image's policy would be told for each pick.

    Raises BadInput where a matrix is of another number of classes.
    """
    action = torch.arange(classes, device=y.device).repeat(len(y))
    rows = len(getattr(reward, "values", range(classes)))
    if rows != classes:
        raise BadInput(f"expected a reward matrix of {classes} classes, got one of {rows}")
    return reward(action, y.repeat_interleave(classes)).float().reshape(len(y), classes)
