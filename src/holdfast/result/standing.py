"""Shares of images and their intervals: what every record is told in."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool
from torch import Tensor

WORST = "worst case"  # what the least per image is called; no attack may be
SLACK = 1e-6  # rounding of x + change in fp32, per pixel unit
Flags = Bool[Tensor, " batch"]


class Interval(NamedTuple):
    """Where a number lies with 95 % confidence: a share over images, or a mean over runs."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.1%} to {self.high:.1%}"


def wilson(hits: int, count: int, z: float = 1.959964) -> Interval:
    """Wilson's score interval of `hits` out of `count` (Wilson 1927); [0, 1] for none."""
    if count == 0:
        return Interval(low=0.0, high=1.0)
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return Interval(low=max(middle - half, 0.0), high=min(middle + half, 1.0))


@dataclass(frozen=True, eq=False, kw_only=True)
class Standing:
    """Which images are still classified right.

    After an attack their share is an upper bound on the true robust accuracy: a stronger attack
    may fell more. `correct` is one flag per image.
    """

    correct: Flags

    @property
    def accuracy(self) -> float:
        return fraction(self.correct)

    @property
    def interval(self) -> Interval:
        return wilson(int(self.correct.sum()), len(self.correct))

    def __repr__(self) -> str:
        return f"{self.accuracy:.1%} ({self.interval}) of {len(self.correct)} images"


def fraction(flags: Bool[Tensor, "..."]) -> float:
    """How many of the flags are set, as a share of all."""
    return flags.double().mean().item()


def reaches(share: float, bound: float) -> bool:
    """Whether a difference of shares is the bound or more, whichever way it was rounded."""
    return share >= bound - 1e-9


def median(values: Tensor) -> float:
    """The middle of the values that are numbers, or the mean of the two; NaN where there are
    none. Infinite values count."""
    held = values[~values.isnan()].sort().values
    if not len(held):
        return math.nan
    return ((held[(len(held) - 1) // 2] + held[len(held) // 2]) / 2).item()
