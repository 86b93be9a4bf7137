"""Optimisers, as settings that build one of torch's.

Each raises BadInput for a setting out of range: an lr that is not above 0, a share of the past
outside [0, 1), anything else below 0 or not finite.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import nn, optim

from holdfast.errors import BadInput
from holdfast.limits import ABOVE_0, AT_LEAST_0, SHARE_BELOW_1, require_ranges


@runtime_checkable
class Optimizer(Protocol):
    """Settings that make a torch optimiser for some weights; `lr` is its learning rate."""

    @property
    def lr(self) -> float: ...

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer: ...


@dataclass(frozen=True, kw_only=True)
class RMSprop:
    """RMSprop with Keras's constants, those of Gupta 2020's example (torch's own: rho 0.99,
    eps 1e-8). Keras's `decay` of the rate is the schedule `decay`; it is not weight decay.

    Attributes:
        lr: learning rate.
        rho: share of the past in the mean of squared gradients.
        eps: added to that mean's root.
        momentum: share of the last step kept.
        weight_decay: L2 penalty added to the gradient.
    """

    name: ClassVar[str] = "rmsprop"
    lr: float = 1e-4
    rho: float = 0.9
    eps: float = 1e-7
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(
            self,
            lr=ABOVE_0,
            eps=ABOVE_0,
            rho=SHARE_BELOW_1,
            momentum=SHARE_BELOW_1,
            weight_decay=AT_LEAST_0,
        )

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.RMSprop(
            weights, self.lr, self.rho, self.eps, self.weight_decay, self.momentum, foreach=True
        )


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum.

    Attributes:
        lr: learning rate.
        momentum: share of the last step kept.
        nesterov: look ahead along the momentum.
        weight_decay: L2 penalty added to the gradient.
    """

    name: ClassVar[str] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        require_ranges(self, lr=ABOVE_0, momentum=SHARE_BELOW_1, weight_decay=AT_LEAST_0)
        if self.nesterov and not self.momentum:
            raise BadInput("expected a momentum above 0 with nesterov, got 0")

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.SGD(
            weights, self.lr, self.momentum, weight_decay=self.weight_decay,
            nesterov=self.nesterov, foreach=True,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with weight decay apart from the gradient (arXiv 1711.05101).

    Attributes:
        lr: learning rate.
        weight_decay: share of each weight taken off per unit of lr.
    """

    name: ClassVar[str] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        require_ranges(self, lr=ABOVE_0, weight_decay=AT_LEAST_0)

    def build(self, weights: Iterable[nn.Parameter]) -> optim.Optimizer:
        return optim.AdamW(weights, self.lr, weight_decay=self.weight_decay, foreach=True)


OPTIMIZERS: dict[str, type[Optimizer]] = {"adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}
