"""The check of shapes that the other tests rely on sees what it must."""

from typing import Any, Literal

import pytest
import shapes
import torch
from jaxtyping import TypeCheckError

from holdfast import geometry


def test_a_small_number_may_be_a_word():
    def signs(count: Literal[1, 2]) -> None: ...

    check = shapes.checked(signs)
    check(1)
    for count in (3, 16, 2000):
        with pytest.raises(Exception, match="violates type hint"):
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
