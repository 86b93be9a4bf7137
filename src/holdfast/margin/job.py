"""A search of rays, and one piece of it: what was found on the rays of some images."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from holdfast import noise
from holdfast.margin.directions import Family, drawn
from holdfast.margin.linear import linear
from holdfast.margin.rays import Crossings, Finder, Grid, Ids, Rays, nowhere
from holdfast.model import Metered
from holdfast.types import Classifier, Images, Labels, Logits

SAMPLE = 32  # images on whose rays a method prepares
TENSORS = ("step", "entered", "distance")


@dataclass(frozen=True, eq=False, kw_only=True)
class Piece:
    """What was found on the rays of some images.

    step, entered, distance: `[image, ray]`. audited, differing: rays of the audit. forward: passes
    through the network, without the audit's. seconds: wall time, with it.
    """

    step: Tensor
    entered: Tensor
    distance: Tensor
    audited: int
    differing: int
    forward: int
    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class RaySearch:
    """A search. clean: logits at the images. origin: classes to be left. shared: directions that
    are known for all images, else each piece asks the family."""

    model: Classifier
    x: Images
    index: Labels
    clean: Logits
    origin: Labels
    family: Family | Tensor
    shared: Tensor | None
    grid: Grid
    tolerance: float | None
    audit: float
    batch: int
    seed: int

    @property
    def predicted(self) -> Labels:
        """Classes at the images."""
        return self.clean.argmax(1)

    @property
    def inside(self) -> Bool[Tensor, " batch"]:
        """Images that lie in the class that is to be left."""
        return self.predicted == self.origin

    def rays(self, images: Labels) -> Rays:
        """The rays of the images at these places, their passes counted anew."""
        x, origin, index = self.x[images], self.origin[images], self.index[images]
        if self.shared is None:
            vectors = drawn(self.family, self.model, x, origin, index, self.seed)
        else:
            vectors = self.shared if self.shared.ndim == x.ndim else self.shared[images]
        return Rays(
            model=Metered(self.model), x=x, directions=vectors, unit=self.grid.unit(x[0].numel()),
            grid=self.grid, origin=origin, key=index, place=images,
            batch=self.batch,
        )  # fmt: skip

    def sample(self) -> Rays:
        """The rays on which a method prepares: a function of all images, not of a piece."""
        inside = self.inside.nonzero().flatten()[:SAMPLE]
        return self.rays(inside if len(inside) else inside.new_zeros(1))


def searched(job: RaySearch, finder: Callable[[], Finder], images: Labels) -> Piece:
    """All rays of these images, audited. finder: makes the finder, or hands out the one made."""
    start = time.perf_counter()
    rays, inside = job.rays(images), job.inside[images]
    step = torch.zeros(len(images), rays.each, dtype=torch.int64, device=rays.x.device)
    entered = job.predicted[images][:, None].expand_as(step).clone()
    rays = rays.only(inside.nonzero().flatten())
    found = finder()(rays) if len(rays.x) else nowhere(rays.all())
    forward = passes_of(rays)
    again, differing = _audited(job, rays, found)
    before = passes_of(rays)
    distance, refined = _distances(rays, found, job.tolerance)
    far = torch.zeros_like(step, dtype=torch.float32)
    step[inside], entered[inside] = found.step.view(-1, rays.each), refined.view(-1, rays.each)
    far[inside] = distance.view(-1, rays.each).float()
    return Piece(
        step=step.short().cpu(), entered=entered.int().cpu(), distance=far.cpu(),
        audited=again, differing=differing, forward=forward + passes_of(rays) - before,
        seconds=time.perf_counter() - start,
    )  # fmt: skip


def passes_of(rays: Rays) -> int:
    """Passes forward through the model so far, for these rays."""
    return rays.model.forward if isinstance(rays.model, Metered) else 0


def _audited(job: RaySearch, rays: Rays, found: Crossings) -> tuple[int, int]:
    """How many rays were searched again by `linear`, and how many came out otherwise."""
    chance = noise.uniform(rays.key, (rays.each,), job.seed, noise.Stream.AUDIT).flatten()
    ray = (chance < job.audit).nonzero().flatten()
    truth = linear(rays, ray)
    other = (truth.step != found.step[ray]) | (truth.entered != found.entered[ray])
    return len(ray), int(other.sum())


def _distances(
    rays: Rays, found: Crossings, tolerance: float | None
) -> tuple[Float[Tensor, " ray"], Ids]:
    """Distance of each ray's crossing, bisected where asked for, and the class entered there."""
    grid = rays.grid
    high = torch.where(found.step < 0, grid.reach, found.step.double() * grid.step)
    entered, ray = found.entered.clone(), (found.step > 0).nonzero().flatten()
    low, width = high - grid.step, grid.step
    while tolerance is not None and width > tolerance and len(ray):
        width /= 2
        middle = low[ray] + width
        predicted = rays.logits(ray, middle).argmax(1)
        left = predicted != rays.origin[rays.image(ray)]
        high[ray[left]], entered[ray[left]] = middle[left], predicted[left]
        low[ray[~left]] = middle[~left]
    return high, entered
