"""Ranges of settings; each raises BadInput for a number outside."""

import math

from holdfast.errors import BadInput


def require_above_0(name: str, value: float) -> None:
    """For a rate or a factor."""
    if not 0 < value < math.inf:
        raise BadInput(f"expected {name} above 0, got {value}")


def require_share(name: str, value: float) -> None:
    """For a share of the past that is kept."""
    if not 0 <= value < 1:
        raise BadInput(f"expected {name} of 0 or more and below 1, got {value}")


def require_not_below_0(name: str, value: float) -> None:
    """For a length or a weight."""
    if not 0 <= value < math.inf:
        raise BadInput(f"expected {name} of 0 or more, got {value}")
