"""Random changes to training images, each a function of (seed, image index, epoch)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput
from holdfast.limits import AT_LEAST_0, SHARE_BELOW_1, require_ranges
from holdfast.types import Labels

FLIP, VERTICAL, CROP_Y, CROP_X, SHIFT_Y, SHIFT_X = range(6)

AnyImages = Num[Tensor, "batch channel height width"]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Moves images by whole pixels and flips them; what comes in from outside is black.

    The two ways of moving add up. False (as a bool) where nothing is asked for.

    Args:
        flip: mirror left to right, every second image.
        vertical_flip: mirror top to bottom, every second image.
        crop: pad by so many pixels on each side and cut out the old size anywhere, in pixels.
        translate: move by at most this share of the height and of the width, in [0, 1).
    """

    flip: bool = False
    vertical_flip: bool = False
    crop: int = 0
    translate: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(self, crop=AT_LEAST_0, translate=SHARE_BELOW_1)

    def __bool__(self) -> bool:
        return self.flip or self.vertical_flip or self.crop > 0 or self.translate > 0

    def __call__(self, x: AnyImages, index: Labels, seed: int, epoch: int) -> AnyImages:
        """The changed images, same shape, type, device and memory format.

        What happens to an image depends on seed, epoch and its index, not on its batch mates.
        Raises BadInput where crop is not smaller than the images.
        """
        if not self:
            return x
        height, width = x.shape[2:]
        self._check(min(height, width))
        draw = noise.uniform(index, (6,), seed, epoch, noise.Stream.AUGMENT).to(x.device)
        rows = _source(draw[:, [CROP_Y, SHIFT_Y]], height, self._reach(height))
        columns = _source(draw[:, [CROP_X, SHIFT_X]], width, self._reach(width))
        if self.vertical_flip:
            rows = _mirrored(rows, draw[:, VERTICAL] < 0.5)
        if self.flip:
            columns = _mirrored(columns, draw[:, FLIP] < 0.5)
        return _picked(x, rows, columns)

    def _check(self, side: int) -> None:
        if self.crop >= side:
            raise BadInput(
                f"expected crop below the images' side of {side} pixels, got {self.crop}; "
                "lower crop"
            )

    def _reach(self, side: int) -> tuple[int, int]:
        """How far crop and translate may move an image, in pixels either way."""
        return self.crop, int(self.translate * side + 1e-6)  # 0.29 * 100 is a hair below 29


def _source(
    draw: Float[Tensor, "batch 2"], side: int, reach: tuple[int, int]
) -> Int[Tensor, "batch side"]:
    """Which row (or column) of the image each row of the result shows; some lie outside."""
    size = torch.tensor([2 * most + 1 for most in reach], device=draw.device)
    shift = (draw * size).long().sum(1) - sum(reach)
    return shift[:, None] + torch.arange(side, device=draw.device)


def _mirrored(
    source: Int[Tensor, "batch side"], chosen: Bool[Tensor, " batch"]
) -> Int[Tensor, "batch side"]:
    return torch.where(chosen[:, None], source.flip(1), source)


def _picked(
    x: AnyImages, rows: Int[Tensor, "batch height"], columns: Int[Tensor, "batch width"]
) -> AnyImages:
    """`x[i, :, rows[i], columns[i]]` for each image i, and 0 outside: one gather for all."""
    channel, height, width = x.shape[1:]
    rows, columns = rows.clamp(-1, height) + 1, columns.clamp(-1, width) + 1
    framed = torch.nn.functional.pad(x, (1, 1, 1, 1))
    place = (rows[:, :, None] * (width + 2) + columns[:, None]).flatten(1)
    place = place[:, None].expand(-1, channel, -1)
    out = framed.contiguous().flatten(2).gather(2, place).view(x.shape)
    if x.is_contiguous():
        return out
    return out.contiguous(memory_format=_format(x))


def _format(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
