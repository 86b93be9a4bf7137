"""The gradient of each image's own loss, and the second derivative along a direction."""

from holdfast.loss import Loss, gradient
from holdfast.types import Classifier, Images, Labels, Logits, Norm, PerImage

REACH = 0.1  # of the ball's longest l2 way: how far apart the two ends of a difference are
DUAL: dict[Norm, Norm] = {"linf": "l1", "l2": "l2", "l1": "linf"}


def climb(model: Classifier, x: Images, y: Labels, loss: Loss) -> tuple[PerImage, Images, Logits]:
    """Each image's loss, its gradient, and the logits; the gradient is zero where a model hides
    that it depends on the pixels.

    The losses are summed, so that a gradient does not depend on how many images share its batch.
    """
    slope, logits = gradient(model, x, y, loss)
    return loss(logits, y), slope, logits


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
    return (gradient(model, x + far * way, y, loss)[0] - slope) / far


def along(one: Images, other: Images) -> PerImage:
    """Scalar product of each image's pair."""
    return (one * other).flatten(1).sum(1)
