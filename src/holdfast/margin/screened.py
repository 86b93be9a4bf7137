"""The sieve: every point of the grid by a cheaper form of the model, near ties by the model itself.

Cheaper are: bf16 where the device has bf16 arithmetic; batch normalisation folded into the
convolution or dense layer before it; and, where nothing is clipped, the first layer, which is
linear, applied once to the images and once to the shared directions instead of once to each point.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from holdfast.engine import Engine, interleaved, multiplies_bf16
from holdfast.errors import BadInput, require_words
from holdfast.loss import full
from holdfast.margin.linear import linear
from holdfast.margin.rays import Crossings, Finder, Ids, Rays
from holdfast.model import Metered, Network, folded
from holdfast.types import Classifier, device_of


@dataclass(frozen=True, kw_only=True)
class Screened:
    """As `linear`, but a point is given to the model itself only where the two largest logits of
    its cheaper form are nearer to each other than `safety` times the largest difference between
    the two forms on a sample of points. It is `linear` on a model that is no module, and, with
    precision `auto`, where the cheaper form is measured not to be faster.

    Attributes:
        safety: by which the largest difference seen is multiplied.
        sample: points on which the two forms are compared.
        precision: of the cheaper form, fp32 or bf16; auto: bf16 where the device has arithmetic
            for it.
    """

    name: ClassVar[str] = "screened"
    safety: float = 4.0
    sample: int = 512
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        require_words(self)
        if self.sample < 1 or not 0 <= self.safety < math.inf:
            raise BadInput(
                "expected a sample of 1 point or more and a safety of 0 or more, got "
                f"{self.sample} and {self.safety}"
            )

    def __call__(self, sample: Rays) -> Finder:
        model = sample.model.model if isinstance(sample.model, Metered) else sample.model
        if not isinstance(model, nn.Module):
            return lambda rays: linear(rays, rays.all())
        engine = _engine(model, sample, self.precision)
        front, rest = (None, model) if sample.grid.clip else parted(model)
        cheap = _in(engine, folded(rest))
        if self.precision == "auto" and not _pays(sample, _cheaper(sample, cheap, front)):
            return lambda rays: linear(rays, rays.all())
        width = self.safety * self._difference(sample, cheap, front)
        return lambda rays: _sift(rays, _cheaper(rays, cheap, front), width)

    def _difference(self, rays: Rays, cheap: Classifier, front: Classifier | None) -> float:
        """The largest difference of a gap between two logits over some points of these rays."""
        ray = rays.all()[:: max(1, len(rays.all()) // self.sample)][: self.sample]
        step = torch.arange(len(ray), device=ray.device) % rays.grid.steps + 1
        off = _cheaper(rays, cheap, front).at(ray, step) - rays.at(ray, step)
        return (off.amax(1) - off.amin(1)).max().item()


@dataclass(frozen=True, eq=False, kw_only=True)
class Sieve(Rays):
    """Rays whose points are given to the cheaper form first; `exact` are the same rays."""

    exact: Rays
    width: float

    def at(self, ray: Ids, step: Ids | int) -> Tensor:
        """Logits whose largest is that of the model itself."""
        found = super().at(ray, step)
        largest = found.topk(2, dim=1).values
        near = largest[:, 0] - largest[:, 1] <= self.width
        if near.any():
            steps = step if isinstance(step, Tensor) else torch.full_like(ray, step)
            found[near] = self.exact.at(ray[near], steps[near]).to(found)
        return found


def _pays(rays: Rays, cheaper: Rays) -> bool:
    """Whether a batch of points takes the cheaper form at most 0.95 of the time."""
    ray = rays.all()[: rays.batch]
    slow, fast = interleaved([lambda: rays.at(ray, 1), lambda: cheaper.at(ray, 1)], rounds=3)
    return fast <= 0.95 * slow


def _sift(rays: Rays, cheaper: Rays, width: float) -> Crossings:
    sieve = Sieve(**cheaper.__dict__, exact=rays, width=width)
    return linear(sieve, sieve.all())


def _cheaper(rays: Rays, cheap: Classifier, front: Classifier | None) -> Rays:
    """The same rays for the cheaper form: where it lacks the first layer, behind that layer."""
    meter = rays.model
    counted = _counted(meter, cheap) if isinstance(meter, Metered) else cheap
    if front is None:
        return replace(rays, model=counted)
    origin = torch.zeros_like(rays.x[:1])
    with torch.no_grad():
        flat = rays.directions.flatten(0, rays.directions.ndim - rays.x.ndim)
        moved = torch.cat([front(part) - front(origin) for part in flat.split(rays.batch)])
        return replace(
            rays, model=counted, x=front(rays.x),
            directions=moved.unflatten(0, rays.directions.shape[: rays.directions.ndim - 3]),
        )  # fmt: skip


def _counted(meter: Metered, cheap: Classifier) -> Classifier:
    """The cheaper form, its passes counted as passes of the model."""

    def run(x: Tensor) -> Tensor:
        meter.forward += len(x)
        return cheap(x)

    return run


def _engine(model: nn.Module, sample: Rays, precision: str) -> Engine:
    where = device_of(model, sample.x.device)
    if precision == "auto":
        precision = "bf16" if multiplies_bf16(where) else "fp32"
    return Engine(device=where, precision="bf16" if precision == "bf16" else "fp32")


def _in(engine: Engine, model: nn.Module) -> Classifier:
    """The module as a function that runs in the engine's precision and layout."""
    placed = engine.place(model)

    def run(x: Tensor) -> Tensor:
        layout = {"memory_format": engine.memory_format} if x.ndim == 4 else {}
        with engine.autocast():
            return full(placed(x.contiguous(**layout)))

    return run


def parted(model: nn.Module) -> tuple[Classifier | None, nn.Module]:
    """The first layer with the normalisation before it, and the rest; none where it is not linear.

    Known are sequences that begin with a convolution or with a dense layer on all pixels.
    """
    body = model.body if isinstance(model, Network) else model
    if not isinstance(body, nn.Sequential):
        return None, model
    layers = list(body)
    dense = (
        len(layers) > 1 and isinstance(layers[0], nn.Flatten) and isinstance(layers[1], nn.Linear)
    )
    count = 2 if dense else int(isinstance(layers[0], nn.Conv2d))
    if count == 0:
        return None, model
    first = nn.Sequential(*layers[:count])
    front = first
    if isinstance(model, Network):
        front = copy.copy(model)
        front._modules = {**model._modules, "body": first}
    return front, nn.Sequential(*layers[count:])
