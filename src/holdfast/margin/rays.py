"""Rays: where they start, where they lead, and what the model says on them."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast.errors import BadInput
from holdfast.geometry import per_image
from holdfast.loss import at_least_fp32
from holdfast.types import Classifier, Labels

Scale = Literal["rms", "l2"]
Ids = Int[Tensor, " ray"]
PIECE = 2**16  # rays searched together, at most


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The points of a ray at which the class is asked for: `step`, 2 `step`, ... up to `reach`.

    reach, step: in `scale`. scale: `l2`, pixel units of [0, 1]; or `rms`, the root of the mean
    square change per pixel, which is l2 divided by the root of the dimension (He et al. 2018).
    clip: points are clipped to the pixel box; distances stay those before clipping.
    signs: 2 for both ways along each direction, 1 for the positive one.
    """

    reach: float
    step: float
    scale: Scale
    clip: bool
    signs: int

    @property
    def steps(self) -> int:
        """How many points a ray has; a reach that is a multiple of the step but for rounding counts
        as one. No more than a whole number can be of a step that is next to nothing."""
        return math.floor(min(self.reach / self.step * (1 + 1e-9), sys.maxsize))

    def unit(self, dimension: int) -> float:
        """Length in l2 of a distance of 1 in `scale`."""
        return math.sqrt(dimension) if self.scale == "rms" else 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Rays:
    """The rays of some images, numbered image by image, in these by direction, in these by sign.

    x: where they start. directions: unit vectors, shared or `[image, direction, ...]`. unit: l2
    length of a distance of 1. origin: the class of each image that its rays leave. key: position
    of each image in its data set; place: in this search. batch: points given to the model at once.
    """

    model: Classifier
    x: Tensor
    directions: Tensor
    unit: float
    grid: Grid
    origin: Labels
    key: Labels
    place: Labels
    batch: int

    @property
    def each(self) -> int:
        """Rays of one image."""
        return self.directions.shape[self.directions.ndim - self.x.ndim] * self.grid.signs

    def image(self, ray: Ids) -> Ids:
        """Which of the images each ray starts at."""
        return ray // self.each

    def all(self) -> Ids:
        """Every ray."""
        return torch.arange(len(self.x) * self.each, device=self.x.device)

    def points(self, ray: Ids, distance: Float[Tensor, " ray"]) -> Tensor:
        """The points at these distances, in the grid's scale."""
        image, within = self.image(ray), ray % self.each
        direction, sign = within // self.grid.signs, 1 - 2 * (within % self.grid.signs)
        shared = self.directions.ndim == self.x.ndim
        vectors = self.directions[direction] if shared else self.directions[image, direction]
        far = (distance * sign * self.unit).to(self.x.dtype)
        moved = self.x[image] + per_image(far, vectors) * vectors
        return moved.clamp(0, 1) if self.grid.clip else moved

    @torch.no_grad()
    def logits(self, ray: Ids, distance: Float[Tensor, " ray"]) -> Tensor:
        """`[ray, class]` in fp32 or wider. Raises BadInput where they are no numbers."""
        parts = zip(ray.split(self.batch), distance.split(self.batch), strict=True)
        found = torch.cat([at_least_fp32(self.model(self.points(*part))).clone() for part in parts])
        if found.isnan().any():
            first = int(self.key[self.image(ray[found.isnan().any(1)])[0]])
            raise BadInput(
                f"expected logits that are numbers, got NaN on a ray of image {first}; "
                "train anew, or clip the rays to the pixel box"
            )
        return found

    def at(self, ray: Ids, step: Ids | int) -> Tensor:
        """Logits at points of the grid."""
        steps = step if isinstance(step, Tensor) else torch.full_like(ray, step)
        return self.logits(ray, steps.double() * self.grid.step)

    def only(self, images: Labels) -> "Rays":
        """The rays of the images at these places."""
        own = self.directions.ndim > self.x.ndim
        return replace(
            self, x=self.x[images], origin=self.origin[images], key=self.key[images],
            place=self.place[images],
            directions=self.directions[images] if own else self.directions,
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Crossings:
    """Where rays first enter another class.

    step: the first point of the grid in another class; 0: the image itself; -1: none.
    entered: the class there; -1: none.
    """

    step: Ids
    entered: Ids


Finder = Callable[[Rays], Crossings]
Method = Callable[[Rays], Finder]
"""Prepares on the rays of some images and gives what finds the crossings of all rays of any."""


def nowhere(ray: Ids) -> Crossings:
    """No crossings yet, to be filled in."""
    return Crossings(step=torch.full_like(ray, -1), entered=torch.full_like(ray, -1))
