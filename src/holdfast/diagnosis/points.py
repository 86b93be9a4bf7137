"""Blind search: so many random points of the ball, as an attack."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast import noise
from holdfast.attack import positions
from holdfast.geometry import confine, sample
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.loss import at_least_fp32, margin
from holdfast.types import Classifier, Images, Labels, Norm

PIECE = 500  # points of an image in one pass


@dataclass(frozen=True, kw_only=True)
class RandomPoints:
    """The point of largest margin among random points of the ball (Carlini et al., arXiv
    1902.06705, ask for 10,000 and more). As `UniformNoise`, with many points to a pass.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1].
        norm: the norm that measures the budget.
        points: forward passes per image.
        seed: each point is a function of seed, image index and its number alone.
    """

    name: ClassVar[str] = "random-points"
    radius: float = 8 / 255
    norm: Norm = "linf"
    points: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0, points=AT_LEAST_1)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        index = positions(x, index)
        best = [self._searched(model, *one) for one in zip(x, y, index, strict=True)]
        return torch.stack(best) if best else x

    def _searched(
        self, model: Classifier, x: torch.Tensor, y: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """One image's best point; the search ends in the pass that finds an error."""
        best, height = x, -torch.inf
        for number in torch.arange(self.points, device=x.device).split(PIECE):
            many = x.expand(len(number), *x.shape)
            change = sample(
                many,
                self.radius,
                self.norm,
                index * self.points + number,
                self.seed,
                noise.Stream.POINTS,
            )
            near = confine(many, many + change, self.radius, self.norm)
            top = margin(at_least_fp32(model(near)), y.expand(len(number)))
            if (found := top.max().item()) > height:
                best, height = near[top.argmax()], found
            if height > 0:
                break
        return best
