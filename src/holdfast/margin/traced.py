"""The forecast: a few points of each ray, where a change of class cannot be ruled out.

Rays of one image resemble each other: the gap of logits between the image's class and a rival is,
as a function of the distance, a mean curve plus a deviation that is strongly correlated along the
ray. Both are measured: on every grid point of a few rays of each image (its pilots) the mean curve
and the size of deviations, on the pilots of the first images their correlation. A Gaussian
forecast (kriging) of the unseen points then follows from the points seen on a ray, with a
standard error that is small where neighbours were seen and large where the pilots were rough. A
point is taken for clear once every rival's gap there is at least `safety` standard errors above 0.
So strides are long where gaps are wide and smooth, and shrink where they are small or where other
rays of the image bend back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from holdfast import noise
from holdfast.limits import ABOVE_0, AT_LEAST_2, require_ranges
from holdfast.margin.forms import with_faster_model
from holdfast.margin.linear import Linear
from holdfast.margin.rays import Crossings, Finder, Ids, Rays, nowhere

PILOTS = 0x70696C  # "pil": the key of which rays are pilots
CELLS = 2**21  # numbers of a forecast held at once
INFINITE = 2.0**100  # a power of two, so that means of it are exact
NUGGET = 1e-6  # of the mean variance: what keeps the matrix of points seen invertible
Curves = Float[Tensor, "image ray step classes"]


@dataclass(frozen=True, kw_only=True)
class Traced:
    """Jumps along the ray to where a change of class is forecast or most likely, asking a cheaper
    form of the model that gives the same logits but for rounding, where there is one.

    Not exact: a window of another class that no pilot and no neighbouring point hints at is
    stepped over. The audit of the search says how often.

    Attributes:
        pilots: rays of each image that are searched in full. With fewer than four times as many
            rays to an image, the search is linear.
        safety: standard errors by which a gap must be forecast above 0 to be taken for clear.
    """

    name: ClassVar[str] = "traced"
    pilots: int = 8
    safety: float = 3.0

    def __post_init__(self) -> None:
        require_ranges(self, pilots=AT_LEAST_2, safety=ABOVE_0)

    def __call__(self, sample: Rays) -> Finder:
        if sample.each < 4 * self.pilots:
            return Linear()(sample)
        form = with_faster_model(sample)
        sample = form(sample)
        curves = _curves(sample, _pilots(sample, self.pilots))
        _, deviation, scale = _moments(_gaps(sample, curves))
        alike = _correlation(deviation / _divisor(scale)[:, None, None])
        known = dict(zip(sample.place.tolist(), curves, strict=True))
        return lambda rays: self._find(form(rays), alike, known)

    def _find(self, rays: Rays, alike: Tensor, known: Mapping[int, Tensor]) -> Crossings:
        """All rays of these images: the pilots as they are, the others by forecast."""
        pilots = _pilots(rays, self.pilots)
        curves = _known(rays, self.pilots, known)
        mean, _, scale = _moments(_gaps(rays, curves))
        found = _read(rays, pilots, curves)
        forecast = Forecast(
            mean=mean, scale=scale, alike=alike * (1 + 1 / self.pilots), origin=rays.origin,
            safety=self.safety,
        )  # fmt: skip
        others = torch.ones_like(found.step, dtype=torch.bool)
        others[pilots.flatten()] = False
        _trace(rays, others.nonzero().flatten(), forecast, found)
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class Forecast:
    """What is known of the rays of some images.

    mean: of the gaps, `[image, step, class]`. scale: size of deviations from it, `[image, class]`.
    alike: covariance of deviations in that scale, `[step, step]`.
    """

    mean: Float[Tensor, "image step classes"]
    scale: Float[Tensor, "image classes"]
    alike: Float[Tensor, "step step"]
    origin: Int[Tensor, " image"]
    safety: float

    def of(self, image: Ids, probes: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Gaps `[ray, step, class]`, and their standard error `[ray, step]` in units of scale.

        probes: steps seen, `[ray, probe]`. seen: deviations there, `[ray, probe, class]`, in scale.
        """
        across = self.alike[probes]
        among = across.gather(2, probes[:, None].expand(-1, probes.shape[1], -1))
        nugget = _divisor(NUGGET * self.alike.diagonal().mean())
        weights = torch.linalg.solve(among + nugget * torch.eye(probes.shape[1]).to(among), across)
        left = self.alike.diagonal() - (weights * across).sum(1)
        gaps = self.mean[image] + self.scale[image][:, None] * (weights.mT @ seen)
        return gaps, left.clamp_min(1e-12).sqrt()

    def next(self, image: Ids, probes: Tensor, seen: Tensor, first: Ids, doubt: Tensor) -> "Plan":
        """Where to look next on each ray, up to the first change seen so far.

        The first point forecast to lie in another class; else the least clear one, and where all
        are as clear as can be, as beside pilots that never change, the last of them.
        """
        gaps, error = self.of(image, probes, seen)
        own = torch.nn.functional.one_hot(self.origin[image], gaps.shape[2]).bool()[:, None]
        spread = self.scale[image][:, None] * error[..., None]
        clear = (gaps / (spread * doubt[image][:, None, None])).masked_fill(own, torch.inf).amin(2)
        steps = torch.arange(gaps.shape[1], device=gaps.device)
        hidden = (steps >= first[:, None]) | (steps == 0)
        hidden = hidden.scatter(1, probes, True)
        beyond = (gaps.masked_fill(own, torch.inf).amin(2) < 0) & ~hidden
        doubtful = clear.masked_fill(hidden, torch.inf)
        least = torch.where(doubtful.isfinite().any(1), doubtful.argmin(1), first - 1)
        step = torch.where(beyond.any(1), beyond.double().argmax(1), least)
        done = ~(doubtful < self.safety).any(1) & (probes.shape[1] > 0)
        row = torch.arange(len(step), device=step.device)
        return Plan(step=step, done=done, gap=gaps[row, step], error=spread[row, step])


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The next point of each ray: its step; done: none is needed; gap and its standard error as
    forecast there, `[ray, class]`."""

    step: Ids
    done: Bool[Tensor, " ray"]
    gap: Float[Tensor, "ray classes"]
    error: Float[Tensor, "ray classes"]


def _trace(rays: Rays, ray: Ids, forecast: Forecast, found: Crossings) -> None:
    """Look along these rays, all once in each round, until each is clear; fill in what is found.

    An image whose rays keep surprising the forecast has its standard errors enlarged by as much.
    """
    probes = ray.new_zeros(len(ray), 0)
    seen = forecast.mean.new_zeros(len(ray), 0, forecast.mean.shape[2])
    surprise, count = torch.zeros_like(forecast.scale[:, 0]), torch.zeros_like(forecast.scale[:, 0])
    while len(ray):
        image = rays.image(ray)
        first = torch.where(found.step[ray] < 0, rays.grid.steps + 1, found.step[ray])
        doubt = (surprise / count.clamp_min(1)).sqrt().clamp_min(1)
        plan = _plan(forecast, image, probes, seen, first, doubt)
        go = ~plan.done
        ray, image, probes, seen, step = ray[go], image[go], probes[go], seen[go], plan.step[go]
        logits = rays.at(ray, step) if len(ray) else seen[:, 0]
        predicted = logits.argmax(1)
        left = predicted != rays.origin[image]
        found.step[ray[left]], found.entered[ray[left]] = step[left], predicted[left]
        gap = _gap(logits, rays.origin[image])
        off = ((gap - plan.gap[go]) / plan.error[go].clamp_min(1e-12)).square()
        surprise.index_add_(0, image, off.sum(1) / (off.shape[1] - 1))
        count.index_add_(0, image, torch.ones_like(off[:, 0]))
        new = (gap - forecast.mean[image, step]) / _divisor(forecast.scale)[image]
        probes, seen = torch.cat([probes, step[:, None]], 1), torch.cat([seen, new[:, None]], 1)


def _plan(
    forecast: Forecast, image: Ids, probes: Tensor, seen: Tensor, first: Ids, doubt: Tensor
) -> Plan:
    """The plan of many rays, made of plans of few, so that memory stays flat."""
    size = max(1, CELLS // forecast.mean[0].numel())
    parts = (rows.split(size) for rows in (image, probes, seen, first))
    plans = [forecast.next(i, p, s, f, doubt) for i, p, s, f in zip(*parts, strict=True)]
    names = [field.name for field in fields(Plan)]
    return Plan(**{name: torch.cat([getattr(plan, name) for plan in plans]) for name in names})


def _pilots(rays: Rays, count: int) -> Int[Tensor, "image pilot"]:
    """Some rays of each image, which depend on its position in the data set alone."""
    order = noise.uniform(rays.key, (rays.each,), PILOTS).argsort(dim=1, stable=True)[:, :count]
    return order + rays.each * torch.arange(len(rays.x), device=order.device)[:, None]


def _curves(rays: Rays, pilots: Int[Tensor, "image pilot"]) -> Curves:
    """Logits at the image and at every point of the grid."""
    ray = pilots.flatten()
    start = rays.at(pilots[:, 0], 0).repeat_interleave(pilots.shape[1], 0)
    along = [start, *(rays.at(ray, step) for step in range(1, rays.grid.steps + 1))]
    return torch.stack(along, 1).double().unflatten(0, pilots.shape)


def _known(rays: Rays, count: int, known: Mapping[int, Tensor]) -> Curves:
    """The pilots' curves; those of images whose place is known are not made again."""
    places = rays.place.tolist()
    new = [i for i, place in enumerate(places) if place not in known]
    if new:
        some = rays.only(torch.tensor(new, device=rays.place.device))
        made = _curves(some, _pilots(some, count))
        known = dict(known) | dict(zip(some.place.tolist(), made, strict=True))
    return torch.stack([known[place] for place in places])


def _gap(logits: Tensor, origin: Tensor) -> Tensor:
    """Logit of the origin minus each logit, in float64; 0 at the origin itself. Infinite logits, as
    of a class that is masked, count as very large ones."""
    logits = logits.double().clamp(-INFINITE, INFINITE)
    return logits.gather(1, origin[:, None]) - logits


def _gaps(rays: Rays, curves: Curves) -> Curves:
    origin = rays.origin[:, None, None].expand(curves.shape[:3])
    return _gap(curves.flatten(0, 2), origin.flatten()).unflatten(0, curves.shape[:3])


def _moments(gaps: Curves) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over rays; deviations from it; their size by class, half of it that of all classes."""
    mean = gaps.mean(1)
    deviation = gaps - mean[:, None]
    size = (deviation.square().sum(1) / (gaps.shape[1] - 1)).mean(1).sqrt()
    return mean, deviation, (size + size.mean(1, keepdim=True)) / 2


def _divisor(scale: Tensor) -> Tensor:
    """Sizes to divide by: logits that never change have none."""
    return scale.clamp_min(torch.finfo(scale.dtype).tiny)


def _correlation(deviation: Curves) -> Float[Tensor, "step step"]:
    """Covariance over images, rays and classes, with a small part of Brownian motion.

    Few pilots span few shapes, and a forecast from them would be too sure; the part of Brownian
    motion, whose increments cannot be forecast, shrinks as one over the number of pilots.
    """
    images, rays, steps, classes = deviation.shape
    rows = deviation.transpose(2, 3).reshape(-1, steps)
    measured = rows.mT @ rows / (images * (rays - 1) * (classes - 1))
    size = measured.diagonal().sqrt()
    place = torch.arange(steps, device=rows.device, dtype=rows.dtype).clamp_min(1e-9)
    ratio = torch.minimum(place[:, None], place) / torch.maximum(place[:, None], place)
    share = 1 / (1 + images * rays)
    return (1 - share) * measured + share * size[:, None] * size * ratio.sqrt()


def _read(rays: Rays, pilots: Int[Tensor, "image pilot"], curves: Curves) -> Crossings:
    """Crossings of all rays, those of the pilots filled in."""
    found = nowhere(rays.all())
    predicted = curves.argmax(3)
    other = predicted != rays.origin[:, None, None]
    step = other.double().argmax(2)
    entered = predicted.gather(2, step[..., None])[..., 0]
    crossed = other.any(2)
    found.step[pilots] = torch.where(crossed, step, -1)
    found.entered[pilots] = torch.where(crossed, entered, -1)
    return found
