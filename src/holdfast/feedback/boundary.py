"""Boundary feedback: which images give examples, along which rays, and how far beyond the boundary.

Song, Wang and Li 2019 (arXiv 1909.05443), section IV-B. All of its numbers are empirical.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput, require_field_types
from holdfast.types import Labels

log = logging.getLogger("holdfast")


@dataclass(frozen=True, eq=False, kw_only=True)
class Chosen:
    """The examples to be made. image: place among the images measured; ray: which of its rays;
    distance: how far along it, in the scale in which the margins were measured."""

    image: Int[Tensor, " example"]
    ray: Int[Tensor, " example"]
    distance: Float[Tensor, " example"]


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Examples for retraining by the robustness level of each class.

    Only images with a ray that crosses a boundary count, at a distance above 0; an image that is
    wrong already gives none. A class that has too few such images gives all it has, and an image
    with too few such rays likewise; both are said in the log.
    Raises BadInput for numbers that make no sense.

    Attributes:
        low: images of a class of low robustness ("maximum selection").
        medium: images of a class of medium robustness.
        high: images of a class of high robustness ("minimum selection").
        bottom: share of the classes whose robustness is low.
        top: share of the classes whose robustness is high.
        weighted: False is "Reduced F.L.": every class gives `medium` images, whatever its level.
            The paper does not say how many those are.
        rays: of each image, those of smallest margin.
        nearest: an example lies at least so many times the margin away, drawn uniformly.
        furthest: and at most this many times the margin away.
        seed: of the choice of images and of the distances.
    """

    name: ClassVar[str] = "boundary"
    low: int = 150
    medium: int = 100
    high: int = 20
    bottom: float = 0.5
    top: float = 0.2
    weighted: bool = True
    rays: int = 40
    nearest: float = 1.5
    furthest: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_field_types(self)
        counts = (self.low, self.medium, self.high)
        if min(counts) < 0 or max(counts) < 1 or self.rays < 1:
            raise BadInput(
                f"expected numbers of images of 0 or more, some above, and of rays of 1 or more; "
                f"got {counts} and {self.rays}"
            )
        if not (self.top >= 0 and self.bottom >= 0 and self.top + self.bottom <= 1):
            raise BadInput(
                f"expected shares top and bottom of 0 or more that add up to at most 1, got "
                f"{self.top} and {self.bottom}"
            )
        if not 1 < self.nearest <= self.furthest < float("inf"):
            raise BadInput(
                "expected examples beyond the boundary, 1 < nearest <= furthest; got "
                f"{self.nearest} and {self.furthest}"
            )

    def __call__(
        self,
        distance: Float[Tensor, "image ray"],
        entered: Int[Tensor, "image ray"],
        origin: Labels,
        index: Labels,
        levels: Sequence[str],
    ) -> Chosen:
        """The examples for margins that were measured.

        distance: to the first change of class on each ray; entered: the class there, -1 where
        there is none. origin: each image's class; index: its position in its data set, which keys
        what is drawn. levels: the robustness level of each class. Raises BadInput where no ray
        crosses a boundary.
        """
        crossing = (entered >= 0) & (distance > 0)
        if not crossing.any():
            raise BadInput("expected rays that cross a boundary, got none; search with more reach")
        images = self._images(crossing.any(1), origin, index, levels)
        if not len(images):
            raise BadInput(
                "expected images whose rays cross a boundary in the classes that give examples, "
                f"got none; ask for more of the levels {', '.join(sorted(set(levels)))}"
            )
        near = distance[images].where(crossing[images], torch.inf)
        tie = noise.uniform(index[images], near.shape[1:], self.seed, noise.Stream.EXAMPLES, 1)
        order = tie.argsort(1)  # on a grid many rays are as long as each other
        order = order.gather(1, near.gather(1, order).argsort(stable=True, dim=1))[:, : self.rays]
        margin, ray = near.gather(1, order), order
        short = int((crossing[images].sum(1) < self.rays).sum())
        if short:
            log.warning("%d images have fewer than %d rays that cross", short, self.rays)
        drawn = noise.uniform(
            index[images], (margin.shape[1],), self.seed, noise.Stream.STRENGTHS
        ).to(margin)
        strength = self.nearest + (self.furthest - self.nearest) * drawn
        place, column = margin.isfinite().nonzero().T
        return Chosen(
            image=images[place], ray=ray[place, column],
            distance=(strength * margin)[place, column],
        )  # fmt: skip

    def _images(
        self, useful: Tensor, origin: Labels, index: Labels, levels: Sequence[str]
    ) -> Int[Tensor, " chosen"]:
        """Places of the images that give examples, drawn from each class."""
        draw = noise.uniform(index, (), self.seed, noise.Stream.EXAMPLES)
        found, few = [], []
        for label, level in enumerate(levels):
            wanted = getattr(self, level) if self.weighted else self.medium
            searched = origin == label
            own = (useful & searched).nonzero().flatten()
            if len(own) < wanted:
                seen = f"{int(searched.sum())} were searched"
                few.append(f"class {label} gives {len(own)} of {wanted} ({seen})")
            found.append(own[draw[own].argsort()][:wanted])
        if few:
            log.warning("too few images with a ray that crosses: %s", ", ".join(few))
        return torch.cat(found)
