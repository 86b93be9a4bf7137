"""How margins are measured between rounds, as a value."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from holdfast import margin
from holdfast.data import Split
from holdfast.margin import Family, Margins, Orthonormal, Scale
from holdfast.model import check_inputs
from holdfast.types import Classifier, Progress


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A search for margins; `holdfast.margin.search` says what its settings mean.

    Examples are generated from images that are left from their label, as in Algorithm 1 of Song
    et al. 2019; the defaults are its MNIST study's.

    Attributes:
        images: how many are searched, each class in proportion; 0: all.
        directions: the rays' directions.
        method: linear, traced or screened.
        reach: how far is searched.
        step: distance between two looks.
        scale: of both: rms or l2.
        clip: points are clipped to the pixel box.
    """

    name: ClassVar[str] = "probe"
    images: int = 1500
    directions: Family = Orthonormal()  # noqa: RUF009
    method: str = "traced"
    reach: float = 0.5
    step: float = 0.02
    scale: Scale = "rms"
    clip: bool = True

    def sample(self, split: Split) -> Split:
        """The images of a split that are searched."""
        return split.sample(self.images) if self.images else split

    def require(self, model: Classifier, split: Split) -> None:
        """Raises BadInput where these images cannot be searched so; tried on the first."""
        self(model, split.only(torch.arange(1)), seed=0)

    def shared(self, model: Classifier, split: Split, seed: int) -> Tensor | None:
        """Directions that all images share, `[direction, pixel]`; None: each has its own."""
        first = split.only(torch.arange(1))
        given = check_inputs(model, first.x, first.y, first.index)
        found = margin.known_directions(self.directions, model, *given, seed)
        return None if found is None else found.flatten(1)

    def __call__(
        self, model: Classifier, split: Split, seed: int, folder: Path | None = None,
        progress: Progress | None = None, processes: int = 1,
    ) -> Margins:  # fmt: skip
        """Margins of these images, along directions drawn from this seed."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del settings["images"]
        return margin.search(
            model, split.x, split.y, **settings, reference="label", seed=seed, index=split.index,
            folder=folder, progress=progress, processes=processes,
        )  # fmt: skip
