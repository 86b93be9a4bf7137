"""The check of shapes that the other tests rely on sees what it must."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import shapes
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from holdfast import geometry


def test_results_and_fields_are_seen():
    def doubled(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return torch.cat([x, x])

    @shapes.once
    @dataclass(frozen=True)
    class Held:
        x: Float[Tensor, " n"]
        y: Float[Tensor, " n"]

    for _ in range(2):
        Held(torch.zeros(2), torch.zeros(2))
        with pytest.raises(TypeCheckError, match="return value"):
            shapes.once(doubled)(torch.zeros(2))
        with pytest.raises(TypeCheckError):
            Held(torch.zeros(2), torch.zeros(3))


def test_a_small_number_may_be_a_word():
    def signs(count: Literal[1, 2]) -> None: ...

    check = shapes.once(signs)
    check(1)
    for count in (3, 16, 2000):
        with pytest.raises(TypeCheckError):
            check(count)


@pytest.mark.parametrize(
    "wrong",
    [
        {"radius": "far"},
        {"norm": "l3"},
        {"x": torch.zeros(2, 1, 4, 4, dtype=torch.long)},
        {"x": [0.0]},
        {"adv": torch.zeros(3, 1, 4, 4)},
    ],
)
def test_what_is_right_once_does_not_excuse_what_is_wrong(wrong: dict[str, Any]):
    right: dict[str, Any] = {
        "x": torch.zeros(2, 1, 4, 4), "adv": torch.zeros(2, 1, 4, 4), "radius": 0.1, "norm": "linf",
    }  # fmt: skip
    for _ in range(2):
        geometry.confine(**right)
        with pytest.raises(TypeCheckError):
            geometry.confine(**right | wrong)
