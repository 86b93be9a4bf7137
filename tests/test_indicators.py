"""Gradient indicators, views and the adaptive attack, on models whose answers are known."""

import ill_worlds
import pytest
import torch
from ill_worlds import RADIUS, Ill, trained
from torch import nn
from worlds import linear_world

from holdfast.attack import PGD
from holdfast.diagnosis import VIEWS, Averaged, ThroughViews, answer, difference, hidden, spread
from holdfast.diagnosis import dynamic as along_path
from holdfast.diagnosis import static as at_image
from holdfast.diagnosis.points import RandomPoints
from holdfast.diagnosis.slope import climb
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.loss import margin
from holdfast.result import Finding

WORLD = linear_world()
SLOPE = (WORLD.model[1].weight[1] - WORLD.model[1].weight[0]).detach()  # pyright: ignore


class Bowl(nn.Module):
    """Logit 1 less logit 0 is a quadratic form around the middle of the box, plus a slope."""

    def __init__(self, bends: torch.Tensor, slope: float = 0.0) -> None:
        super().__init__()
        self.bends, self.slope = bends, slope

    def forward(self, x):
        away = (x - 0.5).flatten(1)
        lead = (self.bends * away**2).sum(1) / 2 + self.slope * away.sum(1)
        return torch.stack([torch.zeros_like(lead), lead], 1)


def test_around_an_image_of_a_linear_model_nothing_is_bent():
    found = at_image(WORLD.model, WORLD.x, WORLD.y, "margin", radius=0.1, probes=2)
    size = SLOPE.norm().expand(len(WORLD.x))
    torch.testing.assert_close(found.size, size, check_dtype=False)
    torch.testing.assert_close(found.lipschitz, SLOPE.norm(1).expand(32), check_dtype=False)
    for bend in (found.curvature, found.eigenvalue, found.gap):
        assert bend.abs().max() < 1e-9
    distance = found.margin.abs() / SLOPE.norm()
    torch.testing.assert_close(distance, WORLD.margin["l2"])
    assert not found.zero.any() and found.as_dict()["zero"]["mean"] == 0


def test_curvature_and_eigenvalue_of_a_quadratic_form():
    bends = torch.tensor([1.0, -7.0, 2.0, 3.0], dtype=torch.float64)
    x = torch.rand(5, 1, 2, 2, dtype=torch.float64) * 0.2 + 0.4
    found = at_image(Bowl(bends, 1.0), x, torch.zeros(5).long(), "margin", radius=0.1, rounds=60)
    slope = bends * (x.flatten(1) - 0.5) + 1
    wanted = (bends * slope**2).sum(1) / (slope**2).sum(1)
    torch.testing.assert_close(found.curvature, wanted)
    torch.testing.assert_close(found.eigenvalue, torch.full((5,), -7.0, dtype=torch.float64))
    torch.testing.assert_close(found.gap, (bends.sum() * 0.01 / 2).expand(5))


def test_a_gradient_under_the_floor_has_no_direction():
    far = nn.Sequential(WORLD.model, nn.Unflatten(1, (2, 1)), nn.Flatten())
    x, y = WORLD.x.float(), WORLD.y
    model = Ill(far.float(), "saturated")
    around = at_image(model, x, y, "ce", radius=0.001)
    path = along_path(model, x, y, "ce", radius=0.001)
    tiny = around.vanishing
    assert tiny.any() and around.curvature[tiny].isnan().all()
    still = path.below == 1
    assert still.any() and path.cosine[still].isnan().all() and path.turn[still].isnan().all()
    assert path.spreads()["cos_to_prev"].count <= int((~still).sum())
    WORLD.model.double()


def test_the_path_through_a_linear_model_is_straight():
    found = along_path(WORLD.model, WORLD.x, WORLD.y, "margin", radius=0.1, steps=4)
    means = {name: one.mean for name, one in found.spreads().items()}
    assert means == pytest.approx(
        {"grad_norm": SLOPE.norm().item(), "below_floor": 0.0, "cos_to_prev": 1.0,
         "sign_consistency": 1.0, "turn": 0.0, "gain_over_linear": 1.0}, abs=1e-6,
    )  # fmt: skip
    assert found.cosine[:, 0].isnan().all(), "the first step has no predecessor"
    sides = torch.where(WORLD.y == 0, 1.0, -1.0)  # two opposite directions, unevenly many
    torch.testing.assert_close(found.dir_var_step, (1 - sides.mean().abs()).expand(4))
    assert found.dir_var == pytest.approx(0, abs=1e-6)


def test_the_path_over_a_ridge_turns_at_every_step():
    x = torch.full((3, 1, 1, 1), 0.55)
    found = along_path(Bowl(torch.tensor([-2.0])), x, torch.zeros(3).long(), "margin", radius=0.4)
    assert (found.cosine[:, 1:] == -1).all() and (found.sign[:, 1:] == 0).all()
    assert found.turn[0] == pytest.approx(1 + 1 / 19) and found.gain.abs().max() < 1e-6


def test_no_image_depends_on_its_batch_mates():
    x, y = ill_worlds.some(12)
    for measure in (at_image, along_path):
        whole = measure(trained("plain"), x, y, "ce", radius=RADIUS)
        parts = measure(trained("plain"), x, y, "ce", radius=RADIUS, batch_size=5)
        for name, values in whole.indicators.items():
            torch.testing.assert_close(values, parts.indicators[name], rtol=1e-4, atol=1e-5)


def test_spreads_and_differences_by_hand():
    values = torch.tensor([1.0, 2.0, 3.0, torch.nan, torch.inf])
    found = spread(values)
    assert (found.mean, found.median, found.count) == (2.0, 2.0, 3)
    assert 1 <= found.low < 2 < found.high <= 3 and spread(values[3:]).count == 0
    first = torch.randn(50)
    same, more = difference(first, first), difference(first + 0.5, first)
    assert (same.mean, same.p) == (0.0, 1.0) and more.p == pytest.approx(1 / 1001)
    assert more.low == pytest.approx(0.5) and more.high == pytest.approx(0.5)
    with pytest.raises(BadInput, match="expected an image with both numbers"):
        difference(values[3:4], values[3:4])


def _frozen(x):
    with torch.no_grad():
        return x * 1.0


@pytest.mark.parametrize(("name", "operation"), [
    ("round", lambda x: (x * 9).round() / 9), ("sign", lambda x: torch.sign(x - 0.5)),
    ("detach", lambda x: x.detach()), ("data", lambda x: x.data),
    ("comparison", lambda x: (x < 0.5).float()), (None, lambda x: x * 2), ("no_grad", _frozen),
    ("comparison", lambda x: (x > 0.5) * 1.0),
    ("comparison", lambda x: torch.where(x > 0.5, 2, 1.0)),
    ("integers", lambda x: (x * 16 + 0.5).to(torch.uint8).float() / 16),
    ("integers", lambda x: (x * 255).byte() / 255), ("integers", lambda x: 0.1 * (x * 16).long()),
    ("integers", lambda x: (x * 255).int().floor_divide(16).mul(16).float() / 255),
    ("floor_divide", lambda x: torch.floor_divide(x, 0.1) / 10),
    ("floor_divide", lambda x: torch.floor_divide(x, other=0.1 * torch.ones(1)) / 10),
    ("floor_divide", lambda x: x // 0.1 / 10),
    ("div", lambda x: torch.div(x, 0.1, rounding_mode="floor") / 10),
    ("divide", lambda x: torch.divide(x, 0.1, rounding_mode="trunc") / 10),
    (None, lambda x: x.div(0.1) / 10), (None, lambda x: torch.where(x > 0, x, 0) * (x > 0)),
    (None, lambda x: x * ((x > 0) & (x < 2))),
])  # fmt: skip
def test_an_operation_without_gradient_is_found_and_bridged(name, operation):
    x, y = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
    net = linear_world().model.float()

    def model(pixels):
        return net(operation(pixels))

    met, missed = hidden(model, x)
    assert (met, missed) == ((name,) if name else (), ())
    slope = climb(VIEWS["straight-through"](model), x, y, margin)[1]
    assert (slope != 0).all(), "the gradient comes through"
    torch.testing.assert_close(VIEWS["straight-through"](model)(x), model(x))


@pytest.mark.parametrize(("name", "operation"), [
    ("bucketize", lambda x: torch.bucketize(x, torch.linspace(0, 1, 9)) / 9),
    ("__and__", lambda x: ((x * 255).byte() & 240).float() / 255),
    ("detach_", lambda x: (x * 1).detach_()),
])  # fmt: skip
def test_what_cannot_be_bridged_is_said(name, operation):
    net = linear_world().model.float()
    assert hidden(lambda x: net(operation(x)), torch.rand(4, 1, 4, 4))[1] == (name,)


def test_what_numpy_carries_off_is_said_and_bridged_by_its_shape():
    x, y = ill_worlds.some(5)
    model = Ill(trained("plain"), "numpy")
    assert hidden(model, x) == (("detach",), ("numpy",))
    assert (climb(model, x, y, margin)[1] == 0).all()
    assert (climb(VIEWS["straight-through"](model), x, y, margin)[1] != 0).any(1).any()


def test_views_keep_predictions_and_the_turned_one_turns():
    x, y = ill_worlds.some(20)
    model = trained("plain")
    for name in set(VIEWS) - {"smoothed", "logged"}:
        assert (VIEWS[name](model)(x).argmax(1) == model(x).argmax(1)).all(), name
    turned = climb(VIEWS["turned"](model), x, y, margin)[1]
    torch.testing.assert_close(turned, -climb(model, x, y, margin)[1])
    policy = Averaged(model, draws=3)(x)
    torch.testing.assert_close(policy, model(x).log_softmax(1))
    with pytest.raises(BadInput, match="expected a view out of"):
        ThroughViews(views=("sideways",))


def test_the_adaptive_attack_answers_what_was_found_within_the_budget():
    x, y = ill_worlds.some(40)
    found = Finding(name="gradients point the wrong way", evidence={}, meaning="", advice="")
    adaptive = answer([found], radius=RADIUS, steps=10, targets=0, queries=0)
    assert ("turned",) in [getattr(one, "views", None) for one in adaptive.attempts]
    attacks = {"pgd": PGD(radius=RADIUS), "adaptive": adaptive}
    ill = evaluate(Ill(trained("plain"), "wrong way"), x, y, attacks=attacks, radius=RADIUS)
    well = evaluate(trained("plain"), x, y, attacks=attacks, radius=RADIUS)
    assert ill.attacks[0].accuracy > 0.9 and ill.attacks[1].refused == 0
    assert ill.attacks[1].accuracy <= well.attacks[0].accuracy + 0.05


def test_random_points_are_in_the_ball_and_find_what_is_close():
    x, y = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3).long()
    near = Bowl(torch.zeros(4), 1.0)
    found = RandomPoints(radius=0.1, points=50)(near, x, y)
    assert (near(found).argmax(1) == 1).all() and (found - x).abs().max() <= 0.1 + 1e-6
    alone = RandomPoints(radius=0.1, points=50)(near, x[1:2], y[1:2], torch.tensor([1]))
    assert torch.equal(alone, found[1:2])
