"""What gradient attacks share: the gradient to climb, and the check of their settings."""

import torch
from torch import Tensor

from holdfast.errors import BadInput
from holdfast.loss import Loss, full
from holdfast.types import Classifier, Images, Labels, Logits


def gradient(model: Classifier, x: Images, y: Labels, loss: Loss) -> tuple[Images, Logits]:
    """Gradient of each image's own loss with respect to its pixels, and the logits.

    The losses are summed, not averaged, so that an image's gradient does not shrink with the
    batch it is in. Nothing but the pixels is differentiated.
    """
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = full(model(leaf))
        (found,) = torch.autograd.grad(loss(logits, y).sum(), leaf)
    return found, logits.detach()


def positions(x: Tensor, index: Labels | None) -> Labels:
    """The positions that key an attack's noise; 0, 1, 2, ... where none are given."""
    return torch.arange(len(x), device=x.device) if index is None else index


def require(radius: float, steps: int = 1, restarts: int = 1) -> None:
    """Raises BadInput where a setting makes no sense."""
    if not 0 <= radius < float("inf"):
        raise BadInput(f"expected a radius of 0 or more, got {radius}; pixels lie in [0, 1]")
    if steps < 1:
        raise BadInput(f"expected at least 1 step, got {steps}")
    if restarts < 1:
        raise BadInput(f"expected at least 1 restart, got {restarts}")
