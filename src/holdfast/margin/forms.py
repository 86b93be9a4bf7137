"""Cheaper forms of a model on rays: the same logits, but for rounding, for less.

Batch normalisation is folded into the layer before it, images are laid out channels last, large
linear layers are multiplied by the faster product, and where nothing is clipped a first layer that
is linear and makes few numbers, such as a dense one, is applied once to the images and once to the
directions instead of once to each point.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from holdfast.engine import Engine
from holdfast.loss import at_least_fp32
from holdfast.margin.rays import Ids, Rays
from holdfast.model import (
    Metered,
    Network,
    attempt,
    fold_batch_norm,
    is_deterministic,
    same_up_to_rounding,
    with_fast_layers,
)
from holdfast.types import Classifier, device_of

TRIED = 64  # points on which they are compared
# times the numbers of an image, at most, behind a first layer; of more the sums cost more
SHARED = 2


def unwrapped(rays: Rays) -> nn.Module | None:
    """The module that is asked on these rays, without its meter; None: it is none."""
    model = rays.model.model if isinstance(rays.model, Metered) else rays.model
    return model if isinstance(model, nn.Module) else None


def as_they_are(rays: Rays) -> Rays:
    """Rays that ask the model itself."""
    return rays


def with_faster_model(sample: Rays) -> Callable[[Rays], Rays]:
    """Gives rays a cheaper form of their model, in fp32. Rays come back as they are where there is
    none, or where it says other things on some points of this sample: so of a model that draws."""
    model = unwrapped(sample)
    if model is None or not is_deterministic(model, sample.x):
        return as_they_are
    points = points_of(sample, TRIED)
    own = sample.at(*points)
    where = device_of(model, sample.x.device)

    def made() -> Callable[[Rays], Rays] | None:
        form = make_form(sample, model, Engine(device=where, channels_last=where.type == "cpu"))
        return form if same_up_to_rounding(own, form(sample).at(*points)) else None

    return attempt(made) or as_they_are


def points_of(rays: Rays, count: int) -> tuple[Ids, Ids]:
    """So many points of the grid at most, each as its ray and its step, of rays evenly from all."""
    ray, most = rays.all(), min(count, len(rays.all()))
    ray = ray[torch.arange(most, device=ray.device) * len(ray) // max(most, 1)]
    return ray, torch.arange(len(ray), device=ray.device) % rays.grid.steps + 1


@torch.no_grad()
def make_form(sample: Rays, model: nn.Module, engine: Engine) -> Callable[[Rays], Rays]:
    """Gives rays the cheaper form of this model that the engine runs; unchecked."""
    front, rest = (None, model) if sample.grid.clip else split_first_layer(model)
    if front is not None and front(sample.x[:1]).numel() > SHARED * sample.x[0].numel():
        front, rest = None, model
    cheap = _runner(engine, with_fast_layers(fold_batch_norm(rest)))
    return lambda rays: (
        _with_model(rays, cheap) if front is None else _after_first_layer(rays, cheap, front)
    )


def _with_model(rays: Rays, cheap: Classifier) -> Rays:
    """The same rays, which ask the cheaper form; passes are still counted."""
    meter = rays.model
    return replace(rays, model=meter.through(cheap) if isinstance(meter, Metered) else cheap)


def _after_first_layer(rays: Rays, cheap: Classifier, front: Classifier) -> Rays:
    """The same rays behind the first layer, for a form that lacks it."""
    origin = torch.zeros_like(rays.x[:1])
    with torch.no_grad():
        flat = rays.directions.flatten(0, rays.directions.ndim - rays.x.ndim)
        moved = torch.cat([front(part) - front(origin) for part in flat.split(rays.batch)])
        return replace(
            _with_model(rays, cheap), x=front(rays.x),
            directions=moved.unflatten(0, rays.directions.shape[: rays.directions.ndim - 3]),
        )  # fmt: skip


def _runner(engine: Engine, model: nn.Module) -> Classifier:
    """The module as a function that runs in the engine's precision and layout."""
    placed = engine.place(model)

    def run(x: Tensor) -> Tensor:
        layout = {"memory_format": engine.memory_format} if x.ndim == 4 else {}
        with engine.autocast():
            return at_least_fp32(placed(x.contiguous(**layout)))

    return run


def split_first_layer(model: nn.Module) -> tuple[Classifier | None, nn.Module]:
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
