"""95 % intervals over runs by Student's t, which makes them wide for few."""

import math
import statistics
from collections.abc import Sequence

from holdfast.result import Interval


def of_mean(values: Sequence[float]) -> Interval:
    """Of the mean of what these were drawn from; NaN for one value."""
    if len(values) < 2:
        return Interval(math.nan, math.nan)
    error = statistics.stdev(values) / math.sqrt(len(values))
    return _around(statistics.fmean(values), error, len(values) - 1)


def of_difference(values: Sequence[float], others: Sequence[float]) -> Interval:
    """Of the mean of the first less that of the second, drawn apart, with variances of their own
    (Welch 1947); NaN where one has a single value."""
    if min(len(values), len(others)) < 2:
        return Interval(math.nan, math.nan)
    middle = statistics.fmean(values) - statistics.fmean(others)
    parts = [statistics.variance(some) / len(some) for some in (values, others)]
    if not sum(parts):
        return Interval(middle, middle)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(some) - 1) for part, some in zip(parts, (values, others), strict=True)
    )
    return _around(middle, math.sqrt(sum(parts)), freedom)


def _around(middle: float, error: float, freedom: float) -> Interval:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.975)) * error
    return Interval(middle - half, middle + half)
