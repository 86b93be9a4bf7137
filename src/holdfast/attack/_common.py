"""What attacks share: when an image counts as wrong, moves towards it, checks of settings."""

import torch
from torch import Tensor

from holdfast.errors import BadInput
from holdfast.geometry import confine, length, per_image
from holdfast.loss import at_least_fp32, is_clearly_wrong
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

HALVINGS = 12  # of the way to a wrong image, until what is left is a 4,000th
MOMENTUM = 0.75  # share of the new step in a move; the rest repeats the last move
ENOUGH = 0.8  # a batch is packed again once less than this share of it still stands


def momentum_step(
    x: Images, adv: Images, old: Images | None, change: Images, radius: float, norm: Norm
) -> Images:
    """A step with momentum: three quarters of the change and one of the step before, from `old`;
    None: there was none (Croce and Hein, arXiv 2003.01690, algorithm 1, lines 7 and 8)."""
    ahead = confine(x, adv + change, radius, norm) - adv
    move = ahead if old is None else MOMENTUM * ahead + (1 - MOMENTUM) * (adv - old)
    return confine(x, adv + move, radius, norm)


def mean_normalised(slope: Images) -> Images:
    """Each image's gradient divided by its mean absolute value; zero stays zero.

    It is first divided by its largest entry, so that the mean cannot underflow.
    """
    scaled = slope / _or_one(slope.flatten(1).abs().amax(1), slope)
    return scaled / _or_one(scaled.flatten(1).abs().mean(1), slope)


def _or_one(size: PerImage, like: Images) -> Tensor:
    """What each image is divided by: its size, and 1 where that is zero."""
    return per_image(size.where(size > 0, 1), like)


@torch.no_grad()
def bisected(
    model: Classifier, x: Images, y: Labels, adv: Images, halvings: int = HALVINGS
) -> Images:
    """The nearest wrong image that bisection finds on the way from each image to its wrong one."""
    near, far = torch.zeros_like(x), adv - x
    for _ in range(halvings):
        middle = (near + far) / 2
        wrong = per_image(is_clearly_wrong(at_least_fp32(model(x + middle)), y), x)
        near, far = torch.where(wrong, near, middle), torch.where(wrong, middle, far)
    return torch.where(per_image(length(far, "l2") < length(adv - x, "l2"), x), x + far, adv)


def positions(x: Tensor, index: Labels | None) -> Labels:
    """The positions that key an attack's noise; 0, 1, 2, ... where none are given."""
    return torch.arange(len(x), device=x.device) if index is None else index


def require_not_l1(norm: Norm) -> None:
    """Raises BadInput for l1, whose sparse steps an attack must be made for."""
    if norm == "l1":
        raise BadInput("expected norm linf or l2, got l1; fgsm, pgd, uniform-noise, simba know it")


def require_images(x: Images) -> None:
    """Raises BadInput for what has no height and width, for attacks that move patches."""
    if x.ndim != 4:
        raise BadInput(
            f"expected images [batch, channel, height, width], got {list(x.shape)}; reshape them "
            "(the model too), or take an attack that moves single numbers"
        )
