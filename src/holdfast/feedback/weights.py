"""Weights of classes: numbers, or `balanced` until the training data are known."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch

from holdfast.errors import BadInput
from holdfast.types import Labels, PerImage

ClassWeights = tuple[float, ...] | Literal["balanced"]


def require_weights(weights: Any) -> None:
    """Raises BadInput where there are others than numbers of 0 or more, some above, or none."""
    if isinstance(weights, str) and weights == "balanced":
        return
    numbers = isinstance(weights, (tuple, list)) and all(
        isinstance(one, (int, float)) and 0 <= one < math.inf for one in weights
    )
    if not numbers or (weights and not any(weights)):
        raise BadInput(
            f"expected class weights of 0 or more as a tuple, or balanced, got {weights!r:.60}; "
            "say (1, 2), on the command line [1,2]"
        )


def of_class(weights: ClassWeights, y: Labels) -> PerImage:
    """The weight of each image's class. Raises BadInput for weights that are no numbers yet."""
    if weights == "balanced":
        raise BadInput(
            "expected class weights as numbers, got balanced; holdfast.train fills them in, "
            "elsewhere call feedback.suited(objective, counts) first"
        )
    return torch.tensor(weights, dtype=torch.float32, device=y.device)[y]


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """images / (classes x images of the class), over the classes that have images: 1 on average
    over the images. Others weigh 0."""
    total, there = sum(counts), sum(count > 0 for count in counts)
    return tuple(total / (there * count) if count else 0.0 for count in counts)


def suited(value: Any, counts: Sequence[int]) -> Any:
    """The objective or reward with every `balanced` turned into numbers, at any depth.

    counts: training images of each class.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    now = {name: suited(part, counts) for name, part in fields.items()}
    if isinstance(weights := now.get("weights"), str) and weights == "balanced":
        now["weights"] = balanced(counts)
    changed = {name: part for name, part in now.items() if part is not fields[name]}
    return dataclasses.replace(value, **changed) if changed else value
