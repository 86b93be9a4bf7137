"""Momentum, input diversity and smoothed gradients: what makes an attack transfer."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.attack._common import mean_normalised, positions, require_images, require_not_l1
from holdfast.geometry import confine, steepest
from holdfast.limits import ABOVE_0, AT_LEAST_0, AT_LEAST_1, SHARE, SHARE_ABOVE_0, require_ranges
from holdfast.loss import Loss, LossName, gradient, resolve_loss
from holdfast.types import Classifier, Images, Labels, Norm, image_shape


@dataclass(frozen=True, kw_only=True)
class TransferMIM:
    """MIM (Dong et al., arXiv 1710.06081) whose gradients are taken at images shrunk and moved at
    random (Xie et al., arXiv 1803.06978, algorithm 1 with momentum), and smoothed, which stands
    for the gradients of all shifted images (Dong et al., arXiv 1904.02884, section 3.2).

    All steps are taken: an image that fools the source goes on, to fool others. Departures: an
    image is shrunk within its own size, where the paper enlarges it and pads that, as most
    networks take one size only; each has its own coin, size and place. Raises BadInput for
    settings out of range.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        steps: gradient steps.
        rel_stepsize: length of a step as a share of the radius; the papers take 1 / steps.
        decay: what is left of the sum of gradients after each step; 0: no momentum.
        diversity: probability that an image is shrunk and moved at a step; 0: no diversity.
        smallest: share of its sides that a shrunk image keeps at least; the paper's is 299 / 330.
        smoothing: reach of the Gaussian kernel in pixels, three of its standard deviations; the
            paper's is 7 for images of 299 pixels. 0: no smoothing.
        loss: what is climbed.
        seed: of the diversity; a function of seed, image index and step alone.
    """

    name: ClassVar[str] = "transfer-mim"
    start: ClassVar[str] = "clean"
    radius: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 10
    rel_stepsize: float = 0.1
    decay: float = 1.0
    diversity: float = 0.5
    smallest: float = 0.9
    smoothing: int = 0
    loss: LossName | Loss = "ce"
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(
            self, radius=AT_LEAST_0, steps=AT_LEAST_1, rel_stepsize=ABOVE_0, decay=AT_LEAST_0,
            diversity=SHARE, smallest=SHARE_ABOVE_0, smoothing=AT_LEAST_0,
        )  # fmt: skip
        require_not_l1(self.norm)
        resolve_loss(self.loss)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        require_images(x)
        index, loss = positions(x, index), resolve_loss(self.loss)
        adv, velocity = x, torch.zeros_like(x)
        for step in range(self.steps):
            drawn = noise.uniform(index, (4,), self.seed, noise.Stream.TRANSFER_MIM, step).to(x)
            drawn[:, 0] = drawn[:, 0] < self.diversity
            slope, _ = gradient(lambda v, d=drawn: model(_moved(v, d, self.smallest)), adv, y, loss)
            velocity = self.decay * velocity + mean_normalised(_smoothed(slope, self.smoothing))
            ahead = adv + self.rel_stepsize * self.radius * steepest(velocity, self.norm)
            adv = confine(x, ahead, self.radius, self.norm)
        return adv


def _moved(x: Images, drawn: Float[Tensor, "batch 4"], smallest: float) -> Images:
    """Each image shrunk (to the nearest pixels) and put somewhere on a black image of its size.

    drawn: for each image 1 if it is moved and 0 if not, then numbers in [0, 1) that pick its size
    from `smallest` on, its row and its column.
    """
    _, height, width = image_shape(x)
    moves, size, top, left = drawn.T
    row = _source(height, smallest, size.where(moves > 0, 1), top)
    column = _source(width, smallest, size.where(moves > 0, 1), left)
    held = ((row >= 0)[:, :, None] & (column >= 0)[:, None])[:, None]
    rows = row.clamp_min(0)[:, None, :, None].expand(x.shape)
    columns = column.clamp_min(0)[:, None, None, :].expand(x.shape)
    return x.gather(2, rows).gather(3, columns) * held


def _source(
    side: int, smallest: float, size: Float[Tensor, " batch"], place: Float[Tensor, " batch"]
) -> Int[Tensor, "batch side"]:
    """For each pixel of one side, the pixel that it shows, or -1 where it is black.

    The side shrinks to one of the lengths from `smallest` of it to the whole (for a `size` of 1).
    """
    least = max(round(smallest * side), 1)
    kept = (least + (size * (side - least + 1)).long()).clamp_max(side)[:, None]
    first = (place[:, None] * (side - kept + 1)).long()
    at = torch.arange(side, device=size.device) - first
    return ((2 * at + 1) * side // (2 * kept)).where((at >= 0) & (at < kept), -1)


def _smoothed(slope: Images, reach: int) -> Images:
    """Each channel convolved with a Gaussian that is cut at `reach`, its third deviation."""
    if reach == 0:
        return slope
    away = torch.arange(-reach, reach + 1).to(slope) / (reach / 3)
    bell = (-away.square() / 2).exp()
    bell = bell / bell.sum()
    channels = slope.shape[1]
    down = bell.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    slope = F.conv2d(slope, down, padding=(reach, 0), groups=channels)
    return F.conv2d(slope, down.transpose(2, 3), padding=(0, reach), groups=channels)
