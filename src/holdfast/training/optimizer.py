"""Optimisers and learning-rate schedules, as settings that build or compute.

Each raises BadInput for a setting out of range: a rate that is not above 0, a share of the past
outside [0, 1), anything else below 0 or not finite, a peak outside (0, 1).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import nn, optim

from holdfast.errors import BadInput, require_words


@runtime_checkable
class Optimizer(Protocol):
    """Settings that make a torch optimiser for some weights; `rate` is its learning rate."""

    @property
    def rate(self) -> float: ...

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer: ...


@dataclass(frozen=True, kw_only=True)
class RMSprop:
    """RMSprop with Keras's constants, those of Gupta 2020's example (torch's own: rho 0.99,
    eps 1e-8). Keras's `decay` of the rate is the schedule `decay`; it is not weight decay.

    Attributes:
        rate: learning rate.
        rho: share of the past in the mean of squared gradients.
        eps: added to that mean's root.
        momentum: share of the last step kept.
        weight_decay: L2 penalty added to the gradient.
    """

    name: ClassVar[str] = "rmsprop"
    rate: float = 1e-4
    rho: float = 0.9
    eps: float = 1e-7
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        require_words(self)
        _require_above_0("rate", self.rate)
        _require_above_0("eps", self.eps)
        _require_share("rho", self.rho)
        _require_share("momentum", self.momentum)
        _require_not_below_0("weight_decay", self.weight_decay)

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.RMSprop(
            weights, self.rate, self.rho, self.eps, self.weight_decay, self.momentum, foreach=True
        )


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum.

    Attributes:
        rate: learning rate.
        momentum: share of the last step kept.
        nesterov: look ahead along the momentum.
        weight_decay: L2 penalty added to the gradient.
    """

    name: ClassVar[str] = "sgd"
    rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        require_words(self)
        _require_above_0("rate", self.rate)
        _require_share("momentum", self.momentum)
        _require_not_below_0("weight_decay", self.weight_decay)
        if self.nesterov and not self.momentum:
            raise BadInput("expected a momentum above 0 with nesterov, got 0")

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.SGD(
            weights, self.rate, self.momentum, weight_decay=self.weight_decay,
            nesterov=self.nesterov, foreach=True,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with weight decay apart from the gradient (arXiv 1711.05101).

    Attributes:
        rate: learning rate.
        weight_decay: share of each weight taken off per unit of rate.
    """

    name: ClassVar[str] = "adamw"
    rate: float = 1e-3
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        require_words(self)
        _require_above_0("rate", self.rate)
        _require_not_below_0("weight_decay", self.weight_decay)

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.AdamW(weights, self.rate, weight_decay=self.weight_decay, foreach=True)


@runtime_checkable
class Schedule(Protocol):
    """The learning rate at a point of training, as a share of the optimiser's `rate`.

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
        require_words(self)
        _require_not_below_0("warmup", self.warmup)

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
        require_words(self)
        _require_not_below_0("decay", self.decay)
        _require_not_below_0("warmup", self.warmup)

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
        require_words(self)
        _require_not_below_0("final", self.final)
        _require_not_below_0("warmup", self.warmup)

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
        require_words(self)
        if not 0 < self.peak < 1:
            raise BadInput(f"expected peak between 0 and 1, got {self.peak}")

    def __call__(self, update: int, per_epoch: int, total: int) -> float:
        done = min((update + 1) / (total + 1), 1)
        return done / self.peak if done < self.peak else (1 - done) / (1 - self.peak)


def _require_above_0(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise BadInput(f"expected {name} above 0, got {value}")


def _require_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise BadInput(f"expected {name} of 0 or more and below 1, got {value}")


def _require_not_below_0(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise BadInput(f"expected {name} of 0 or more, got {value}")


def _warm(update: int, updates: float) -> float:
    return min((update + 1) / updates, 1.0) if updates > 0 else 1.0


OPTIMIZERS: dict[str, type[Optimizer]] = {"adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}
SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "decay": Decay,
    "one_cycle": OneCycle,
}
