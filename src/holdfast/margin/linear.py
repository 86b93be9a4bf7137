"""The reference: every point of the grid, one after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from holdfast.margin.rays import Crossings, Finder, Ids, Rays, nowhere

Logits = Callable[[Ids, int], Tensor]
"""`[ray, class]` of these rays at a step of the grid."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Algorithm 1 of Song et al. 2019 (arXiv 1909.05443) literally: from the image outwards until
    the class changes. All rays together; those that have ended are dropped."""

    name: ClassVar[str] = "linear"

    def __call__(self, sample: Rays) -> Finder:
        return lambda rays: linear(rays, rays.all())


def linear(rays: Rays, which: Ids, at: Logits | None = None) -> Crossings:
    """The first point of another class on each of these rays; `at` gives the logits at points of
    the grid, as `rays.at` does."""
    at = at or rays.at
    found, alive = nowhere(which), torch.arange(len(which), device=which.device)
    for step in range(1, rays.grid.steps + 1):
        if len(alive) == 0:
            break
        ray = which[alive]
        predicted = at(ray, step).argmax(1)
        left = predicted != rays.origin[rays.image(ray)]
        found.step[alive[left]] = step
        found.entered[alive[left]] = predicted[left]
        alive = alive[~left]
    return found
