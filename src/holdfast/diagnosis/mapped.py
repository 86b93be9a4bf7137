"""Maps of planes, made a few rows at a time; each piece is kept when it is done."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from holdfast import kept, noise
from holdfast.diagnosis.planes import Surface, Values
from holdfast.types import PerImage, Progress

MAPS = ("ce", "margin", "right", "classes", "outside")
PIECE = 2**14  # forward passes whose result is saved together


def mapped(
    surface: Surface, places: PerImage, planes: int, passes: int, place: Path | None, seed: int,
    progress: Progress | None,
) -> Values:  # fmt: skip
    """All maps of all planes, `[plane, up, across]`. passes: how many each point costs."""
    size = len(places)
    rows = torch.arange(size).split(max(1, PIECE // (size * passes)))
    found = []
    for plane in range(planes):
        for some in rows:
            first, last = int(some[0]), int(some[-1])
            file = place and place / f"plane-{plane}-rows-{first}-{last}.safetensors"
            found.append(kept.computed(file, partial(_piece, surface, plane, places, some, seed)))
            if progress:
                progress("landscape", plane * size + last + 1, planes * size)
    whole = {name: torch.cat([piece[name] for piece in found]) for name in MAPS}
    return {name: value.view(planes, size, size) for name, value in whole.items()}


@torch.no_grad()
def _piece(surface: Surface, plane: int, places: PerImage, rows: Tensor, seed: int) -> Values:
    """The maps of some rows; a model that draws does so from a seed of the piece's own."""
    noise.settle(noise.scramble(seed, noise.Stream.PLANES, plane, int(rows[0])))
    up, across = torch.meshgrid(places[rows], places, indexing="ij")
    return surface(plane, across.flatten(), up.flatten())
