"""From margins to examples: points beyond the boundary, with the label of the image they left."""

import dataclasses
import hashlib

import torch
from torch import Tensor

from holdfast.data import Dataset, Split
from holdfast.feedback import Boundary
from holdfast.margin import Family, Margins, Rays, drawn, known_directions
from holdfast.model import check_inputs
from holdfast.types import Classifier, Labels

AT_ONCE = 1000  # examples made in floating point


def examples(
    model: Classifier,
    images: Split,
    margins: Margins,
    directions: Family,
    feedback: Boundary,
    seed: int,
) -> Split:
    """Examples beyond the boundary (Song et al. 2019, arXiv 1909.05443, section IV-B).

    images, margins: what was searched and what was found, image by image; directions and seed are
    those of that search. The examples keep their images' labels, are clipped to the pixel box and,
    a departure, rounded to 256 levels like every training image. Raises BadInput where no ray
    crosses a boundary.
    """
    far, entered = margins.distance.flatten(1), margins.entered.flatten(1)
    levels = margins.levels(feedback.top, feedback.bottom)
    chosen = feedback(far, entered, margins.origin, margins.index, levels)
    places, row = chosen.image.unique(return_inverse=True)
    vectors = _searched(directions, model, images, margins.origin, places, seed)
    some = images.to("cpu").only(places)
    x, vectors = some.x, vectors.to(some.x)
    rays = Rays(
        model=model, x=x, directions=vectors,
        unit=margins.grid.unit(x[0].numel()), grid=dataclasses.replace(margins.grid, clip=True),
        origin=some.y, key=some.index, place=places, batch=len(x),
    )  # fmt: skip
    parts = zip(
        *(t.split(AT_ONCE) for t in (row * rays.each + chosen.ray, chosen.distance)), strict=True
    )
    made = [(rays.points(*part) * 255).round().to(torch.uint8) for part in parts]
    pixels = torch.cat(made)
    return Split(pixels=pixels, y=some.y[row], index=torch.arange(len(pixels)))


def _searched(
    directions: Family, model: Classifier, images: Split, origin: Labels, places: Tensor, seed: int
) -> Tensor:
    """The directions along which the search went from the images at these places."""
    x, y, index = check_inputs(model, images.x, origin, images.index)
    shared = known_directions(directions, model, x, y, index, seed)
    if shared is not None:
        return shared
    return drawn(directions, model, x[places], y[places], index[places], seed)


def mixed(data: Dataset, more: Split) -> Dataset:
    """The data set with examples among its training images; they get positions of their own.

    Batches are shuffled, so that the order of images does not matter.
    """
    train = data.train
    index = more.index + int(train.index.max()) + 1
    both = Split(
        pixels=torch.cat([train.pixels, more.pixels.to(train.pixels.device)]),
        y=torch.cat([train.y, more.y.to(train.y)]),
        index=torch.cat([train.index, index.to(train.index)]),
    )
    raw = more.pixels.cpu().numpy().tobytes() + more.y.cpu().numpy().tobytes()
    made = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    digests = data.digests | {"examples": made}
    return dataclasses.replace(data, train=both, digests=digests)
