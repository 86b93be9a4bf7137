"""Shares with their intervals, findings, and cells of tables: what every record is told in."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from holdfast.errors import BadInput
from holdfast.record import Row

WORST = "worst case"  # what the least per image is called; no attack may be
SLACK = 1e-6  # rounding of x + change in fp32, per pixel unit
Flags = Bool[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a share lies with 95 % confidence over images (not over seeds)."""

    low: float
    high: float


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
        return f"{{}} ({{}}) of {len(self.correct)} images".format(*cells(self))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a classifier that its user ought to know.

    evidence: the numbers it rests on; meaning: what they say, in a sentence; advice: what to do.
    """

    name: str
    evidence: Row
    meaning: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.meaning}; {self.advice}"


def fraction(flags: Bool[Tensor, "..."]) -> float:
    """How many of the flags are set, as a share of all."""
    return flags.double().mean().item()


def median(values: Tensor) -> float:
    """The middle of the values that are numbers, or the mean of the two; NaN where there are
    none. Infinite values count."""
    held = values[~values.isnan()].sort().values
    if not len(held):
        return math.nan
    return ((held[(len(held) - 1) // 2] + held[len(held) // 2]) / 2).item()


def numbers(name: str, values: Any) -> list[float]:
    """Numbers out of a list, an array or a tensor. Raises BadInput where one is not finite or below
    0, and where there is none."""
    try:
        found = [] if isinstance(values, str) else [float(one) for one in values]
    except (TypeError, ValueError):
        raise BadInput(f"expected {name} as a list of numbers, got {values!r:.60}") from None
    if not found or not all(0 <= one < math.inf for one in found):
        raise BadInput(f"expected {name} of 0 or more, one at least, got {found!r:.60}")
    return found


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells as lines of text, the first column to the left and the others to the right."""
    lines = [head, *rows]
    wide = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(line[1:], wide[1:], strict=True))]
        )
        for line in lines
    )


def doubted(text: str, findings: Iterable[Finding]) -> str:
    """A table, and below it what casts doubt on its numbers."""
    return "\n".join([text, *(f"warning: {finding}" for finding in findings)])


def cells(standing: Standing) -> tuple[str, str]:
    """The cells of a table that say an accuracy and its interval."""
    near = standing.interval
    return f"{standing.accuracy:.1%}", f"{near.low:.1%} to {near.high:.1%}"
