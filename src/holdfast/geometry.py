"""Lengths, balls and steepest directions, per image; attacks and margins are built from these."""

import math

import torch
from jaxtyping import Shaped
from torch import Tensor

from holdfast import noise
from holdfast.types import Images, Labels, Norm, PerImage


def per_image(value: Shaped[Tensor, " batch"], like: Images) -> Shaped[Tensor, "batch 1 1 1"]:
    """One number or flag per image, shaped to broadcast over its pixels."""
    return value.reshape(-1, *(1,) * (like.ndim - 1))


def length(change: Images, norm: Norm) -> PerImage:
    """Length of each image's change, in pixel units of [0, 1]."""
    order = torch.inf if norm == "linf" else 2
    return torch.linalg.vector_norm(change.flatten(1), order, dim=1)


def project(change: Images, radius: float, norm: Norm) -> Images:
    """Nearest point of the closed ball: a change inside stays where it is."""
    if norm == "linf":
        return change.clamp(-radius, radius)
    tiny = torch.finfo(change.dtype).tiny
    scale = radius / length(change, norm).clamp_min(tiny)
    return change * per_image(scale.clamp_max(1), change)


def confine(x: Images, adv: Images, radius: float, norm: Norm) -> Images:
    """`adv` pulled into the ball around `x`, then into the pixel box [0, 1].

    Since `x` lies in the box, clipping only shortens the change: the result is in both.
    """
    return (x + project(adv - x, radius, norm)).clamp(0, 1)


def steepest(gradient: Images, norm: Norm) -> Images:
    """The change of length 1 along which a linear function with this gradient grows most.

    Exact for gradients of any size: each is first divided by its largest entry, so that squares
    neither underflow nor need an epsilon. A zero gradient has no direction and gives zero.
    """
    if norm == "linf":
        return gradient.sign()
    largest = gradient.flatten(1).abs().amax(1)
    scaled = gradient / per_image(largest.where(largest > 0, 1), gradient)
    size = length(scaled, norm)
    return scaled / per_image(size.where(size > 0, 1), gradient)


def to_plane(x: Images, gap: PerImage, slope: Images, norm: Norm) -> Images:
    """The shortest change that leads from `x`, in the pixel box, to a zero of a linear function.

    The function is `gap` at x and has the gradient `slope`. Where it has no zero in the box, the
    change leads to where it comes closest (Croce and Hein, arXiv 1907.02044).

    A pixel moves by min(time * speed, room), where speed is 1 (linf) or |slope| (l2), and the
    time is the root of a concave, piecewise linear function. Newton's method finds it exactly and
    without sorting the pixels: every round brings at least one more to its bound and none back,
    so that the rounds end, seldom after more than ten.
    """
    pixels, rise = x.flatten(1), slope.flatten(1) * gap.sign()[:, None]
    largest = rise.abs().amax(1, keepdim=True)
    largest = largest.where(largest > 0, 1)
    size, need = rise.abs() / largest, gap.abs()[:, None] / largest
    room = torch.where(rise > 0, pixels, 1 - pixels)
    speed = size if norm == "l2" else torch.ones_like(size)
    rate, whole, time = size * speed, size * room, torch.zeros_like(need)
    while True:
        bound = room <= time * speed
        free = rate.masked_fill(bound, 0).sum(1, keepdim=True)
        later = (need - whole.masked_fill(~bound, 0).sum(1, keepdim=True)) / free
        grown = (later > time) & (free > 0)
        if not grown.any():
            return -(rise.sign() * torch.minimum(time * speed, room)).reshape(x.shape)
        time = torch.where(grown, later, time)


def sample(x: Images, radius: float, norm: Norm, index: Labels, seed: int, *stream: int) -> Images:
    """A change drawn uniformly from the ball of `radius`; keyed by seed, index and stream."""
    shape = tuple(x.shape[1:])
    if norm == "linf":
        return (radius * (2 * noise.uniform(index, shape, seed, *stream) - 1)).to(x.dtype)
    direction = steepest(noise.normal(index, shape, seed, *stream, 0), norm)
    share = noise.uniform(index, (1, 1, 1), seed, *stream, 1) ** (1 / math.prod(shape))
    return (radius * share * direction).to(x.dtype)
