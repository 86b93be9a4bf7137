"""Families of directions: frozen values that give unit vectors for rays to run along.

A family is called as `family(model, x, y, index, seed)` with some images and gives directions
`[direction, channel, height, width]` that all images share, or `[image, direction, channel,
height, width]`, each image's own. `y` are the classes that the rays are to leave: the search's
reference, so the predictions unless it is `label`. Directions that all share are asked for with all
images of the search. Any function of this form is a family, and so is a tensor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput
from holdfast.geometry import steepest
from holdfast.limits import COUNT, require_ranges
from holdfast.loss import Loss, LossName, gradient, resolve_loss
from holdfast.model import eval_mode, map_batches
from holdfast.types import Classifier, Images, Labels, image_shape

Family = Callable[[Classifier, Images, Labels, Labels, int], Tensor]
ALL = 2**14  # directions that are all of them, at most
MIXED = 1  # the part of a key that tells the cosines of mixtures from the vectors mixed in


@dataclass(frozen=True, kw_only=True)
class Orthonormal:
    """Random orthonormal directions: the Q of the QR decomposition of Gaussian noise, as in He et
    al. 2018 and Song et al. 2019 (arXiv 1909.05443, section V).

    Each column's sign is that of R's diagonal, which makes Q uniform over all rotations, and the
    first of many directions are the same as few.

    Attributes:
        count: how many; None: as many as an image has dimensions.
        per_image: each image has its own.
    """

    name: ClassVar[str] = "orthonormal"
    count: int | None = None
    per_image: bool = False

    def __post_init__(self) -> None:
        require_ranges(self, count=COUNT)

    def __call__(self, model: Classifier, x: Images, y: Labels, index: Labels, seed: int) -> Tensor:
        size = x[0].numel()
        count = _within(self.count, size, "dimensions")
        number = torch.arange(count)
        keys = [(int(own),) for own in index] if self.per_image else [()]
        vectors = [
            noise.normal(number, (size,), seed, noise.Stream.DIRECTIONS, *key) for key in keys
        ]
        q, r = torch.linalg.qr(torch.stack(vectors).to(x.device, torch.float64).mT)
        rows = (q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]).mT
        made = rows.reshape(len(keys), count, *image_shape(x)).to(x.dtype)
        return made if self.per_image else made[0]


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """Single pixels of one channel, drawn without repetition.

    Attributes:
        count: how many; None: all of them.
    """

    name: ClassVar[str] = "coordinates"
    count: int | None = None

    def __post_init__(self) -> None:
        require_ranges(self, count=COUNT)

    def __call__(self, model: Classifier, x: Images, y: Labels, index: Labels, seed: int) -> Tensor:
        size = x[0].numel()
        count = _within(self.count, size, "dimensions")
        chosen = noise.permutation(size, seed, noise.Stream.DIRECTIONS)[:count]
        axes = torch.zeros(count, size, dtype=x.dtype).scatter(1, chosen[:, None], 1)
        return axes.reshape(-1, *image_shape(x)).to(x.device)


@dataclass(frozen=True, kw_only=True)
class LowFrequency:
    """Two-dimensional cosines (DCT-II) of single channels, the longest waves first.

    Attributes:
        count: how many; None: all of them.
    """

    name: ClassVar[str] = "low_frequency"
    count: int | None = None

    def __post_init__(self) -> None:
        require_ranges(self, count=COUNT)

    def __call__(self, model: Classifier, x: Images, y: Labels, index: Labels, seed: int) -> Tensor:
        channels, height, width = image_shape(x)
        down = torch.arange(height)[:, None, None] / height
        across = torch.arange(width)[None, :, None] / width
        order = (down.square() + across.square()).expand(-1, -1, channels).flatten()
        chosen = order.argsort(stable=True)[: _within(self.count, len(order), "dimensions")]
        wave, channel = chosen // channels, chosen % channels
        rows, columns = cosines(height)[wave // width], cosines(width)[wave % width]
        made = torch.zeros(len(chosen), channels, height, width, dtype=torch.float64)
        made[torch.arange(len(chosen)), channel] = rows[:, :, None] * columns[:, None]
        return made.to(x)


@dataclass(frozen=True, eq=False, kw_only=True)
class Principal:
    """The principal components of some images, largest variance first.

    Attributes:
        images: whose components, `[n, channel, height, width]`.
        count: how many; None: all that so many images have.
    """

    name: ClassVar[str] = "principal"
    images: Tensor
    count: int | None = None

    def __post_init__(self) -> None:
        require_ranges(self, count=COUNT)

    def __call__(self, model: Classifier, x: Images, y: Labels, index: Labels, seed: int) -> Tensor:
        rows = self.images.flatten(1).double()
        _, spread, components = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
        least = spread[0] * max(rows.shape) * torch.finfo(spread.dtype).eps  # of a numerical rank
        count = _within(self.count, int((spread > least).sum()), "components of the images given")
        components = components[:count]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        return (components * largest.sign()).reshape(count, *self.images.shape[1:]).to(x)


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """The gradient of a loss at each image, then random mixtures with it.

    A mixture has a cosine with the gradient that is drawn uniformly from [0, 1); the rest is a
    random vector at right angles to it. An image without gradient has random directions.

    Attributes:
        count: how many for each image, the gradient included.
        loss: whose gradient.
    """

    name: ClassVar[str] = "gradient"
    count: int = 10
    loss: LossName | Loss = "margin"

    def __post_init__(self) -> None:
        require_ranges(self, count=COUNT)
        resolve_loss(self.loss)

    def __call__(self, model: Classifier, x: Images, y: Labels, index: Labels, seed: int) -> Tensor:
        climbed = resolve_loss(self.loss)
        with eval_mode(model):
            slope = map_batches(lambda x, y: gradient(model, x, y, climbed)[0], None, x, y)
        steep = steepest(slope, "l2")[:, None].flatten(2)
        other = noise.normal(index, (self.count, x[0].numel()), seed, noise.Stream.DIRECTIONS).to(
            steep
        )
        other = other - (other * steep).sum(2, keepdim=True) * steep
        other = other / other.norm(dim=2, keepdim=True)
        cosine = noise.uniform(index, (self.count - 1, 1), seed, noise.Stream.DIRECTIONS, MIXED).to(
            steep
        )
        mixed = cosine * steep + (1 - cosine.square()).sqrt() * other[:, :-1]
        first = steep.where(steep.any(2, keepdim=True), other[:, -1:])
        made = torch.cat([first, mixed], 1)
        return made.reshape(len(x), self.count, *image_shape(x))


FAMILIES: dict[str, type] = {
    "orthonormal": Orthonormal,
    "coordinates": Coordinates,
    "low_frequency": LowFrequency,
    "gradient": Gradient,
}
"""By the name of the command line; `Principal` needs images and is made in Python."""


def drawn(
    directions: Family | Tensor, model: Classifier, x: Images, y: Labels, index: Labels, seed: int
) -> Tensor:
    """The directions of these images, each of length 1; shared, or with a first axis for images.

    Raises BadInput for directions of another shape, without length, or not finite.
    """
    shared = directions if isinstance(directions, Tensor) else directions(model, x, y, index, seed)
    if not isinstance(shared, Tensor):
        raise BadInput(f"expected directions as a tensor, got {type(shared).__name__}")
    made = shared.detach().to(x)
    shapes = ([-1, *x.shape[1:]], [len(x), -1, *x.shape[1:]])
    known = [[-1 if n == -1 else m for n, m in zip(s, made.shape, strict=False)] for s in shapes]
    if made.ndim not in (4, 5) or known[made.ndim - 4] != shapes[made.ndim - 4]:
        raise BadInput(
            f"expected directions [direction, {', '.join(map(str, x.shape[1:]))}], shared or with "
            f"a first axis of {len(x)} images; got {list(made.shape)}; reshape them"
        )
    units = steepest(made.reshape(-1, *x.shape[1:]), "l2")
    if len(units) == 0 or not (units.isfinite().all() and units.flatten(1).any(1).all()):
        raise BadInput("expected directions that are finite and not zero, got others; drop those")
    return units.reshape(made.shape)


def known_directions(
    directions: Family | Tensor, model: Classifier, x: Images, y: Labels, index: Labels, seed: int
) -> Tensor | None:
    """A tensor of directions, or those that a family gives to all images; None: each has its own.

    A family is asked with one image which it does, since each image's own may be too many at once.
    Raises BadInput as `drawn` does.
    """
    if not isinstance(directions, Tensor):
        one = drawn(directions, model, x[:1], y[:1], index[:1], seed)
        if one.ndim > x.ndim:
            return None
    return drawn(directions, model, x, y, index, seed)


def cosines(size: int) -> Tensor:
    """The orthonormal DCT-II of `size` points, `[frequency, point]`, in float64."""
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size
    waves = (torch.arange(size, dtype=torch.float64)[:, None] * place).cos() * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves


def _within(count: int | None, most: int, what: str) -> int:
    """The number asked for, or all. Raises BadInput where there are not so many."""
    if count is None and most > ALL:
        raise BadInput(
            f"expected a count of directions for images of {most} numbers, got none; all of them "
            "would not fit into memory"
        )
    wanted = most if count is None else count
    if not 1 <= wanted <= most:
        raise BadInput(
            f"expected 1 to {most}, the number of {what}, as the count of directions; got {wanted}"
        )
    return wanted
