"""Maps of planes, made a few rows at a time; each piece is kept when it is done."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from holdfast import kept, noise
from holdfast.diagnosis.planes import Pairs, Surface, Values
from holdfast.types import PerImage, Said

MAPS = ("ce", "margin", "right", "classes", "outside")
PIECE = 2**14  # forward passes whose result is saved together


def remembered(place: Path | None, make: Callable[[], Pairs]) -> Pairs:
    """The axes that a killed landscape had, else those that are made, and kept."""
    file = place and place / "directions.safetensors"
    found = kept.read(file)
    if found:
        return found["directions"]
    pairs = make()
    kept.write(file, {"directions": pairs})
    return pairs


def mapped(
    surface: Surface, places: PerImage, planes: int, passes: int, place: Path | None, seed: int,
    said: Said | None,
) -> Values:  # fmt: skip
    """All maps of all planes, `[plane, up, across]`. passes: how many each point costs."""
    size = len(places)
    rows = torch.arange(size).split(max(1, PIECE // (size * passes)))
    found = []
    for plane in range(planes):
        for some in rows:
            first, last = int(some[0]), int(some[-1])
            file = place and place / f"plane-{plane}-rows-{first}-{last}.safetensors"
            held = kept.read(file)
            found.append(held or _made(surface, plane, places, some, file, seed))
            if said:
                said("landscape", plane * size + last + 1, planes * size)
    whole = {name: torch.cat([piece[name] for piece in found]) for name in MAPS}
    return {name: value.view(planes, size, size) for name, value in whole.items()}


@torch.no_grad()
def _made(
    surface: Surface, plane: int, places: PerImage, rows: Tensor, file: Path | None, seed: int
) -> Values:
    """The maps of some rows; a model that draws does so from a seed of the piece's own."""
    noise.settle(noise.scramble(seed, noise.Stream.PLANES, plane, int(rows[0])))
    up, across = torch.meshgrid(places[rows], places, indexing="ij")
    found = surface(plane, across.flatten(), up.flatten())
    kept.write(file, found)
    return found
