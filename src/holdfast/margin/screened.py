"""The sieve: every point of the grid by a cheaper form of the model, near ties by the model itself.

The forms are those of `forms`: where the device has bf16 arithmetic one in bf16, in front of one in
fp32 that says the same as the model but for rounding; else one in fp32, in front of the model.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from holdfast.engine import Engine, multiplies_bf16
from holdfast.limits import AT_LEAST_0, AT_LEAST_1, require_ranges
from holdfast.margin.forms import as_they_are, make_form, points_of, unwrapped, with_faster_model
from holdfast.margin.linear import Linear, linear
from holdfast.margin.rays import Crossings, Finder, Ids, Rays
from holdfast.model import attempt, is_deterministic
from holdfast.types import device_of

PAYS = 0.95  # of the model's time, at most


@dataclass(frozen=True, kw_only=True)
class Screened:
    """As `linear`, but a point is given to the model itself only where the two largest logits of
    its cheaper form are nearer to each other than `safety` times the most by which that form put
    its largest logit too far ahead of another on a sample of points. In bf16 a form in fp32 that
    says the same but for rounding, if there is one, takes the model's place. It is `linear` on a
    model that is no module, and, with precision `auto`, where the cheaper form is measured not to
    be faster.

    Attributes:
        safety: by which the most seen is multiplied.
        sample: points on which the two forms are compared.
        precision: of the cheaper form, fp32 or bf16; auto: bf16 where the device has arithmetic
            for it.
    """

    name: ClassVar[str] = "screened"
    safety: float = 4.0
    sample: int = 512
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        require_ranges(self, sample=AT_LEAST_1, safety=AT_LEAST_0)

    def __call__(self, sample: Rays) -> Finder:
        model = unwrapped(sample)
        if model is None or not is_deterministic(model, sample.x):
            return Linear()(sample)

        engine = _engine(model, sample, self.precision)
        exact = with_faster_model(sample) if engine.precision == "bf16" else as_they_are

        def made() -> tuple[Callable[[Rays], Rays], float] | None:
            form = make_form(sample, model, engine)
            width, share = self._tried(exact(sample), form(sample))
            pays = self.precision != "auto" or share <= PAYS
            return (form, width) if pays and math.isfinite(width) else None

        found = attempt(made)
        if found is None:
            return Linear()(sample)
        form, width = found
        return lambda rays: _sift(exact(rays), form(rays), width)

    def _tried(self, exact: Rays, cheaper: Rays) -> tuple[float, float]:
        """How near two logits are that the model itself must tell apart, and the share of its time
        that the cheaper form takes. inf or NaN: all, as where a logit is infinite in one of the
        forms alone."""
        points = points_of(exact, self.sample)
        for rays in (exact, cheaper):
            rays.at(*(some[: exact.batch] for some in points))  # to warm up
        (own, slow), (other, fast) = (_timed(rays, points) for rays in (exact, cheaper))
        off = torch.where(other == own, 0, other - own)  # two infinite ones are the same
        ahead = off.gather(1, other.argmax(1, keepdim=True))  # by which its largest is too large
        return self.safety * (ahead - off).max().item(), fast / slow


def _timed(rays: Rays, points: tuple[Ids, Ids]) -> tuple[Tensor, float]:
    """Logits at these points, and the seconds that they took."""
    start = time.perf_counter()
    return rays.at(*points), time.perf_counter() - start


def _sift(exact: Rays, cheaper: Rays, width: float) -> Crossings:
    """The crossings of `exact`, whose points are given to the cheaper form of the model first."""

    def at(ray: Ids, step: int) -> Tensor:
        found = cheaper.at(ray, step)
        largest = found.topk(2, dim=1).values
        near = ~(largest[:, 0] - largest[:, 1] > width)  # no numbers among them
        if near.any():
            found[near] = exact.at(ray[near], step).to(found)
        return found

    return linear(exact, exact.all(), at)


def _engine(model: nn.Module, sample: Rays, precision: str) -> Engine:
    where = device_of(model, sample.x.device)
    if precision == "auto":
        precision = "bf16" if multiplies_bf16(where) else "fp32"
    return Engine(device=where, precision="bf16" if precision == "bf16" else "fp32")
