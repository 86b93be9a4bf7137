"""Small measurements at the image that tell a gradient which misleads from one that does not."""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from holdfast import noise
from holdfast.diagnosis.slope import along, climb
from holdfast.diagnosis.views import straight_through
from holdfast.geometry import confine, per_image, sample, steepest
from holdfast.loss import cross_entropy, gradient, margin, rounding
from holdfast.model import eval_mode, map_batches, predict
from holdfast.types import Classifier, Images, Labels, Norm, PerImage

NEAR = 4 / 255  # Pintor et al.'s box for unstable predictions, and its number of points
POINTS = 100
SHORT = 0.1  # of the radius: a step that ought to keep what the gradient promises
PARTS = 16  # of a line through the ball, each halved HALVINGS times toward its largest change
HALVINGS = 10


def wobble(
    model: Classifier, x: Images, y: Labels, index: Labels, seed: int, random: bool = False,
    size: int = 1000,
) -> PerImage:  # fmt: skip
    """Mean relative change of the margin over 100 points within 4/255 that its gradient does not
    explain, each at most 1.

    Pintor et al.'s second indicator (arXiv 2106.09947) takes the whole change, which is as large
    wherever an honest model is unsure. Of a `random` one each point is compared with the image
    under the same draw. size: points in one pass, at least all of an image.
    """
    piece = 1 if random else max(1, size // POINTS)
    work = partial(_wobbled, model, seed=seed, random=random)
    return map_batches(work, piece, x, y, index)


def _wobbled(
    model: Classifier, x: Images, y: Labels, index: Labels, seed: int, random: bool
) -> PerImage:
    """A few images, each with all of its points in one pass."""
    if not len(x):
        return x.new_zeros(0)
    many, labels = x.repeat_interleave(POINTS, 0), y.repeat_interleave(POINTS, 0)
    with eval_mode(model):
        noise.settle(seed)
        here, slope, _ = climb(model, *((many, labels) if random else (x, y)), margin)
    if not random:
        here, slope = here.repeat_interleave(POINTS, 0), slope.repeat_interleave(POINTS, 0)
    number = torch.arange(POINTS, device=x.device).repeat(len(x))
    keys = index.repeat_interleave(POINTS) * POINTS + number
    near = (many + sample(many, NEAR, "linf", keys, seed, noise.Stream.PROBES)).clamp(0, 1)
    there = _margin(model, near, labels, seed) - along(slope, near - many)
    change = _apart(there, here) / here.abs().clamp_min(1e-12)
    return change.nan_to_num(1.0).clamp_max(1).view(len(x), POINTS).mean(1)


def _apart(one: PerImage, other: PerImage) -> PerImage:
    """How far two heights are apart: not at all, where both are the same infinity."""
    return (one - other).abs().masked_fill(one == other, 0.0)


def _margin(model: Classifier, x: Images, y: Labels, seed: int) -> PerImage:
    """The margin under one and the same draw of a model that is random."""
    noise.settle(seed)
    return margin(predict(model, x, len(x)), y)


def rise(model: Classifier, x: Images, y: Labels, radius: float, norm: Norm, seed: int) -> PerImage:
    """Gain of the margin over a tenth of the radius along its own gradient, as a share of what
    the gradient promises; NaN where that is zero or rounding. All under one draw of a model that
    is random."""
    if not len(x):
        return x.new_zeros(0)
    with eval_mode(model):
        noise.settle(seed)
        height, slope, logits = climb(model, x, y, margin)
        ahead = confine(x, x + SHORT * radius * steepest(slope, norm), radius, norm)
    gain = _margin(model, ahead, y, seed) - height
    promised = along(slope, ahead - x)
    return (gain / promised).where(promised > rounding(logits), torch.nan)


def jumps(
    model: Classifier, x: Images, y: Labels, index: Labels, radius: float, norm: Norm, seed: int,
    size: int = 160,
) -> PerImage:  # fmt: skip
    """Share of the margin's change along a line that comes in leaps, which no gradient shows.

    The line leads along the margin's gradient to the edge of the ball (to a random point of it
    where the gradient is zero). Each of 16 parts is halved ten times, toward the half in which the
    margin changes more: what is left of the change is a thousandth where the model is continuous
    and nowhere much steeper than elsewhere, and the leap itself where it is not. A sum of several
    leaps may pass 1, as they go up and down. What rounding may cause is no leap; a passage to what
    is no number is one. All under one draw of a model that is random. size: points in one pass.
    """
    piece = max(1, size // PARTS)
    work = partial(_leaping, model, radius=radius, norm=norm, seed=seed)
    return map_batches(work, piece, x, y, index)


def _leaping(
    model: Classifier, x: Images, y: Labels, index: Labels, radius: float, norm: Norm, seed: int
) -> PerImage:
    """A few images, each with all parts of its line in one pass."""
    if not len(x):
        return x.new_zeros(0)
    start, labels = x.repeat_interleave(PARTS, 0), y.repeat_interleave(PARTS, 0)
    edge, error = _edge(model, x, y, index, radius, norm, seed)
    way, least = (edge - x).repeat_interleave(PARTS, 0), error.repeat_interleave(PARTS, 0)

    def height(place: Tensor) -> PerImage:
        return _margin(model, start + per_image(place, start) * way, labels, seed)

    left = torch.arange(PARTS, device=x.device).repeat(len(x)).to(x) / PARTS
    right = left + 1 / PARTS
    low, high = height(left), height(right)
    change = _apart(high, low)
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        between = height(middle)
        back = _apart(between, low) > _apart(high, between)
        left, low = left.where(back, middle), low.where(back, between)
        right, high = middle.where(back, right), between.where(back, high)
    rest = _apart(high, low)
    leaps = rest.where(~(rest <= least), 0).view(len(x), PARTS).sum(1)
    return (leaps / change.view(len(x), PARTS).sum(1).clamp_min(1e-12)).nan_to_num(1.0)


def _edge(
    model: Classifier, x: Images, y: Labels, index: Labels, radius: float, norm: Norm, seed: int
) -> tuple[Images, PerImage]:
    """Where the line through the ball ends, and what rounding may do to the margin."""
    with eval_mode(model):
        noise.settle(seed)
        slope, logits = gradient(model, x, y, margin)
    dead = (slope.flatten(1) == 0).all(1)
    random = sample(x, radius, norm, index, seed, noise.Stream.PROBES)
    far = x + random.where(per_image(dead, x), radius * steepest(slope, norm))
    return confine(x, far, radius, norm), rounding(logits)


def agreement(model: Classifier, x: Images, y: Labels) -> PerImage:
    """Cosine of cross-entropy's gradient in the model's precision with that in float64.

    1 where both are zero, 0 where one is. NaN where the model cannot be copied in float64. Says
    nothing of a model that is random, which draws others there.
    """
    if not len(x) or not isinstance(model, nn.Module):
        return torch.full((len(x),), torch.nan)
    try:
        wide = copy.deepcopy(model).double()
        with eval_mode(wide):
            wanted, _ = gradient(wide, x.double(), y, cross_entropy)
    except Exception:  # a module that cannot be copied, or refuses float64
        return torch.full((len(x),), torch.nan)
    with eval_mode(model):
        return _cosine(gradient(model, x, y, cross_entropy)[0].double(), wanted)


def bridged(model: Classifier, x: Images, y: Labels, seed: int) -> PerImage:
    """Cosine of the margin's gradient with the one past operations that have none; 1 where both
    are zero, 0 where one is. Both under one draw of a model that is random."""
    if not len(x):
        return x.new_zeros(0)
    with eval_mode(model):
        noise.settle(seed)
        plain, _ = gradient(model, x, y, margin)
        noise.settle(seed)
        return _cosine(plain, gradient(straight_through(model), x, y, margin)[0])


def _cosine(one: Images, other: Images) -> Tensor:
    neither = (one.flatten(1) == 0).all(1) & (other.flatten(1) == 0).all(1)
    return along(steepest(one, "l2"), steepest(other, "l2")).masked_fill(neither, 1.0)
