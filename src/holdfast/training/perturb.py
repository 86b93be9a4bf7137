"""Adversarial weight perturbation: the gradient is taken where the weights are at their worst."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from holdfast.errors import BadInput
from holdfast.geometry import steepest
from holdfast.limits import AT_LEAST_0, require_ranges
from holdfast.team import Team


@dataclass(frozen=True, kw_only=True)
class AWP:
    """Adversarial weight perturbation (Wu et al., arXiv 2004.05884, eq. 10): before each update
    every weight tensor moves up the loss by `gamma` of its own length, the gradient is taken
    there, and the weights are put back. Costs one more forward and backward pass.

    As in the paper's code, tensors of one dimension (biases, normalisation) stay, and one step
    is taken; there on a copy of the model by an optimiser of its own, here along the plain
    gradient. Raises BadInput for settings below 0.

    Attributes:
        gamma: length of the perturbation, as a share of each tensor's own; 0.005 in the paper,
            0 turns it off.
        start: epochs before it begins.
    """

    name: ClassVar[str] = "awp"
    gamma: float = 0.0
    start: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, gamma=AT_LEAST_0, start=AT_LEAST_0)

    def at(self, epoch: int) -> float:
        """The length in this epoch."""
        return self.gamma if epoch >= self.start else 0.0


@contextmanager
def perturbed(
    model: nn.Module, loss: Callable[[], Tensor], gamma: float, team: Team
) -> Iterator[None]:
    """Inside, the model's weights are moved up the loss; buffers keep what they were before.

    loss: of the batch, this process's part. Raises BadInput where there is no weight to move.
    """
    weights = [w for w in model.parameters() if w.requires_grad and w.ndim > 1]
    if not weights:
        raise BadInput("expected a model with matrices or kernels to perturb, got none; drop awp")
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    climb = list(torch.autograd.grad(loss(), weights, allow_unused=True, materialize_grads=True))
    team.all_reduce(climb)
    kept = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
        for weight, up in zip(weights, climb, strict=True):
            weight.add_(gamma * weight.norm() * steepest(up[None], "l2")[0])
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)
