"""The Square attack: random search that sees nothing but logits."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.attack._common import positions, require_images, require_not_l1
from holdfast.attack._run import unheard
from holdfast.geometry import confine, higher, length, steepest
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, SHARE_ABOVE_0, require_ranges
from holdfast.loss import at_least_fp32, margin_height
from holdfast.types import Classifier, Images, Labels, Norm, Note, PerImage, image_shape

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries, of 10,000
TILES = 5  # along the shorter side, in the L2 start


@dataclass(frozen=True, kw_only=True)
class Square:
    """Random search with squares that shrink; no gradients
    (Andriushchenko et al., arXiv 1912.00049, algorithms 1 to 3).

    An image keeps a proposal that raises its margin loss, and leaves the search once fooled; one
    that is wrong already is returned as it is. Departures: every image has squares of its own,
    where the published code shares their place over the batch; a square may touch the lower and
    right edge, as in the paper but not in the published code, which makes it stronger on small
    images. The share is also halved after 500 queries, as in the published code. Raises BadInput
    for settings that make no sense.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        queries: forward passes per image and restart; one more looks at the clean image.
        share: of the image that the first square covers (the paper's p).
        rescale: stretch the schedule of shares, written for 10,000 queries, over `queries`.
            AutoAttack does not.
        restarts: tries for images that the earlier ones did not fool.
        warm: set out from the image that earlier attacks of a cascade came to, where its margin is
            larger than that of the published start. AutoAttack does not.
        seed: of the squares; each is a function of seed, image index, restart and step alone.
    """

    name: ClassVar[str] = "square"
    radius: float = 8 / 255
    norm: Norm = "linf"
    queries: int = 5000
    share: float = 0.8
    rescale: bool = False
    restarts: int = 1
    warm: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(
            self, radius=AT_LEAST_0, restarts=AT_LEAST_1, queries=AT_LEAST_1, share=SHARE_ABOVE_0
        )
        require_not_l1(self.norm)

    def covered(self, step: int) -> float:
        """Share of the image that the square of this step covers, by the published schedule."""
        query = step * 10_000 // self.queries if self.rescale else step
        return self.share / 2 ** bisect_left(HALVED_AFTER, query)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None,
        start: Images | None = None, note: Note = unheard,
    ) -> Images:  # fmt: skip
        require_images(x)
        known = confine(x, start, self.radius, self.norm) if self.warm and start is not None else x
        index, adv = positions(x, index), known.clone()
        height = margin_height(at_least_fp32(model(known)), y)
        for restart in range(self.restarts):
            left = (height != torch.inf).nonzero().flatten()
            if not len(left):
                break
            best = adv[left], height[left]
            found, reached, asked = self._search(
                model, x[left], y[left], index[left], restart, best
            )
            better = reached > height[left]
            adv[left[better]], height[left[better]] = found[better], reached[better]
            fell = reached == torch.inf
            far = length((found - x[left])[fell], self.norm)
            note(left[fell], 1 + restart * self.queries + asked[fell], far)
        return adv

    def _search(
        self, model: Classifier, x: Images, y: Labels, index: Labels, restart: int,
        best: tuple[Images, PerImage],
    ) -> tuple[Images, PerImage, Labels]:  # fmt: skip
        """One restart: the images reached, their height, inf where fooled, and the queries of
        each."""
        adv = self._start(x, index, restart)
        height = margin_height(at_least_fp32(model(adv)), y)
        if self.warm:
            adv, height = higher(adv, height, *best)
        found, reached, asked = adv.clone(), height.clone(), torch.full_like(y, self.queries)
        rows = torch.arange(len(x), device=x.device)
        for step in range(1, self.queries):
            live = height != torch.inf
            if not live.all():
                found[rows], reached[rows], asked[rows[~live]] = adv, height, step
                rows, x, y, index = rows[live], x[live], y[live], index[live]
                adv, height = adv[live], height[live]
            if not len(rows):
                break
            rival = self._proposal(x, adv, index, restart, step)
            rival_height = margin_height(at_least_fp32(model(rival)), y)
            adv, height = higher(adv, height, rival, rival_height)
        found[rows], reached[rows] = adv, height
        return found, reached, asked

    def _start(self, x: Images, index: Labels, restart: int) -> Images:
        """Vertical stripes one pixel wide (linf), tiles of two bumps each (l2)."""
        channel, height, width = image_shape(x)
        key = (self.seed, noise.Stream.SQUARE, restart, 0)
        if self.norm == "linf":
            change = _signs(noise.uniform(index, (channel, 1, width), *key)).expand(x.shape)
        else:
            change = steepest(_tiled(index, channel, height, width, *key), "l2")
        return confine(x, x + self.radius * change.to(x.dtype), self.radius, self.norm)

    def _proposal(self, x: Images, adv: Images, index: Labels, restart: int, step: int) -> Images:
        """Each image with a square of its own changed."""
        channel, height, width = image_shape(x)
        side = round((self.covered(step) * height * width) ** 0.5)
        side = min(max(side, 1), height, width)
        drawn = noise.uniform(index, (5 + channel,), self.seed, noise.Stream.SQUARE, restart, step)
        place, turned, sign = drawn.split((4, 1, channel), dim=1)
        sign = _signs(sign).to(x.dtype)[:, :, None, None]
        if self.norm == "linf":
            inside, _, _ = _window(place[:, :2], side, height, width)
            change = torch.where(inside, self.radius * sign, adv - x)
        else:
            change = self._moved(adv - x, place, turned, sign, side)
        return confine(x, x + change, self.radius, self.norm)

    def _moved(
        self, change: Images, place: Tensor, turned: Tensor, sign: Tensor, side: int
    ) -> Images:
        """Algorithm 3: the length of two windows, and what the box cut off, goes to the first."""
        channel, height, width = image_shape(change)
        side = min(max(side | 1, 3), height, width)  # odd, and two bumps need some room
        first, row, column = _window(place[:, :2], side, height, width)
        second, _, _ = _window(place[:, 2:], side, height, width)
        turn = (turned < 0.5).long()[:, :, None]
        bump = _bumps(side, change)[turn, row[:, :, None], column[:, None]][:, None]
        unused = (self.radius**2 - _squared(change).sum(1, keepdim=True)).clamp_min(0)
        budget = (_squared(change * (first | second)) + unused / channel).sqrt()
        fresh = budget * _unit((sign * bump + _unit(change * first)) * first)
        return self.radius * steepest(torch.where(first, fresh, change * ~second), "l2")


def _signs(drawn: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Uniform numbers as -1 or 1, each half of the time."""
    return (drawn < 0.5).to(drawn.dtype) * 2 - 1


def _window(
    place: Float[Tensor, "batch 2"], side: int, height: int, width: int
) -> tuple[Bool[Tensor, "batch 1 height width"], Int[Tensor, "batch height"], Int[Tensor, "..."]]:
    """A square for each image: its pixels, and the row and column of each pixel within it.

    `place` holds numbers in [0, 1) that pick one of all squares inside the image. Rows and
    columns outside the square hold those of its nearest edge.
    """
    room = torch.tensor([height - side + 1, width - side + 1], device=place.device)
    corner = (place * room).long()
    row = torch.arange(height, device=place.device) - corner[:, :1]
    column = torch.arange(width, device=place.device) - corner[:, 1:]
    held = ((row >= 0) & (row < side))[:, :, None] & ((column >= 0) & (column < side))[:, None]
    return held[:, None], row.clamp(0, side - 1), column.clamp(0, side - 1)


def _bumps(side: int, like: Tensor) -> Float[Tensor, "2 side side"]:
    """Two bumps of opposite sign and total length 1, one above and one beside the other."""
    half = side // 2
    pair = torch.cat([_bump(half, side), -_bump(side - half, side)]).to(like)
    pair = pair / pair.norm()
    return torch.stack([pair, pair.T])


def _bump(height: int, width: int) -> Float[Tensor, "height width"]:
    """Section 3.4: at distance d from the middle (in the larger of rows and columns) the sum of
    1 / j^2 for j from d + 1 to n + 1, where n is half the longer side; of length 1."""
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    distance = torch.maximum(rows[:, None], columns[None])
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64) ** 2
    bump = terms.flip(0).cumsum(0).flip(0)[distance]
    return bump / bump.norm().clamp_min(1e-12)


def _tiled(
    index: Labels, channel: int, height: int, width: int, *key: int
) -> Float[Tensor, "batch channel height width"]:
    """Tiles of two bumps; each tile turned at random, each channel of it with its own sign."""
    side = max(min(height, width) // TILES, 1)
    down, across = height // side, width // side
    drawn = noise.uniform(index, (1 + channel, down, across), *key)
    tiles = _bumps(side, drawn)[(drawn[:, :1] < 0.5).long()]
    tiles = tiles * _signs(drawn[:, 1:])[..., None, None]
    whole = tiles.transpose(3, 4).reshape(len(index), channel, down * side, across * side)
    change = whole.new_zeros(len(index), channel, height, width)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    change[..., top : top + down * side, left : left + across * side] = whole
    return change


def _squared(change: Images) -> Float[Tensor, "batch channel 1 1"]:
    """Squared length of each channel, shaped to broadcast."""
    return change.square().sum((2, 3), keepdim=True)


def _unit(change: Images) -> Images:
    """Each channel with length 1; zero stays zero."""
    return change / _squared(change).sqrt().clamp_min(torch.finfo(change.dtype).tiny)
