"""What a search of rays found, and the paper's measures of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast.errors import BadInput, require_call
from holdfast.margin import measures
from holdfast.margin.measures import Estimate, Sums
from holdfast.margin.rays import Grid
from holdfast.record import Row
from holdfast.result import Interval, Table, fraction, margin_table, wilson


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Rays searched a second time by `linear`, and how many of them came out otherwise."""

    rays: int
    differing: int

    @property
    def share(self) -> float:
        return self.differing / self.rays if self.rays else 0.0

    @property
    def interval(self) -> Interval:
        """Of the share that differs among all rays, 95 % (Wilson's)."""
        return wilson(self.differing, self.rays)


@dataclass(frozen=True, eq=False, kw_only=True)
class Margins:
    """How far images are from another class along rays, `[image, direction, sign]`.

    distance: to the first change of class, in the grid's scale: a multiple of its step, or with
    `tolerance` at most that much above the change that lies within the last step before it. The
    full `reach` where there is none; 0 where the image itself is of another class than `origin`.
    Narrower returns than the step can hide between two points of the grid, so that distances are
    upper bounds.
    step: the first point of the grid in another class; 0: the image itself; -1: none.
    entered: the class there, the adjacent class; -1: none.
    origin: the class of each image that its rays leave. classes: how many there are.
    forward: passes through the network, without those of the audit. seconds: of all pieces, with
    it, whether found in this call or before a kill.
    """

    distance: Float[Tensor, "image direction sign"]
    step: Int[Tensor, "image direction sign"]
    entered: Int[Tensor, "image direction sign"]
    origin: Int[Tensor, " image"]
    index: Int[Tensor, " image"]
    classes: int
    grid: Grid
    tolerance: float | None
    method: str
    audit: Audit
    forward: int
    seconds: float

    def __repr__(self) -> str:
        rays = self.distance[0].numel()
        return (
            f"Margins of {len(self.distance)} images along {rays} rays each ({self.method}): mean "
            f"{self.mean_margin():.4f} of {self.grid.reach:g} {self.grid.scale}; {self.audit}"
        )

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Summed margins and numbers of rays of each image, `[image, adjacent]`; none is last."""
        return measures.sums_of_images(self.distance, self.entered, self.classes)

    @property
    def sums(self) -> Sums:
        return measures.summed(*self.parts, self.origin)

    def mean(self) -> Float[Tensor, " image"]:
        """Mean margin of each image; rays without adjacent class count as the reach."""
        return self.distance.flatten(1).double().mean(1)

    def mean_margin(self) -> float:
        return self.mean().mean().item()

    def none_share(self) -> float:
        """Share of rays without adjacent class."""
        return fraction(self.entered < 0)

    def shares(self) -> Float[Tensor, " columns"]:
        """Share of all rays that enter each class; the last: none (Table I)."""
        return measures.shares(self.sums)

    def matrix(self, none: bool = False) -> Float[Tensor, "classes columns"]:
        """The mean margin matrix (equation 1), NaN where there is no ray."""
        return measures.mean_margins(self.sums, none)

    def robustness(self, none: bool = True) -> float:
        """R (equation 2)."""
        return measures.robustness(self.sums, none).item()

    def class_robustness(self, none: bool = False) -> Float[Tensor, " classes"]:
        """R_i of each class (equation 3)."""
        return measures.class_robustness(self.sums, none)

    def levels(self, top: float = 0.2, bottom: float = 0.5, none: bool = False) -> list[str]:
        """The robustness level of each class; `medium` for one of which there is no image."""
        there = torch.isin(torch.arange(self.classes), self.origin)
        known = self.class_robustness(none).where(there, torch.nan)
        return measures.levels(known, top, bottom)

    def centres(self) -> Int[Tensor, " classes"]:
        """The place of each class's centre image; -1: it has none."""
        return measures.centres(self.distance, self.origin, self.classes)

    def interval(self, measure: Callable[[Sums], Tensor]) -> Estimate:
        """A measure of `holdfast.margin.measures` with its 95 % interval over images (jackknife);
        `measures.bootstrap(*found.parts, found.origin, measure)` gives percentiles instead."""
        require_call("measure", measure, ("sums",))
        return measures.jackknife(*self.parts, self.origin, measure)

    def as_dict(self) -> Row:
        """The numbers of the command line's JSON."""
        level = self.interval(measures.robustness)
        return self._by_class() | {
            "none_share": self.none_share(),
            "robustness": level.value.item(),
            "robustness_interval": [level.low.item(), level.high.item()],
            "interval_by": "jackknife",
            "matrix": self.matrix(none=True).tolist(),
            "rays": self.distance[0].numel(), "classes": self.classes,
            "reach": self.grid.reach, "step": self.grid.step, "scale": self.grid.scale,
            "clip": self.grid.clip, "tolerance": self.tolerance, "method": self.method,
            "forward": self.forward, "seconds": self.seconds, "audited": self.audit.rays,
            "differing": self.audit.differing,
            "differing_interval": [*self.audit.interval],
        }  # fmt: skip

    def _by_class(self) -> Row:
        """What a table says: the numbers that take no interval."""
        mean = self.mean()
        own = [mean[self.origin == label] for label in range(self.classes)]
        return {
            "images": len(mean), "mean_margin": self.mean_margin(),
            "class_images": [len(one) for one in own],
            "class_margins": [one.mean().item() for one in own],
            "shares": self.shares().tolist(),
            "class_robustness": self.class_robustness().tolist(), "levels": self.levels(),
        }  # fmt: skip

    def as_table(self) -> Table:
        """By class that is left: images, mean margin, share of rays that enter it, R_i, level."""
        return margin_table(self._by_class())

    def table(self) -> str:
        """The same as aligned text."""
        return str(self.as_table())


def growth(before: Margins, after: Margins) -> Estimate:
    """Growth of the mean margin over the same images, with its 95 % interval (paired over images,
    normal approximation; NaN for a single image). Raises BadInput where images or grids differ."""
    if not torch.equal(before.index, after.index):
        raise BadInput("expected margins of the same images, got others")
    if before.grid != after.grid:
        raise BadInput(f"expected margins on the same grid, got {before.grid} and {after.grid}")
    change = after.mean() - before.mean()
    spread = change.std() if len(change) > 1 else change.new_full((), torch.nan)
    middle, half = change.mean(), 1.96 * spread / len(change) ** 0.5
    return Estimate(value=middle, low=middle - half, high=middle + half)
