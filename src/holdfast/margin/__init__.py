"""How far images are from the decision boundary along rays, and what follows from it."""

from holdfast.margin.directions import (
    FAMILIES,
    Coordinates,
    Family,
    Gradient,
    LowFrequency,
    Orthonormal,
    Principal,
    drawn,
    known_directions,
)
from holdfast.margin.linear import Linear
from holdfast.margin.margins import Audit, Margins, growth
from holdfast.margin.measures import (
    Estimate,
    Sums,
    bootstrap,
    centres,
    class_robustness,
    jackknife,
    levels,
    mean_margins,
    robustness,
    shares,
)
from holdfast.margin.rays import Grid, Rays, Scale
from holdfast.margin.screened import Screened
from holdfast.margin.search import METHODS, search
from holdfast.margin.store import load, save
from holdfast.margin.traced import Traced

__all__ = [
    "FAMILIES",
    "METHODS",
    "Audit",
    "Coordinates",
    "Estimate",
    "Family",
    "Gradient",
    "Grid",
    "Linear",
    "LowFrequency",
    "Margins",
    "Orthonormal",
    "Principal",
    "Rays",
    "Scale",
    "Screened",
    "Sums",
    "Traced",
    "bootstrap",
    "centres",
    "class_robustness",
    "drawn",
    "growth",
    "jackknife",
    "known_directions",
    "levels",
    "load",
    "mean_margins",
    "robustness",
    "save",
    "search",
    "shares",
]
