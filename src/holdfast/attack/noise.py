"""Random noise: the attacks that ask for no gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast import noise
from holdfast.attack._common import positions, require_not_l1
from holdfast.geometry import confine, higher, sample
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.loss import at_least_fp32, margin
from holdfast.types import Classifier, Images, Labels, Norm


@dataclass(frozen=True, kw_only=True)
class UniformNoise:
    """A change drawn uniformly from the ball, then clipped to the pixel box.

    What falls to it was hardly robust; a network that withstands noise alone proves nothing.
    Raises BadInput for a radius or a number of repeats that makes no sense.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        repeats: draws per image, of which the one with the largest margin counts; one forward
            pass for each where there is more than one.
        seed: each draw is a function of seed, image index and repeat alone.
    """

    name: ClassVar[str] = "uniform-noise"
    radius: float = 8 / 255
    norm: Norm = "linf"
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0, repeats=AT_LEAST_1)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        index = positions(x, index)

        def draw(repeat: int) -> Images:
            change = sample(
                x, self.radius, self.norm, index, self.seed, noise.Stream.UNIFORM, repeat
            )
            return confine(x, x + change, self.radius, self.norm)

        return _best(model, y, draw, self.repeats)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Normal noise on every pixel, pulled back into the ball, then clipped to the pixel box.

    Raises BadInput for a radius, deviation or number of repeats that makes no sense.

    Attributes:
        radius: budget in `norm`, pixel units of [0, 1]; may be typed 8/255 or 8px.
        norm: the norm that measures the budget.
        deviation: of one pixel's noise, in pixel units; None: radius / 2 for linf, where one pixel
            in twenty is cut short, and radius / sqrt(pixels) for l2, where the radius is the
            root mean square of the noise's length.
        repeats: draws per image, of which the one with the largest margin counts; one forward
            pass for each where there is more than one.
        seed: each draw is a function of seed, image index and repeat alone.
    """

    name: ClassVar[str] = "gaussian-noise"
    radius: float = 8 / 255
    norm: Norm = "linf"
    deviation: float | None = None
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, radius=AT_LEAST_0, repeats=AT_LEAST_1, deviation=AT_LEAST_0)
        require_not_l1(self.norm)

    @torch.no_grad()
    def __call__(
        self, model: Classifier, x: Images, y: Labels, index: Labels | None = None
    ) -> Images:
        index, shape = positions(x, index), tuple(x.shape[1:])
        usual = 1 / 2 if self.norm == "linf" else math.prod(shape) ** -0.5
        deviation = usual * self.radius if self.deviation is None else self.deviation

        def draw(repeat: int) -> Images:
            change = noise.normal(index, shape, self.seed, noise.Stream.GAUSSIAN, repeat).to(
                x.dtype
            )
            return confine(x, x + deviation * change, self.radius, self.norm)

        return _best(model, y, draw, self.repeats)


def _best(model: Classifier, y: Labels, draw: Callable[[int], Images], repeats: int) -> Images:
    """Per image, the draw of largest margin; a single one is not looked at."""
    top = draw(0)
    if repeats == 1:
        return top
    height = margin(at_least_fp32(model(top)), y)
    for repeat in range(1, repeats):
        rival = draw(repeat)
        top, height = higher(top, height, rival, margin(at_least_fp32(model(rival)), y))
    return top
