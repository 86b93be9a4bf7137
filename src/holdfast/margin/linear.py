"""The reference: every point of the grid, one after the other."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from holdfast.margin.rays import Crossings, Finder, Ids, Rays, nowhere


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Algorithm 1 of Song et al. 2019 (arXiv 1909.05443) literally: from the image outwards until
    the class changes. All rays together; those that have ended are dropped."""

    name: ClassVar[str] = "linear"

    def __call__(self, sample: Rays) -> Finder:
        return lambda rays: linear(rays, rays.all())


def linear(rays: Rays, which: Ids) -> Crossings:
    """The first point of another class on each of these rays."""
    found, alive = nowhere(which), torch.arange(len(which), device=which.device)
    for step in range(1, rays.grid.steps + 1):
        if len(alive) == 0:
            break
        ray = which[alive]
        predicted = rays.at(ray, step).argmax(1)
        left = predicted != rays.origin[rays.image(ray)]
        found.step[alive[left]] = step
        found.entered[alive[left]] = predicted[left]
        alive = alive[~left]
    return found
