"""Small measurements at the image, against models whose answer is known."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from holdfast.diagnosis import probes
from holdfast.types import Norm

RADIUS, HALVED = 0.1, 2.0**-10


def jumps(height: Callable[[Tensor], Tensor], x: Tensor, norm: Norm = "linf") -> list[float]:
    """Of a model of two classes whose margin at label 1 is `height` of the pixels."""

    def model(images: Tensor) -> Tensor:
        rise = height(images.flatten(1))
        return torch.stack([rise, torch.zeros_like(rise)], 1)

    labels, index = torch.ones(len(x), dtype=torch.long), torch.arange(len(x))
    return probes.jumps(model, x, labels, index, RADIUS, norm, 0).tolist()


def grey(count: int = 3) -> Tensor:
    return torch.full((count, 1, 2, 2), 0.5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(
    "height", [lambda x: 3 * x.sum(1), lambda x: 100 * (x - 0.53).abs().sum(1)]
)
def test_a_continuous_margin_has_no_leap_however_bent(height, norm):
    assert jumps(height, grey(), norm) == pytest.approx([HALVED] * 3, rel=0.2)


@pytest.mark.parametrize("leap", [0.05, 0.4, 4.0])
def test_a_leap_counts_as_its_share_of_the_whole_change(leap):
    climb = 4 * RADIUS  # of the slope 1, over four pixels
    found = jumps(lambda x: x.sum(1) + leap * (x.sum(1) > 2.13), grey())
    assert found == pytest.approx([leap / (leap + climb)] * 3, abs=2e-3)


def test_leaps_up_and_down_are_summed():
    found = jumps(lambda x: x.sum(1) + (x.sum(1) > 2.13) * 1.0 - (x.sum(1) > 2.33) * 1.0, grey())
    assert found == pytest.approx([2 / (2 + 0.4)] * 3, rel=0.05)


def test_where_the_gradient_is_zero_the_line_is_random_and_a_flat_margin_has_no_leap():
    assert jumps(lambda x: 0 * x.sum(1), grey()) == [0.0] * 3
    assert jumps(lambda x: (50 * x).round().sum(1) + 0 * x.sum(1), grey()) > [0.9] * 3


def test_a_draw_of_a_random_model_is_no_leap():
    noisy = jumps(lambda x: (x + 0.2 * torch.randn_like(x)).sum(1), grey())
    assert noisy == pytest.approx([HALVED] * 3, rel=0.2)


def test_no_image_has_no_leap():
    assert jumps(lambda x: x.sum(1), grey(0)) == []
