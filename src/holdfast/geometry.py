"""Lengths, balls and steepest directions, per image; attacks and margins are built from these."""

import math

import torch
from jaxtyping import Shaped
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput
from holdfast.types import Images, Labels, Norm, PerImage

ORDER = {"linf": math.inf, "l2": 2, "l1": 1}


def require_radius_in_box(radius: float | None, norm: str | None) -> None:
    """Raises BadInput for a radius with which every image of the pixel box is near every other."""
    if norm == "linf" and radius is not None and radius > 1:
        raise BadInput(
            f"expected a linf radius of at most 1, as pixels lie in [0, 1], got {radius:g}; is it "
            f"{radius:g}/255?"
        )


def per_image(value: Shaped[Tensor, " batch"], like: Images) -> Shaped[Tensor, "batch *ones"]:
    """One number or flag per image, shaped to broadcast over its pixels."""
    return value.reshape(-1, *(1,) * (like.ndim - 1))


def higher(top: Images, height: PerImage, adv: Images, loss: PerImage) -> tuple[Images, PerImage]:
    """Per image, whichever of the best so far and the newcomer has the higher loss."""
    better = loss > height
    return torch.where(per_image(better, top), adv, top), torch.where(better, loss, height)


def length(change: Images, norm: Norm) -> PerImage:
    """Length of each image's change, in pixel units of [0, 1]; many pixels are summed in fp64."""
    wide = change.dtype if norm == "linf" else torch.float64
    found = torch.linalg.vector_norm(change.flatten(1), ORDER[norm], dim=1, dtype=wide)
    return found.to(change.dtype)


def project(change: Images, radius: float, norm: Norm) -> Images:
    """Nearest point of the closed ball: a change inside stays where it is; rounding is inwards."""
    if norm == "linf":
        return change.clamp(-radius, radius)
    if norm == "l1":
        return change.sign() * _shrunk(change.abs(), change.abs(), radius)
    kind = torch.finfo(change.dtype)
    scale = radius * (1 - 4 * kind.eps) / length(change, norm).clamp_min(kind.tiny)
    return change * per_image(scale.clamp_max(1), change)


def confine(x: Images, adv: Images, radius: float, norm: Norm) -> Images:
    """`adv` pulled into the ball around `x`, then into the pixel box [0, 1].

    Since `x` lies in the box, clipping only shortens the change: the result is in both. For l1 it
    is the nearest point of both (Croce and Hein, arXiv 2103.01208, section 3.1), as clipping would
    leave much of the budget unused; rounding is towards x, or many pixels' would add up.
    """
    if norm == "l1":
        change = adv - x
        held = _shrunk(change.abs(), torch.where(change > 0, 1 - x, x), radius)
        moved = (x + change.sign() * held).clamp(0, 1)
        return torch.where((moved - x).abs() > held, moved.nextafter(x), moved)
    return (x + project(adv - x, radius, norm)).clamp(0, 1)


def steepest(gradient: Images, norm: Norm) -> Images:
    """The change of length 1 along which a linear function with this gradient grows most.

    Exact for gradients of any size: each is first divided by its largest entry, so that squares
    neither underflow nor need an epsilon. A zero gradient has no direction and gives zero.
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l1":
        return _spent(gradient, torch.ones_like(gradient), 1.0)
    largest = gradient.flatten(1).abs().amax(1)
    scaled = gradient / per_image(largest.where(largest > 0, 1), gradient)
    size = length(scaled, norm)
    return scaled / per_image(size.where(size > 0, 1), gradient)


def ascent(x: Images, slope: Images, size: float, norm: Norm) -> Images:
    """The change of length `size` along which a linear function with this gradient grows most.

    For l1 the one that also keeps `x` inside the pixel box, or it would spend all on one pixel
    that has no room: pixels go to their bounds in the order of their slopes until `size` is spent
    (arXiv 2103.01208, section 3.2), so that a step is as sparse as it can be.
    """
    if norm == "l1":
        return _spent(slope, torch.where(slope > 0, 1 - x, x), size)
    return size * steepest(slope, norm)


def to_plane(x: Images, gap: PerImage, slope: Images, norm: Norm) -> Images:
    """The shortest change (linf or l2) that leads from `x`, in the pixel box, to a zero of a
    linear function.

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
    if norm == "l1":
        return (radius * _simplex(index, shape, seed, *stream)).to(x.dtype)
    direction = steepest(noise.normal(index, shape, seed, *stream, 0), norm)
    share = noise.uniform(index, (1,) * len(shape), seed, *stream, 1) ** (1 / math.prod(shape))
    return (radius * share * direction).to(x.dtype)


def _shrunk(size: Images, room: Images, radius: float) -> Images:
    """What is left of `size` (0 or more) after the same cut from each pixel, no pixel above its
    `room`: the smallest cut at which an image's pixels add up to `radius` or less.

    Their sum falls with the cut along a line with a kink wherever a pixel starts to shrink or
    has gone; sorting the kinks gives the cut exactly.
    """
    flat, most = size.flatten(1), room.flatten(1)
    goal = radius * (1 - 16 * torch.finfo(flat.dtype).eps)  # whoever adds up again rounds anew
    excess = (torch.minimum(flat, most).sum(1) - goal).clamp_min(0)[:, None]
    kinks, order = torch.cat([(flat - most).clamp_min(0), flat], 1).sort(1)
    shrinking = torch.where(order < flat.shape[1], 1.0, -1.0).to(flat).cumsum(1)
    gone = (shrinking[:, :-1] * kinks.diff(dim=1)).cumsum(1)  # of the sum, at the next kink
    at = (gone < excess).sum(1, keepdim=True).clamp_max(gone.shape[1] - 1)
    before = torch.cat([torch.zeros_like(excess), gone], 1).gather(1, at)
    cut = kinks.gather(1, at) + (excess - before) / shrinking.gather(1, at).clamp_min(1)
    kept = torch.minimum((flat - cut.where(excess > 0, 0)).clamp_min(0), most)
    scale = goal / kept.sum(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    return torch.where(excess > 0, kept * scale.clamp_max(1), kept).reshape(size.shape)


def _spent(slope: Images, room: Images, size: float) -> Images:
    """Pixels moved along their slopes by their `room`, steep ones first, until `size` is spent."""
    flat = slope.flatten(1)
    order = flat.abs().argsort(dim=1, descending=True, stable=True)
    most = torch.where(flat == 0, 0, room.flatten(1)).gather(1, order)
    moved = (size - (most.cumsum(1) - most)).clamp_min(0).minimum(most)
    return flat.sign().mul(torch.zeros_like(flat).scatter(1, order, moved)).reshape(slope.shape)


def _simplex(index: Labels, shape: tuple[int, ...], seed: int, *stream: int) -> Images:
    """Uniform in the l1 ball of radius 1: exponential numbers with signs, divided by the sum of
    their sizes and of one more of them."""
    drawn = noise.uniform(index, (2, *shape), seed, *stream, 0)
    sizes = -torch.log1p(-drawn[:, 0])
    last = -torch.log1p(-noise.uniform(index, (1,), seed, *stream, 1)).squeeze(1)
    change = torch.where(drawn[:, 1] < 0.5, sizes, -sizes)
    return change / per_image(length(sizes, "l1") + last, change)
