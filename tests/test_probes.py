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
    return torch.full((count, 1, 2, 2), 0.5, dtype=torch.float64)


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


def noisy(x: Tensor) -> Tensor:
    return (x + 0.2 * torch.randn_like(x)).flatten(1)


def test_a_draw_of_a_random_model_is_no_leap():
    assert jumps(lambda x: noisy(x).sum(1), grey()) == pytest.approx([HALVED] * 3, rel=0.2)


def test_what_rounding_does_is_no_leap_and_no_wrong_way():
    def flat(x: Tensor) -> Tensor:
        return torch.stack([(x.flatten(1).sum(1) - 2).sin() * 1e-7 + 1, torch.zeros(len(x))], 1)

    x, y, index = grey().float(), torch.ones(3, dtype=torch.long), torch.arange(3)
    assert probes.jumps(flat, x, y, index, RADIUS, "linf", 0).tolist() == [0.0] * 3
    assert probes.rise(flat, x, y, RADIUS, "linf", 0).isnan().all()


def test_a_passage_to_no_number_is_a_leap():
    found = jumps(lambda x: x.sum(1).where(x.sum(1) < 2.13, torch.nan), grey())
    assert found == [1.0] * 3


def test_a_margin_that_is_the_same_infinity_everywhere_does_not_move():
    def model(x: Tensor) -> Tensor:
        rise = x.flatten(1).sum(1)
        return torch.stack([rise, torch.full_like(rise, -torch.inf)], 1)

    x, y, index = grey(), torch.zeros(3, dtype=torch.long), torch.arange(3)
    assert probes.wobble(model, x, y, index, 0).tolist() == [0.0] * 3
    assert jumps(lambda x: x.sum(1) * 0 + torch.inf, grey()) == [0.0] * 3


def test_a_margin_that_is_no_number_nearby_wobbles_as_much_as_may_be():
    def model(x: Tensor) -> Tensor:
        rise = x.flatten(1).sum(1)
        return torch.stack([rise.where(rise == 2, torch.nan), torch.zeros_like(rise)], 1)

    x, y, index = grey(), torch.zeros(3, dtype=torch.long), torch.arange(3)
    assert probes.wobble(model, x, y, index, 0).tolist() == [1.0] * 3


@pytest.mark.parametrize("random", [False, True])
def test_a_linear_model_does_not_wobble_not_even_under_one_draw(random):
    def model(x: Tensor) -> Tensor:
        seen = noisy(x) if random else x.flatten(1)
        return torch.stack([seen.sum(1), torch.zeros_like(seen[:, 0])], 1)

    x, y, index = grey(), torch.ones(3, dtype=torch.long), torch.arange(3)
    assert probes.wobble(model, x, y, index, 0, random).max() < 1e-9


def test_a_harmless_detour_of_a_random_model_hides_nothing():
    def model(x: Tensor) -> Tensor:
        seen = noisy(x).tanh()
        return torch.stack([(seen - seen.detach() + seen).sum(1), torch.zeros_like(seen[:, 0])], 1)

    cosines = probes.bridged(model, grey(), torch.zeros(3, dtype=torch.long), 0)
    torch.testing.assert_close(cosines, torch.ones_like(cosines))


def test_no_image_asks_nothing_of_the_model():
    x, y, index = grey(0), torch.ones(0, dtype=torch.long), torch.arange(0)
    assert len(probes.wobble(lambda x: x.view(len(x), -1), x, y, index, 0)) == 0


def test_no_image_has_no_leap():
    assert jumps(lambda x: x.sum(1), grey(0)) == []
