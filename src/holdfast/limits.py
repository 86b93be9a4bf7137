"""Ranges of settings, and the one line that says that a number is outside."""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, SupportsFloat

from holdfast.errors import BadInput, require_field_types


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`.

    open: which of the two ends is left out. endless: infinity is allowed. whole: only integers are.
    """

    low: float
    high: float = math.inf
    open: Literal["", "low", "high", "both"] = ""
    endless: bool = False
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        below = value < self.high if self.open in ("high", "both") else value <= self.high
        whole = isinstance(value, Integral) or not self.whole
        return above and below and whole and (self.endless or math.isfinite(value))

    def __str__(self) -> str:
        if self.low == -math.inf:
            return "that is finite"
        if self.whole:
            return f"as a whole number of {self.low:g} or more"
        if self.high == math.inf:
            return f"above {self.low:g}" if self.open else f"of {self.low:g} or more"
        words = {
            "": "from {0:g} to {1:g}", "low": "above {0:g} and at most {1:g}",
            "high": "of {0:g} or more and below {1:g}", "both": "between {0:g} and {1:g}",
        }  # fmt: skip
        return words[self.open].format(self.low, self.high)


AT_LEAST_0, AT_LEAST_1, AT_LEAST_2 = Range(low=0), Range(low=1), Range(low=2)
COUNT = Range(low=1, whole=True)
WHOLE = Range(low=0, whole=True)
FINITE = Range(low=-math.inf)
ABOVE_0, ABOVE_0_OR_INF = Range(low=0, open="low"), Range(low=0, open="low", endless=True)
SHARE = Range(low=0, high=1)
SHARE_ABOVE_0 = Range(low=0, high=1, open="low")
SHARE_BELOW_1 = Range(low=0, high=1, open="high")
SHARE_INSIDE = Range(low=0, high=1, open="both")


def require_range(name: str, value: Any, allowed: Range) -> None:
    """Raises BadInput for what is no number, or one outside. None is accepted: the default
    applies."""
    if isinstance(value, str | bool) or not isinstance(value, SupportsFloat | None):
        raise BadInput(f"expected {name} as a number, got {value!r:.60}")
    number: Any = value
    if number is not None and number not in allowed:
        raise BadInput(f"expected {name} {allowed}, got {value}")


def require_ranges(settings: Any, **ranges: Range) -> None:
    """Raises BadInput for a field of a dataclass outside its range, or of another kind than its
    type says."""
    require_field_types(settings)
    for name, allowed in ranges.items():
        require_range(name, getattr(settings, name), allowed)


def require_numbers(name: str, values: Any) -> list[float]:
    """Numbers out of a list, an array or a tensor. Raises BadInput where one is not finite or below
    0, and where there is none."""
    try:
        found = [] if isinstance(values, str) else [float(one) for one in values]
    except (TypeError, ValueError):
        raise BadInput(f"expected {name} as a list of numbers, got {values!r:.60}") from None
    if not found or not all(0 <= one < math.inf for one in found):
        raise BadInput(f"expected {name} of 0 or more, one at least, got {found!r:.60}")
    return found
