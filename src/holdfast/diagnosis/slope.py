"""The gradient of each image's own loss, and the second derivative along a direction."""

import torch

from holdfast.geometry import length, per_image
from holdfast.loss import Loss, full
from holdfast.types import Classifier, Images, Labels, Logits, Norm, PerImage

REACH = 0.1  # of the ball's longest l2 way: how far apart the two ends of a difference are
DUAL: dict[Norm, Norm] = {"linf": "l1", "l2": "l2", "l1": "linf"}


def climb(model: Classifier, x: Images, y: Labels, loss: Loss) -> tuple[PerImage, Images, Logits]:
    """Each image's loss, its gradient, and the logits; the gradient is zero where a model hides
    that it depends on the pixels.

    The losses are summed, so that a gradient does not depend on how many images share its batch.
    """
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = full(model(leaf))
        height = loss(logits, y)
    slope = None
    if height.requires_grad:
        (slope,) = torch.autograd.grad(height.sum(), leaf, allow_unused=True)
    slope = torch.zeros_like(x) if slope is None else slope.nan_to_num(0)
    return height.detach(), slope, logits.detach()


def reach(x: Images, radius: float, norm: Norm) -> float:
    """The l2 length over which curvature is measured: a tenth of the longest way in the ball."""
    pixels = x.shape[1:].numel()
    longest = {"linf": radius * pixels**0.5, "l2": radius, "l1": radius}[norm]
    return REACH * longest


def bent(
    model: Classifier, x: Images, y: Labels, loss: Loss, slope: Images, way: Images, far: float
) -> Images:
    """The Hessian times the unit direction `way`: the change of the gradient over a step of l2
    length `far`, divided by it.

    A difference and not a second derivative, which is zero almost everywhere in a network of
    ReLUs (as in Moosavi-Dezfooli et al., arXiv 1811.09716).
    """
    return (climb(model, x + far * way, y, loss)[1] - slope) / far


def along(one: Images, other: Images) -> PerImage:
    """Scalar product of each image's pair."""
    return (one * other).flatten(1).sum(1)


def unit(change: Images) -> Images:
    """Each image's change with l2 length 1; zero stays zero. Exact for changes of any size."""
    largest = change.flatten(1).abs().amax(1)
    scaled = change / per_image(largest.where(largest > 0, 1), change)
    size = length(scaled, "l2")
    return scaled / per_image(size.where(size > 0, 1), change)
