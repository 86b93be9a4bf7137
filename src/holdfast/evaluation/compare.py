"""Two classifiers on the same images: which stands more often, and could that be chance."""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.errors import BadInput, require_value
from holdfast.evaluation.store import latest, marks, read
from holdfast.result import SLACK, WORST, Evaluation, Flags, Standing, wilson
from holdfast.types import Images, Labels

log = logging.getLogger("holdfast")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Accuracy of a first classifier minus that of a second, on the same images.

    only_first, only_second: images that one alone gets right, of so many `images`.
    low, high: 95 % interval of the difference (Newcombe 1998, Statistics in Medicine 17:2635,
    method 10). p: two-sided exact McNemar test, the chance of a split as uneven as this one
    where neither is better.
    """

    images: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return (
            f"{100 * self.difference:+.1f} points ({100 * self.low:+.1f} to "
            f"{100 * self.high:+.1f}), p = {self.p:.2g}, on {self.images} images"
        )


Standings = Flags | np.ndarray | Standing | Evaluation


def paired(first: Standings, second: Standings) -> Comparison:
    """The comparison of two sets of flags `[images]`, right or not, image by image: tensors,
    arrays, or what an attack or (in the worst case) an evaluation left standing.

    Raises BadInput for what are no flags, where their numbers differ, or there are none, and for
    two evaluations of other images or within other budgets.
    """
    if isinstance(first, Evaluation) and isinstance(second, Evaluation):
        _require_alike(first, second)
    one, two = _flags("first", first), _flags("second", second)
    if len(one) != len(two) or len(one) == 0:
        raise BadInput(f"expected the same images, and some; got {len(one)} and {len(two)}")
    count = len(one)
    only = int((one & ~two).sum()), int((two & ~one).sum())
    low, high = _newcombe(one, two)
    return Comparison(
        images=count, only_first=only[0], only_second=only[1],
        difference=(only[0] - only[1]) / count, low=low, high=high, p=_mcnemar(*only),
    )  # fmt: skip


def _require_alike(first: Evaluation, second: Evaluation) -> None:
    """Raises BadInput for evaluations whose worst cases are of other images or other budgets."""
    one, two = first.marks, second.marks
    if one is not None and two is not None and len(one) == len(two) and (one != two).any():
        raise BadInput(
            f"expected the same images in the same order, got others at {int((one != two).sum())} "
            f"of {len(one)} places; evaluate both on one split"
        )
    within = [f"{found.norm} {found.radius:g}" for found in (first, second)]
    if within[0] != within[1]:
        raise BadInput(
            f"expected worst cases within one budget, got {' and '.join(within)}; evaluate both "
            "within one, or give their .worst_case if you mean it"
        )


def _flags(name: str, given: Any) -> Flags:
    given = given.worst_case if isinstance(given, Evaluation) else given
    given = given.correct if isinstance(given, Standing) else given
    flags = torch.from_numpy(given) if isinstance(given, np.ndarray) else given
    require_value(name, flags, "evaluate(...).worst_case", Tensor)
    if flags.dtype != torch.bool or flags.ndim != 1:
        raise BadInput(f"expected {name} as flags [images], right or not; got "
                       f"{list(flags.shape)} of {flags.dtype}")  # fmt: skip
    return flags


def _mcnemar(one: int, other: int) -> float:
    """Twice the tail of a fair coin thrown once for each image on which they differ."""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(one, other), one + other, 0.5)))


def _newcombe(first: Flags, second: Flags) -> tuple[float, float]:
    count = len(first)
    both, a, b = (int(flags.sum()) for flags in (first & second, first, second))
    neither = count - a - b + both
    spread = a * b * (count - a) * (count - b)
    lean = both * neither - (a - both) * (b - both)
    phi = lean / math.sqrt(spread) if spread else 0.0
    if lean > 0 and spread:  # Newcombe's continuity correction
        phi = max(lean - count / 2, 0.0) / math.sqrt(spread)
    near = [(hits / count, wilson(hits, count)) for hits in (a, b)]
    (p, one), (q, two) = near
    down, up = (p - one.low, two.high - q), (one.high - p, q - two.low)
    below, above = (math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0)) for x, y in (down, up))
    return p - q - below, p - q + above


def compare(first: Path | str, second: Path | str) -> dict[str, Comparison]:
    """Two evaluations' files of per-image results, or the newest ones of two runs: `clean`, each
    attack of both, `worst case`.

    The worst case is taken over the attacks that both have, of the same settings (but for seeds)
    and the same budget, if they have any, and is that of the evaluations' own budget; images are
    matched by index. Raises BadInput where a file cannot be read, the two have no image in common,
    or one index has two labels or two images (other data, or another split).
    """
    for name, file in (("first", first), ("second", second)):
        require_value(name, file, "evaluation.latest('runs/one')", (str, Path))
    one, two = (read(latest(at) if Path(at).is_dir() else Path(at)) for at in (first, second))
    one, two = _matched(one, two, f"{first} and {second}")
    known = sorted(n.removesuffix(".correct") for n in one if n.endswith(".correct") and n in two)
    names = sorted(known, key=lambda name: name != "clean")  # a file's tensors come in any order
    names = [name for name in names if _alike(name, one, two)]
    pairs = {name: (one[f"{name}.correct"], two[f"{name}.correct"]) for name in names}
    if names == ["clean"]:
        log.warning("no attack of %s is in %s with the same budget and settings: only clean images "
                    "are compared", first, second)  # fmt: skip
    elif torch.equal(one["budget"], two["budget"]):
        pairs[WORST] = standing(one, names), standing(two, names)
    else:
        log.warning("no worst case is compared: the two evaluations are of other budgets")
    return {name: paired(*pair) for name, pair in pairs.items()}


def require_common(file: Path, x: Images, y: Labels, index: Labels) -> None:
    """Raises BadInput where what evaluates these images `[batch, channel, height, width]` cannot be
    compared with the evaluation in this file, as `compare` would, before they are attacked."""
    held = {"index": index.cpu(), "y": y.cpu(), "marks": marks(x).cpu()}
    _matched(held, read(file), f"what is to be evaluated and {file}")


def _matched(
    one: dict[str, Tensor], two: dict[str, Tensor], named: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both with the images that they have in common alone, in one order. Raises BadInput where
    those are none, or not the same."""
    index = sorted(set(one["index"].tolist()) & set(two["index"].tolist()))
    if not index:
        raise BadInput(f"expected images in common, got none in {named}")
    one, two = (_only(held, _places(held["index"], index)) for held in (one, two))
    if not torch.equal(one["y"], two["y"]):
        raise BadInput(f"expected the same data and split in {named}, got others")
    if "marks" in one and "marks" in two and (others := int((one["marks"] != two["marks"]).sum())):
        raise BadInput(
            f"expected the same images in {named}, got others at {others} of {len(index)} "
            "positions; evaluate both on the same data"
        )
    return one, two


def _only(held: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """The tensors of a file with the flags and distances of these images alone."""
    each = ("index", "y", "marks", "correct", "distance")
    return {name: value[rows] if name.rpartition(".")[2] in each else value
            for name, value in held.items()}  # fmt: skip


def standing(held: dict[str, Tensor], names: Iterable[str]) -> Flags:
    """Images of a file that these attacks left standing within the evaluation's own budget."""
    order, radius = held["budget"].tolist()
    within = [
        held[f"{name}.distance"] <= radius + SLACK
        for name in names if name != "clean" and held[f"{name}.budget"][0] == order
    ]  # fmt: skip
    return held["clean.correct"] & ~torch.stack(within).any(0) if within else held["clean.correct"]


def _alike(name: str, one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Whether the attack of this name had the same budget and settings in both; said where not."""
    if name == "clean":
        return True
    first, second = (held[f"{name}.budget"] for held in (one, two))
    if not torch.equal(first, second):
        had = " and ".join("l{:g} {:g}".format(*budget.tolist()) for budget in (first, second))
        log.warning("%s is not compared: its budgets are %s; evaluate both alike", name, had)
        return False
    if not torch.equal(one[f"{name}.settings"], two[f"{name}.settings"]):
        log.warning("%s is not compared: its settings, or those of the attacks before it in a "
                    "cascade, are others; evaluate both alike", name)  # fmt: skip
        return False
    return True


def _places(index: Tensor, wanted: list[int]) -> Tensor:
    place = {position: row for row, position in enumerate(index.tolist())}
    return torch.tensor([place[position] for position in wanted])
