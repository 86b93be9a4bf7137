"""Learning-rate schedules, as settings that compute a share of the rate.

Each raises BadInput for a setting out of range: below 0 or not finite, a peak outside (0, 1).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from holdfast.errors import BadInput
from holdfast.limits import ABOVE_0, AT_LEAST_0, SHARE_INSIDE, require_ranges


@runtime_checkable
class Schedule(Protocol):
    """The learning rate at a point of training, as a share of the optimiser's `lr`.

    update: updates so far; per_epoch: updates in an epoch; total: updates in the whole run.
    """

    def __call__(self, update: int, per_epoch: int, total: int) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The same rate throughout.

    Attributes:
        warmup: epochs over which the rate first grows from 0.
    """

    name: ClassVar[str] = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(self, warmup=AT_LEAST_0)

    def __call__(self, update: int, per_epoch: int, total: int) -> float:
        return _warm(update, self.warmup * per_epoch)


@dataclass(frozen=True, kw_only=True)
class Decay:
    """1 / (1 + decay x updates): what Keras's optimisers call `decay`.

    Attributes:
        decay: how fast the rate falls; 1e-6 in Gupta 2020.
        warmup: epochs over which the rate first grows from 0.
    """

    name: ClassVar[str] = "decay"
    decay: float = 1e-6
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(self, decay=AT_LEAST_0, warmup=AT_LEAST_0)

    def __call__(self, update: int, per_epoch: int, total: int) -> float:
        return _warm(update, self.warmup * per_epoch) / (1 + self.decay * update)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from the full rate down to `final` of it (arXiv 1608.03983).

    Attributes:
        final: share of the rate at the end.
        warmup: epochs over which the rate first grows from 0.
    """

    name: ClassVar[str] = "cosine"
    final: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(self, final=AT_LEAST_0, warmup=AT_LEAST_0)

    def __call__(self, update: int, per_epoch: int, total: int) -> float:
        fall = (1 + math.cos(math.pi * min(update / total, 1))) / 2
        return _warm(update, self.warmup * per_epoch) * (self.final + (1 - self.final) * fall)


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Up in a straight line to the full rate, and down again to 0 (arXiv 1708.07120; the cyclic
    schedule of Wong et al., arXiv 2001.03994).

    Attributes:
        peak: share of training at which the full rate is reached.
    """

    name: ClassVar[str] = "one_cycle"
    peak: float = 0.4

    def __post_init__(self) -> None:
        require_ranges(self, peak=SHARE_INSIDE)

    def __call__(self, update: int, per_epoch: int, total: int) -> float:
        done = min((update + 1) / (total + 1), 1)
        return done / self.peak if done < self.peak else (1 - done) / (1 - self.peak)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The full rate, multiplied by `factor` at each of some points of training: the usual schedule
    of adversarial training (Rice et al., arXiv 2002.11569: at epochs 100 and 150 of 200).

    Attributes:
        at: the points, as shares of training, rising.
        factor: what the rate is multiplied by at each.
        warmup: epochs over which the rate first grows from 0.
    """

    name: ClassVar[str] = "steps"
    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(self, factor=ABOVE_0, warmup=AT_LEAST_0)
        try:
            object.__setattr__(self, "at", tuple(float(one) for one in (*self.at,)))
            right = all(0 < one < 1 for one in self.at) and [*self.at] == sorted({*self.at})
        except (TypeError, ValueError):
            right = False
        if not right:
            raise BadInput(
                f"expected at as rising shares of training between 0 and 1, got {self.at!r:.60}; "
                "epoch 100 of 200 is 0.5"
            )

    def __call__(self, update: int, per_epoch: int, total: int) -> float:
        passed = sum(update >= share * total * (1 - 1e-9) for share in self.at)  # 0.55 * 200 > 110
        return _warm(update, self.warmup * per_epoch) * self.factor**passed


def _warm(update: int, updates: float) -> float:
    return min((update + 1) / updates, 1.0) if updates > 0 else 1.0


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "decay": Decay,
    "one_cycle": OneCycle,
    "steps": Steps,
}
