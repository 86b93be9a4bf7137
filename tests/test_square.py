import dataclasses
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from worlds import linear_world

from holdfast import attack, loss
from holdfast.attack import Square
from holdfast.attack import square as inside
from holdfast.errors import BadInput
from holdfast.geometry import length, steepest

NORMS = ["linf", "l2"]
RADII = {"linf": 0.01, "l2": 0.04}


def curved(pixels: int = 64, classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Linear(pixels, 40), nn.Tanh(), nn.Linear(40, classes)
    return nn.Sequential(nn.Flatten(), *layers).double()


def images(count: int, model: nn.Module, side: int = 8) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, side, side).double()
    return x, model(x).argmax(1)


@pytest.mark.parametrize("norm", NORMS)
def test_square_finds_what_lies_within_its_radius_and_nothing_else(norm):
    """Against a linear model: all of it in Linf, most of it in L2, where it leaves the ball's
    surface nowhere but rarely points exactly along the normal."""
    world, radius = linear_world(), RADII[norm]
    adv = Square(radius=radius, norm=norm, queries=300, rescale=True)(world.model, world.x, world.y)
    assert (length(adv - world.x, norm) <= radius * (1 + 1e-9)).all()
    wrong = world.model(adv).argmax(1) != world.y
    reach = {"linf": 1.0, "l2": 0.9}[norm] * radius
    assert not wrong[world.margin[norm] > radius].any()
    assert wrong[world.margin[norm] < reach].all()
    assert 0 < wrong.double().mean() < 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 7), (3, 4, 3), (3, 12, 9)])
@pytest.mark.parametrize("radius", [0.0, 0.3, 5.0])
def test_images_of_any_shape_stay_in_ball_and_box(norm, shape, radius):
    model, x = nn.Flatten(), torch.rand(6, *shape)
    y = x.flatten(1).argmax(1)
    adv = Square(radius=radius, norm=norm, queries=30)(model, x, y)
    assert adv.dtype == x.dtype and adv.shape == x.shape
    assert (length(adv - x, norm) <= radius * (1 + 1e-5)).all()
    assert adv.min() >= 0 and adv.max() <= 1
    assert radius > 0 or torch.equal(adv, x)


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_searched_alike_in_any_batch(norm):
    model = curved()
    x, y = images(20, model)
    index, square = torch.arange(100, 120), Square(radius=0.1, norm=norm, queries=20, restarts=2)
    together = attack.run(square, model, x, y, index)
    picked = torch.tensor([13, 2, 7])
    apart = attack.run(square, model, x[picked], y[picked], index[picked])
    torch.testing.assert_close(apart, together[picked], rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_queried_until_it_is_fooled(norm):
    """One look at the clean image, then `queries` per restart, and none for an image fooled."""
    seen: Counter[float] = Counter()

    def model(x: Tensor) -> Tensor:
        seen.update(round(value) for value in x[:, 0, 0, 0].tolist())
        return torch.stack([0.5 - x.mean((1, 2, 3)), x.mean((1, 2, 3)) - 0.5], 1)

    x = torch.full((3, 1, 4, 4), 0.2)
    x[1], x[2] = 0.8, 0.9
    y = torch.tensor([0, 0, 1])  # kept, wrong from the start, kept
    Square(radius=0.1, norm=norm, queries=7, restarts=2)(model, x, y)
    assert seen == {0: 15, 1: 16}
    seen.clear()
    Square(radius=6.0, norm=norm, queries=50, restarts=3)(model, x[:1], y[:1])
    assert 1 < seen.total() < 51


def test_more_queries_and_restarts_never_lower_the_margin_loss():
    model = curved()
    x, y = images(30, model)

    def height(queries: int, restarts: int = 1) -> Tensor:
        square = Square(radius=0.02, queries=queries, restarts=restarts)
        logits = model(square(model, x, y))
        return loss.margin(logits, y)

    few, many, more = height(5), height(60), height(60, 3)
    assert ((many >= few) | (few > 0)).all() and (many > few).any()
    assert ((more >= many) | (many > 0)).all() and (more > many).any()


def test_a_bump_is_the_sum_of_the_paper_and_a_pair_has_length_one():
    height, width, n = 3, 7, 3
    wanted = torch.zeros(height, width, dtype=torch.float64)
    for r in range(height):
        for c in range(width):
            reach = n - max(abs(r - height // 2), abs(c - width // 2))
            wanted[r, c] = sum(1 / (n + 1 - k) ** 2 for k in range(reach + 1))
    torch.testing.assert_close(inside._bump(height, width), wanted / wanted.norm())
    upright, turned = inside._bumps(7, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(upright.norm(), torch.ones(()).double())
    assert (upright[:3] > 0).all() and (upright[3:] < 0).all() and torch.equal(upright.T, turned)


def test_windows_lie_inside_and_are_drawn_evenly():
    height, width, side = 4, 5, 3
    place = torch.rand(6000, 2)
    held, row, column = inside._window(place, side, height, width)
    assert (held.flatten(1).sum(1) == side * side).all()
    corners = Counter(tuple(h[0].nonzero()[0].tolist()) for h in held)
    assert set(corners) == {(top, left) for top in range(2) for left in range(3)}
    assert max(corners.values()) < 1.15 * min(corners.values())
    assert torch.equal(row[0][held[0, 0].any(1)], torch.arange(side))
    assert torch.equal(column[0][held[0, 0].any(0)], torch.arange(side))
    last, _, _ = inside._window(torch.full((1, 2), 1 - 2**-24), side, height, width)
    assert last[0, 0, -1, -1]


def test_an_l2_step_spends_the_whole_radius_and_empties_the_second_window():
    square, x = Square(radius=0.5, norm="l2"), torch.zeros(40, 2, 9, 9).double()
    change = 0.4 * torch.nn.functional.normalize(torch.randn_like(x).flatten(1)).view_as(x)
    place = torch.rand(40, 4)
    sign = torch.ones(40, 2, 1, 1).double()
    moved = square._moved(change, place, torch.zeros(40, 1), sign, 3)
    torch.testing.assert_close(length(moved, "l2"), torch.full((40,), 0.5).double())
    first, _, _ = inside._window(place[:, :2], 3, 9, 9)
    second, _, _ = inside._window(place[:, 2:], 3, 9, 9)
    assert (moved * (second & ~first) == 0).all()
    kept = ~(first | second)
    torch.testing.assert_close(steepest(moved * kept, "l2"), steepest(change * kept, "l2"))


def test_squares_shrink_as_published():
    """Halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000 queries."""
    after = [1, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001, 9999]
    halvings = [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    wanted = [0.8 / 2**times for times in halvings]
    assert [Square(queries=5000).covered(step) for step in after] == wanted
    rescaled = Square(queries=100, rescale=True)
    assert [rescaled.covered(step) for step in (0, 1, 2, 5, 20, 99)] == [
        0.8 / 2**times for times in (0, 2, 2, 3, 5, 9)
    ]


@pytest.mark.parametrize(
    "settings", [{"queries": 0}, {"share": 0.0}, {"share": 1.5}, {"restarts": 0}, {"radius": -1}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(BadInput, match="expected"):
        Square(**settings)


@pytest.mark.parametrize("norm", NORMS)
def test_two_classes_wide_logits_and_broken_logits(norm):
    model = curved(classes=2)
    x, y = images(10, model)
    square = Square(radius=0.1, norm=norm, queries=20)
    scaled = square(lambda x: 1e6 * model(x), x, y)
    torch.testing.assert_close(scaled, square(model, x, y))
    broken = square(lambda x: model(x) * torch.nan, x, y)
    assert torch.equal(broken, x)


def test_dataclass_is_frozen_and_registered():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Square().queries = 3  # pyright: ignore
    assert attack.ATTACKS["square"] is Square


@pytest.mark.parametrize("norm", NORMS)
def test_square_is_no_weaker_than_the_reference(norm):
    """The reference's squares never touch the last row and column, which shows on small images."""
    module = pytest.importorskip("pyautoattack.square", reason="needs pyautoattack 0.2.0")
    model, radius = curved(classes=5).float(), {"linf": 0.05, "l2": 0.3}[norm]
    x = torch.rand(150, 1, 8, 8)
    with torch.no_grad():
        y = model(x).argmax(1)
    name = {"linf": "Linf", "l2": "L2"}[norm]
    theirs = module.SquareAttack(
        model, name, 150, eps=radius, device="cpu", seed=0, resc_schedule=False
    )
    stands = [
        (model(adv).argmax(1) == y).float().mean().item()
        for adv in (
            Square(radius=radius, norm=norm, queries=150)(model, x, y),
            theirs.perturb(x, y),
        )
    ]
    assert 0.05 < stands[0] < 0.95 and stands[0] <= stands[1] + 0.02


@pytest.mark.parametrize("one", [Square(queries=7), attack.SimBA(queries=7)], ids=lambda a: a.name)
def test_an_image_that_is_wrong_by_rounding_alone_is_searched_on(one):
    calls = []

    def level(x: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.tensor([[1.0, 1.0 + 2e-7]]).expand(len(x), 2)

    one(level, torch.rand(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64))
    assert len(calls) >= 7
