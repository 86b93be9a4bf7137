"""The measures of Song et al. 2019 (arXiv 1909.05443), each from sums and counts of margins.

A margin is the distance along a ray to the first change of class; a ray without one counts as
`reach`, in a column of its own, the last. Sums and counts are `[..., origin, adjacent]` with
`classes` rows and `classes + 1` columns; leading axes are bootstrap samples, and all measures keep
them. What has no rays at all is NaN.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.errors import BadInput
from holdfast.limits import COUNT, require_range

TOGETHER = 500  # samples of a jackknife that are held at once


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums:
    """margin: summed margins; rays: how many; both `[..., origin, adjacent]`."""

    margin: Float[Tensor, "*sample classes columns"]
    rays: Float[Tensor, "*sample classes columns"]


Measure = Callable[[Sums], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimate:
    """A measure and where it lies with 95 % confidence over images.

    Each of the three has the shape of the measure.
    """

    value: Tensor
    low: Tensor
    high: Tensor


def sums_of_images(
    distance: Float[Tensor, "image direction sign"],
    entered: Int[Tensor, "image direction sign"],
    classes: int,
) -> tuple[Tensor, Tensor]:
    """Summed margins and numbers of rays, `[image, adjacent]`, in float64; none comes last."""
    column = torch.where(entered < 0, classes, entered).flatten(1).long()
    empty = torch.zeros(len(distance), classes + 1, dtype=torch.float64)
    far = distance.flatten(1).double()
    return empty.scatter_add(1, column, far), empty.scatter_add(1, column, torch.ones_like(far))


def summed(
    margin: Tensor, rays: Tensor, origin: Int[Tensor, " image"], weight: Tensor | None = None
) -> Sums:
    """Sums over the images of each origin. weight: `[..., image]`, how often each counts."""
    often = torch.ones(len(origin)) if weight is None else weight
    own = [origin == label for label in range(rays.shape[1] - 1)]
    return Sums(
        margin=torch.stack([often[..., o].double() @ margin[o] for o in own], -2),
        rays=torch.stack([often[..., o].double() @ rays[o] for o in own], -2),
    )


def shares(sums: Sums) -> Tensor:
    """Share of all rays that enter each class, and of those that enter none (Table I)."""
    entering = sums.rays.sum(-2)
    return entering / entering.sum(-1, keepdim=True)


def mean_margins(sums: Sums, none: bool = False) -> Tensor:
    """The mean margin matrix m (equation 1); NaN where no ray goes from row to column.

    none: with the column of the rays without adjacent class.
    """
    matrix = sums.margin / sums.rays
    return matrix if none else matrix[..., :-1]


def robustness(sums: Sums, none: bool = True) -> Tensor:
    """R (equation 2): the sum of the mean margin matrix; pairs without a ray add nothing.

    none: with the column of the rays without adjacent class, whose margins count as the full
    range (section V-B: "margins with no adjacent class are counted as the maximum searching
    range").
    """
    return mean_margins(sums, none).nan_to_num(0.0).sum((-2, -1))


def class_robustness(sums: Sums, none: bool = False) -> Tensor:
    """R_i (equation 3): summed margins of the rays that enter class i over those that leave it.

    Above 1 the class is robust, below 1 vulnerable; inf where no ray leaves it. NaN where none
    enters it either, and where rays leave it but none has a length, as of a class whose images are
    all taken for others when the labels are left: the quotient would call it the most robust.
    none: rays without adjacent class count among those that leave. The paper does not say; it
    speaks of traverses, which these are not.
    """
    entering = sums.margin[..., :-1].sum(-2)
    count = slice(None) if none else slice(-1)
    leaving, rays = sums.margin[..., count].sum(-1), sums.rays[..., count].sum(-1)
    return (entering / leaving).where((leaving > 0) | (rays == 0), torch.nan)


def levels(
    robustness: Float[Tensor, " classes"], top: float = 0.2, bottom: float = 0.5
) -> list[str]:
    """ "high", "medium" or "low" for each class (section IV-B).

    The classes whose R_i is among the largest share `top` are high, those among the smallest share
    `bottom` are low. Shares are rounded to whole classes, halves up, the low first. Of classes with
    the same R_i the lower number is taken first, but no class that none leaves (inf) is low.
    Classes without R_i (NaN) are medium, and the shares are those of the others. Raises BadInput
    for shares that do not fit into 1.
    """
    if not (top >= 0 and bottom >= 0 and top + bottom <= 1):
        raise BadInput(
            f"expected shares of 0 or more that add up to at most 1, got {top}, {bottom}"
        )
    named = ["medium"] * len(robustness)
    known = (~robustness.isnan()).nonzero().flatten()
    rising = known[robustness[known].argsort(stable=True)].tolist()
    falling = known[robustness[known].argsort(stable=True, descending=True)].tolist()
    few, many = (math.floor(share * len(known) + 0.5) for share in (bottom, top))
    for place in rising[:few]:
        named[place] = "low" if robustness[place].isfinite() else "medium"
    for place in [one for one in falling if named[one] != "low"][:many]:
        named[place] = "high"
    return named


def centres(
    distance: Float[Tensor, "image direction sign"], origin: Int[Tensor, " image"], classes: int
) -> Int[Tensor, " classes"]:
    """The class centre images: of each class the image with the largest mean margin (section V-A).

    Places among the images; -1 where a class has none; the first of several with the same mean.
    """
    mean = distance.flatten(1).double().mean(1)
    found = torch.full((classes,), -1)
    for label in origin.unique().tolist():
        found[label] = int(mean.where(origin == label, -torch.inf).argmax())
    return found


def jackknife(
    margin: Tensor, rays: Tensor, origin: Int[Tensor, " image"], measure: Measure
) -> Estimate:
    """The measure and 1.96 standard errors on both sides, from leaving out one image at a time.

    What it covers is the mean of the measure over other samples of as many images (Tukey 1958; its
    variance is never too small on average, Efron and Stein 1981). It is NaN where the measure rests
    on a single image.
    """
    count = len(origin)
    parts = [
        measure(summed(margin, rays, origin, (torch.arange(count) != places[:, None]).float()))
        for places in torch.arange(count).split(TOGETHER)
    ]
    among, value = torch.cat(parts), measure(summed(margin, rays, origin))
    spread = (count - 1) / count * (among - among.mean(0)).square().sum(0)
    half = 1.96 * spread.sqrt() if count > 1 else torch.full_like(spread, torch.nan)
    return Estimate(value=value, low=value - half, high=value + half)


def bootstrap(
    margin: Tensor, rays: Tensor, origin: Int[Tensor, " image"], measure: Measure,
    samples: int = 1000, seed: int = 0,
) -> Estimate:  # fmt: skip
    """The measure, and the 2.5 and 97.5 percentiles over samples of as many images, drawn with
    repetition. Samples in which the measure does not exist are left out; Efron 1979.

    Not for R, which is a sum over the pairs of classes that were met: a sample holds two thirds of
    the images, misses the pairs that only few of them meet, and comes out too low; `jackknife` does
    not.
    """
    require_range("samples", samples, COUNT)
    noise.require_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(origin), (samples, len(origin)), generator=generator)
    weight = torch.zeros(samples, len(origin)).scatter_add(1, drawn, torch.ones(drawn.shape))
    among = measure(summed(margin, rays, origin, weight))
    ends = torch.nanquantile(
        among.double(), torch.tensor([0.025, 0.975]).double(), dim=0, interpolation="nearest"
    )  # between a number and infinity lies none
    return Estimate(value=measure(summed(margin, rays, origin)), low=ends[0], high=ends[1])
