"""Planes through images: their two axes, and what a classifier makes of their points."""

import logging
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from holdfast import attack as attacks
from holdfast import noise
from holdfast.errors import BadInput
from holdfast.geometry import length, per_image
from holdfast.loss import at_least_fp32, cross_entropy, is_correct, margin
from holdfast.model import eval_mode, map_batches
from holdfast.types import Attack, Classifier, Images, Labels, Logits, Norm, PerImage

Pairs = Float[Tensor, "plane two *pixels"]
Values = dict[str, Tensor]
Surface = Callable[[int, PerImage, PerImage], Values]
"""Number of a plane, and the places of points along its first and second axis: the maps there."""
log = logging.getLogger("holdfast")


def directions(
    model: Classifier, x: Images, y: Labels, index: Labels, attack: Attack | None, *,
    radius: float, norm: Norm, batch_size: int, seed: int,
) -> Pairs:  # fmt: skip
    """Two changes of each image, orthogonal to each other, each `radius` long in `norm`.

    The first leads to the attack's image, without an attack at random; the second is random. For
    linf a random change has the same size in every pixel, for l2 and l1 it is normal noise.
    An image that the attack leaves where it is has two random ones, which is said.
    """
    if x[0].numel() < 2:
        raise BadInput("expected images of 2 pixels or more, got 1; a plane needs two directions")
    first = _random(x, index, norm, seed, 0)
    if attack is not None:
        found = _attacked(model, x, y, index, attack, batch_size)
        moved = (found != 0).flatten(1).any(1)
        if not moved.all():
            log.warning("the attack leaves %d of %d images where they are; their first axis is "
                        "random too", int((~moved).sum()), len(x))  # fmt: skip
        first = torch.where(per_image(moved, x), found, first)
    second = _random(x, index, norm, seed, 1)
    across = _across(first, second)
    alike = length(across, "l2") < 1e-9 * length(second, "l2")  # as signs of few pixels may be
    if alike.any():
        other = _across(first, _random(x, index, "l2", seed, 1))
        across = torch.where(per_image(alike, x), other, across)
    return torch.stack([_scaled(one, radius, norm) for one in (first, across)], 1).to(x)


def _across(first: Images, second: Images) -> Images:
    """The part of the second change that is orthogonal to the first."""
    share = (first * second).flatten(1).sum(1) / first.square().flatten(1).sum(1)
    return second - per_image(share, first) * first


def _attacked(
    model: Classifier, x: Images, y: Labels, index: Labels, attack: Attack, batch_size: int
) -> Images:
    """What the attack changes, in float64."""
    with eval_mode(model):
        adv = map_batches(partial(attacks.run, attack, model), batch_size, x, y, index)
    return (adv.detach() - x).double()


def _random(x: Images, index: Labels, norm: Norm, seed: int, which: int) -> Images:
    drawn = noise.normal(index, tuple(x.shape[1:]), seed, noise.Stream.PLANES, which).double()
    return drawn.sign() if norm == "linf" else drawn


def _scaled(change: Images, radius: float, norm: Norm) -> Images:
    return change * per_image(radius / length(change, norm), change)


def image_surface(
    model: Classifier, x: Images, y: Labels, pairs: Pairs, clip: bool, batch_size: int
) -> Surface:
    """The surface over the plane through each image.

    outside: how far the furthest pixel of the point lies outside [0, 1]; clip: the model sees the
    point clipped to it, else as it is.
    """

    def batch(plane: int, across: PerImage, up: PerImage) -> Values:
        image = x[plane].expand(len(across), *x.shape[1:])
        first, second = pairs[plane]
        moved = per_image(across.to(x), image) * first + per_image(up.to(x), image) * second
        point = image + moved
        boxed = point.clamp(0, 1)
        logits = at_least_fp32(model(boxed if clip else point))
        outside = (point - boxed).flatten(1).abs().amax(1)
        return judged(logits, y[plane].expand(len(point))) | {
            "classes": logits.argmax(1), "outside": outside.float(),
        }  # fmt: skip

    def at(plane: int, across: PerImage, up: PerImage) -> Values:
        places = zip(across.split(batch_size), up.split(batch_size), strict=True)
        parts = [batch(plane, *place) for place in places]
        return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}

    return at


def judged(logits: Logits, y: Labels) -> Values:
    """Cross-entropy, margin, and 1 where the prediction is right, else 0; in float32."""
    found = {
        "ce": cross_entropy(logits, y), "margin": margin(logits, y), "right": is_correct(logits, y),
    }  # fmt: skip
    return {name: value.float() for name, value in found.items()}
