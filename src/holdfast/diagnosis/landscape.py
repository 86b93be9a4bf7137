"""Loss landscapes: losses over a plane through an image, or through a network's weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from safetensors import torch as tensors
from torch import Tensor, nn

from holdfast import kept, noise, record
from holdfast.attack import PGD
from holdfast.diagnosis.filters import normalised, weight_surface
from holdfast.diagnosis.mapped import MAPS, mapped
from holdfast.diagnosis.planes import Surface, directions, image_surface
from holdfast.errors import BadInput, choose, require_value
from holdfast.evaluation import require_settings
from holdfast.limits import ABOVE_0, Range, require_range
from holdfast.model import check_inputs, clean_logits, eval_mode, resolve_batch_size
from holdfast.record import Row
from holdfast.result import Table, fraction
from holdfast.types import Attack, Classifier, Images, Labels, Norm, Progress

Axes = Literal["attack", "random", "weights"]
SPAN = {"attack": 2.0, "random": 2.0, "weights": 1.0}


@dataclass(frozen=True, eq=False, kw_only=True)
class Landscape:
    """Maps over planes, `[plane, up, across]`: one plane through each image, or one through the
    weights.

    axes: `attack`: across along the attack, up along a random orthogonal direction; `random`: two
    random ones; `weights`: two random directions normalised filter by filter.
    places: of the columns from left to right and of the rows from bottom to top. In planes through
    images 1 is one `radius` in `norm`, along either axis alone; in the plane through the weights
    1 is the length of each filter.
    ce, margin: the losses; for weights their mean over the images.
    right: 1 where the prediction is right, else 0; for weights the share of images.
    classes: the predicted class; -1 for weights, on whose plane there is none.
    outside: how far a pixel of the point lies outside [0, 1] at most; the model saw it clipped
    where `clip` is set, else as it is. 0 for weights.
    directions: the two axes of each plane in pixels, `[plane, two, *pixels]`; none for weights.
    index: position of each image in its data set.
    """

    axes: Axes
    places: Float[Tensor, " size"]
    ce: Float[Tensor, "plane size size"]
    margin: Float[Tensor, "plane size size"]
    right: Float[Tensor, "plane size size"]
    classes: Int[Tensor, "plane size size"]
    outside: Float[Tensor, "plane size size"]
    directions: Float[Tensor, "through two *pixels"]
    index: Int[Tensor, " images"]
    radius: float
    norm: Norm
    clip: bool

    @property
    def names(self) -> list[str]:
        """What each plane goes through."""
        if self.axes == "weights":
            return ["weights"]
        return [f"image-{place}" for place in self.index.tolist()]

    def as_dict(self) -> Row:
        """Settings, and of each plane the range of the losses, the share of points (for weights:
        of images, over all points) that are right, and that of points inside the pixel box."""
        planes = [
            {
                "name": name, "ce": _range(self.ce[i]), "margin": _range(self.margin[i]),
                "right": self.right[i].double().mean().item(),
                "inside": fraction(self.outside[i] == 0),
            }
            for i, name in enumerate(self.names)
        ]  # fmt: skip
        return {
            "axes": self.axes, "size": len(self.places), "span": self.places[-1].item(),
            "radius": self.radius, "norm": self.norm, "clip": self.clip,
            "images": len(self.index), "planes": planes,
        }  # fmt: skip

    def table(self) -> str:
        """The ranges and shares as aligned text."""
        rows = [
            [plane["name"], *("{:.3g} to {:.3g}".format(*plane[loss]) for loss in ("ce", "margin")),
             f"{plane['right']:.1%}"]
            for plane in self.as_dict()["planes"]
        ]  # fmt: skip
        return str(Table(("plane", "cross-entropy", "margin", "right"), rows))

    def __repr__(self) -> str:
        return f"Landscape of {len(self.names)} planes ({self.axes})\n{self.table()}"

    def save(self, folder: Path | str, about: Mapping[str, object] | None = None) -> None:
        """Write AXES.safetensors, all maps, and AXES.json into the folder, each in one step."""
        names = (*MAPS, "places", "directions", "index")
        held = {name: getattr(self, name).contiguous() for name in names}
        record.write(Path(folder) / f"{self.axes}.safetensors", tensors.save(held))
        row = self.as_dict() | record.provenance(**(about or {}))
        record.write_json(Path(folder) / f"{self.axes}.json", row)


def landscape(
    model: Classifier,
    x: Images,
    y: Labels,
    *,
    axes: Axes = "attack",
    size: int = 300,
    span: float | None = None,
    radius: float = 8 / 255,
    norm: Norm = "linf",
    attack: Attack | None = None,
    clip: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
    index: Labels | None = None,
    folder: Path | str | None = None,
    progress: Progress | None = None,
) -> Landscape:
    """Losses and predictions over a plane through each image, or through the weights.

    Args:
        model: images in [0, 1] to logits; left as it was.
        x: images. A plane goes through each of them; with weights as axes there is one plane, of
            the means over them.
        y: integer labels.
        axes: attack: along the attack and a random direction orthogonal to it; random: two random
            ones; weights: random directions, each filter as long as the model's (Li et al. 2018,
            arXiv 1712.09913), biases and batch normalisation left alone.
        size: points along each axis; size squared are looked at.
        span: how far to look to either side, in radii, or for weights in lengths of the filters;
            None: 2, for weights 1.
        radius: 1 on the axes of an image; also the budget of the attack.
        norm: of the radius.
        attack: whose images the first axis leads to; None: PGD with 20 steps on cross-entropy.
        clip: points are clipped to the pixel box before the model sees them; else it sees them as
            they are, and `outside` says how far out they lie.
        batch_size: points (for weights: images) given to the model at once, None: 100 on a CPU,
            1,000 elsewhere; results depend on it by rounding alone.
        seed: of the random directions, of the attack, and of a model that draws.
        index: position of each image in its data set, which keys the noise; None: 0, 1, 2, ...
        folder: where finished rows are kept, so that a killed landscape that is called again with
            the same weights, images and settings goes on behind them and comes to the same bits.
        progress: called after each piece with ("landscape", rows done, rows).

    Raises BadInput: images, labels or a model that do not fit each other, settings out of range, a
    model without weights where those are the axes.
    """
    _require(axes, size, span, radius, norm, batch_size)
    x, y, index = check_inputs(model, x, y, index)
    batch_size = resolve_batch_size(batch_size, x)
    places = torch.linspace(-1, 1, size) * (SPAN[axes] if span is None else span)
    if attack is None:
        attack = PGD(radius=radius, norm=norm, steps=20, seed=seed)
    require_value("attack", attack, "attack.PGD()")
    attack = attack if axes == "attack" else None
    with noise.forked(x.device), eval_mode(model):
        noise.settle(seed)  # for a model that draws
        place = kept.folder_of(
            Path(folder) if folder else None, "landscape", model,
            {"x": x, "y": y, "index": index, "clean": clean_logits(model, x, y, batch_size)},
            [axes, size, span, radius, norm, attack, clip, batch_size, seed],
        )  # fmt: skip
        if axes == "weights":
            pairs, surface = x.new_zeros(0, 2), _over_weights(model, x, y, batch_size, seed)
        else:
            make = partial(directions, model, x, y, index, attack, radius=radius, norm=norm,
                           batch_size=batch_size, seed=seed)  # fmt: skip
            file = place and place / "directions.safetensors"
            pairs = kept.computed(file, lambda: {"directions": make()})["directions"].to(x)
            surface = image_surface(model, x, y, pairs, clip, batch_size)
        planes, passes = (1, len(x)) if axes == "weights" else (len(x), 1)
        maps = mapped(surface, places, planes, passes, place, seed, progress)
    return Landscape(
        axes=axes, places=places, **maps, directions=pairs.cpu(), index=index.cpu(),
        radius=radius, norm=norm, clip=clip,
    )  # fmt: skip


def _over_weights(model: Classifier, x: Images, y: Labels, batch_size: int, seed: int) -> Surface:
    """The surface over two random directions. Raises BadInput for a model without weights."""
    network = model if isinstance(model, nn.Module) else nn.Identity()
    one, two = (normalised(network, seed, which) for which in (0, 1))
    if not one:
        raise BadInput(
            "expected a torch.nn.Module with weights for a landscape over them, got a "
            f"{type(model).__name__}; take the axes attack or random"
        )
    return weight_surface(network, x, y, one, two, batch_size)


def _require(axes: str, size: Any, span: Any, radius: Any, norm: str, batch_size: Any) -> None:
    """Raises BadInput for settings out of range."""
    choose(SPAN, axes, "axes")
    require_settings(radius, norm, batch_size)
    require_range("radius", radius, ABOVE_0)
    require_range("span", span, ABOVE_0)
    require_range("size", size, Range(low=2, whole=True))


def _range(values: Tensor) -> list[float]:
    return [values.min().item(), values.max().item()]
