"""The l1 ball inside the pixel box, and the attacks that keep within it."""

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn
from worlds import linear_world

from holdfast import attack
from holdfast.attack import FGSM, PGD, UniformNoise
from holdfast.errors import BadInput
from holdfast.evaluation import acceptable, evaluate
from holdfast.geometry import confine, length
from holdfast.types import Images, Logits

DENSE = ["apgd", "bim", "deepfool", "fab", "gaussian-noise", "hop-skip-jump", "mim", "square"]


def points(dtype: torch.dtype = torch.float64) -> Tensor:
    """Images with pixels everywhere in the box, its bounds included."""
    return (1.4 * torch.rand(20, 1, 4, 4, dtype=dtype) - 0.2).clamp(0, 1)


@pytest.mark.parametrize("radius", [0.0, 0.3, 3.0, 100.0])
def test_no_point_of_ball_and_box_is_nearer_than_the_projection(radius):
    """The nearest point z of a convex set has (adv - z)(other - z) <= 0 for every other point."""
    x, adv = points(), 3 * torch.randn(20, 1, 4, 4, dtype=torch.float64)
    held = confine(x, adv, radius, "l1")
    assert (length(held - x, "l1") <= radius).all() and held.min() >= 0 and held.max() <= 1
    for _ in range(30):
        other = confine(x, x + 0.3 * torch.randn_like(x) * (torch.rand_like(x) < 0.3), radius, "l1")
        assert (((adv - held) * (other - held)).flatten(1).sum(1) <= 1e-9).all()


def test_what_lies_in_ball_and_box_stays_as_it_is():
    x = points()
    near = confine(x, x + 0.05 * torch.randn_like(x), 0.5, "l1")
    torch.testing.assert_close(confine(x, near, 0.5, "l1"), near, rtol=0, atol=1e-12)
    inside = x + 0.5 * (near - x)
    torch.testing.assert_close(confine(x, inside, 0.5, "l1"), inside, rtol=0, atol=1e-15)


def test_rounding_leaves_a_large_image_inside_its_ball():
    x = torch.rand(8, 3, 64, 64)
    adv = confine(x, x + torch.randn_like(x), 12.0, "l1")
    assert acceptable(x, adv, 12.0, "l1").all()
    assert (length(adv - x, "l1") > 12 - 1e-3).all()


class Plane(nn.Module):
    """Two logits, the second linear in the pixels."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Images) -> Logits:
        second = (x.flatten(1) * self.slope).sum(1)
        return torch.stack([torch.zeros_like(second), second], 1)


@pytest.mark.parametrize(
    ("one", "share"), [(FGSM(norm="l1"), 1 - 1e-9),
                       (PGD(norm="l1", rel_stepsize=0.05, steps=60, best=True), 0.97)],
    ids=["fgsm", "pgd"],
)  # fmt: skip
def test_a_linear_model_rises_as_much_as_a_linear_program_says(one, share):
    """Pixels at their bounds have no room: the true answer is one of ball and box together."""
    x, slope, radius = points()[:6], torch.randn(16, dtype=torch.float64), 2.5
    y = torch.zeros(6, dtype=torch.int64)
    adv = attack.with_settings(one, radius=radius)(Plane(slope), x, y)
    rise = ((adv - x).flatten(1) * slope).sum(1)
    both = torch.cat([slope, -slope])
    for found, image in zip(rise, x.flatten(1), strict=True):
        room = torch.cat([1 - image, image]).tolist()
        bounds = [(0, most) for most in room]
        answer = linprog(-both.numpy(), A_ub=[[1.0] * 32], b_ub=[radius], bounds=bounds)
        assert share * -answer.fun <= found.item() <= -answer.fun + 1e-9


@pytest.mark.parametrize("one", [FGSM(), PGD(steps=40), PGD(steps=40, start="clean")], ids=repr)
def test_an_attack_finds_exactly_what_lies_within_its_radius(one):
    world, radius = linear_world(), 0.05
    adv = attack.with_settings(one, radius=radius, norm="l1")(world.model, world.x, world.y)
    assert (length(adv - world.x, "l1") <= radius * (1 + 1e-9)).all()
    wrong = world.model(adv).argmax(1) != world.y
    clear = (world.margin["l1"] - radius).abs() > 0.02 * radius
    assert torch.equal(wrong[clear], (world.margin["l1"] < radius)[clear])
    assert 0 < wrong.double().mean() < 1


@pytest.mark.parametrize("one", [FGSM(), PGD(steps=3), UniformNoise(repeats=2)], ids=repr)
def test_an_image_does_not_depend_on_its_batch_mates(one):
    one, index = attack.with_settings(one, norm="l1", radius=1.0), torch.arange(20) + 7
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    x, y, some = points(), torch.arange(20) % 3, torch.tensor([11, 3])
    together = attack.run(one, model, x, y, index)
    apart = attack.run(one, model, x[some], y[some], index[some])
    torch.testing.assert_close(apart, together[some], rtol=0, atol=1e-12)
    assert acceptable(x, together, 1.0, "l1").all() and (together != x).any()


@pytest.mark.parametrize("name", DENSE)
def test_attacks_made_for_other_norms_say_so(name):
    with pytest.raises(BadInput, match="expected norm linf or l2, got l1; fgsm, pgd"):
        attack.ATTACKS[name](norm="l1")


def test_the_evaluator_measures_in_l1():
    world = linear_world()
    found = evaluate(world.model, world.x, world.y, radius=0.05, norm="l1")
    assert torch.equal(found.worst_case.correct, world.margin["l1"] > 0.05)


def test_the_quick_suite_comes_near_the_optimum_of_a_linear_model():
    """The optimum fills pixels to their ends, those of the largest weights first."""
    generator = torch.Generator().manual_seed(1)
    weight = 3 * torch.empty(3, 64).uniform_(-0.125, 0.125, generator=generator)
    bias = torch.tensor([1.5, 0.0, 0.0])
    x = 0.3 + 0.4 * torch.rand(150, 1, 8, 8, generator=generator)
    radius, logits = 2.7, x.flatten(1) @ weight.T + bias
    y = logits.argmax(1)
    robust = torch.ones(len(x), dtype=torch.bool)
    for rival in range(3):
        gain = weight[rival] - weight[y]
        room = torch.where(gain > 0, 1 - x.flatten(1), x.flatten(1))
        steep, order = gain.abs().sort(1, descending=True)
        room = room.gather(1, order)
        used = torch.minimum(room, (radius - (room.cumsum(1) - room)).clamp_min(0))
        gap = logits.gather(1, y[:, None])[:, 0] - logits[:, rival]
        robust &= (y == rival) | ((used * steep).sum(1) <= gap)
    found = evaluate(lambda x: x.flatten(1) @ weight.T + bias, x, y, radius=radius, norm="l1")
    truth = robust.double().mean().item()
    assert 0.2 < truth < 0.95 and truth <= found.worst_case.accuracy + 1e-9
    assert found.worst_case.accuracy - truth < 0.015
