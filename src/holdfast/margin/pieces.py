"""A piece of a search: what was found on the rays of some images, on disk and back."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from holdfast import kept


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


TENSORS = ("step", "entered", "distance")


def read(file: Path | None) -> Piece | None:
    """The piece in this file; None where there is none, or it is damaged, which is said."""
    found = kept.read(file)
    return Piece(**found) if found else None
