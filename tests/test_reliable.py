"""The suite `reliable` and the two attacks that it is made of: short climbs, and warm Square."""

import dataclasses
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from worlds import linear_world

from holdfast import attack, loss
from holdfast import data as datasets
from holdfast.attack import MinMargin, Square
from holdfast.errors import BadInput
from holdfast.evaluation import SUITES, Task, evaluate
from holdfast.geometry import length
from holdfast.result import Evaluation
from holdfast.types import Norm

NORMS: list[Norm] = ["linf", "l2"]
RADII = {"linf": 0.08, "l2": 0.4}


def nearest_plane(world, norm: Norm) -> Tensor:
    """True distance to the nearest of the planes between the label's class and the others."""
    weight, logits = world.model[1].weight.detach(), world.model(world.x).detach()
    gap = logits.gather(1, world.y[:, None]) - logits
    dual = (weight[world.y][:, None] - weight).norm(p=1 if norm == "linf" else 2, dim=2)
    return (gap / dual).scatter(1, world.y[:, None], torch.inf).amin(1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("classes", "targets"), [(2, 0), (2, 3), (3, 9), (5, 4)])
def test_it_finds_exactly_what_lies_within_its_radius(norm, classes, targets):
    world = linear_world(classes=classes)
    distance = nearest_plane(world, norm)
    radius = distance.median().item() * 1.01
    adv = MinMargin(radius=radius, norm=norm, targets=targets)(world.model, world.x, world.y)
    assert (length(adv - world.x, norm) <= radius * (1 + 1e-6)).all()
    wrong = world.model(adv).argmax(1) != world.y
    clear = (distance - radius).abs() > 0.005 * radius
    assert torch.equal(wrong[clear], (distance < radius)[clear])


def curved(scale: float = 1.0) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A bent network, images with their predictions as labels, and points to set out from."""
    torch.manual_seed(1)
    body = (nn.Linear(16, 40), nn.Tanh(), nn.Linear(40, 5))
    model = nn.Sequential(nn.Flatten(), *body).double()
    x = torch.rand(40, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        for weight in body[-1].parameters():
            weight *= scale
        y = model(x).argmax(1)
    return model, x, y, MinMargin(radius=0.01, steps=5, targets=0)(model, x, y)


def height(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return loss.margin(model(x), y)


WARM = [
    MinMargin(radius=0.05, steps=3, targets=2),
    Square(radius=0.05, queries=5, share=0.1, rescale=True, warm=True),
]


@pytest.mark.parametrize("one", WARM, ids=lambda one: one.name)
def test_a_warm_start_is_never_lost(one):
    model, x, y, start = curved()
    still = dataclasses.replace(one, radius=0.0)
    assert torch.equal(still(model, x, y, None, start), x)
    best = MinMargin(radius=0.05, steps=60)(model, x, y)
    kept = one(model, x, y, None, best)
    assert (height(model, kept, y) >= height(model, best, y)).all()
    fresh = attack.run(one, model, x, y, torch.arange(len(x)), stop=True)
    assert (height(model, best, y) > height(model, fresh, y)).any()


def test_square_climbs_on_from_a_warm_start():
    model, x, y, start = curved()
    one = Square(radius=0.012, queries=20, share=0.1, rescale=True, warm=True)
    left = height(model, start, y) < 0
    risen = height(model, one(model, x, y, None, start), y) > height(model, start, y)
    assert risen[left].double().mean() > 0.9


def test_square_sets_out_as_published_unless_it_is_told_to():
    model, x, y, start = curved()
    one = Square(radius=0.05, queries=5)
    assert torch.equal(one(model, x, y, None, start), one(model, x, y))


def test_what_survives_comes_back_as_its_point_of_largest_margin():
    model, x, y, _ = curved()
    seen = []

    def watched(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return model(x)

    near = height(model, x, y) > -0.1  # of images further off than that none is fooled here
    x, y = x[~near], y[~near]
    adv = MinMargin(radius=0.01, norm="l2", steps=7, targets=0)(watched, x, y)
    highest = torch.stack([height(model, part, y) for part in seen]).amax(0)
    assert torch.equal(height(model, adv, y), highest)


def test_an_image_is_attacked_alike_in_any_batch_and_at_any_scale_of_logits():
    model, x, y, start = curved()
    one = MinMargin(radius=0.05, steps=5, near=0.9)
    index, picked = torch.arange(100, 140), torch.arange(39, 0, -3)
    together = attack.run(one, model, x, y, index, start)
    alone = attack.run(one, model, x[picked], y[picked], index[picked], start[picked])
    torch.testing.assert_close(alone, together[picked], rtol=0, atol=1e-12)
    large = attack.run(one, curved(1000.0)[0], x, y, index, start)
    fooled = height(model, together, y) > 0
    assert torch.equal(height(model, large, y) > 0, fooled) and 0 < fooled.double().mean() < 1


def test_images_far_from_every_boundary_are_left_alone():
    model, x, y, start = curved()
    to_go = height(model, start, y) / height(model, x, y)
    middle = to_go.median().item()
    adv = MinMargin(radius=0.05, steps=20, near=middle)(model, x, y, None, start)
    alone = to_go > middle
    assert torch.equal(adv[alone], start[alone])
    assert (height(model, adv, y) > height(model, start, y))[~alone].any()


@pytest.mark.parametrize("settings", [{"targets": -1}, {"near": 1.5}, {"steps": 0}, {"norm": "l1"}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(BadInput, match="expected"):
        MinMargin(**settings)


def test_a_single_class_is_refused_in_a_line():
    with pytest.raises(BadInput, match="logits of 2 classes or more, got 1"):
        MinMargin()(lambda x: x.flatten(1)[:, :1], torch.rand(2, 1, 2, 2), torch.zeros(2).long())


@cache
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network that learned the digits with FGSM, and 40 test images."""
    torch.manual_seed(0)
    data = datasets.load("digits")
    x, y = data.train.x, data.train.y
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(5):
        for part in torch.randperm(len(x)).split(64):
            adv = attack.FGSM(radius=0.1)(model, x[part], y[part])
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(adv), y[part]).backward()
            optimizer.step()
    return model, data.test.x[:40], data.test.y[:40]


@cache
def shortened_standard(norm: Norm) -> Evaluation:
    """AutoAttack without its queries, a quarter of APGD-T's steps and a 25th of FAB-T's."""
    model, x, y = digits()
    attacks = dict(SUITES["standard"](task(norm)).attacks)
    attacks.pop("square")
    attacks["apgd-t"] = attack.with_settings(attacks["apgd-t"], steps=25)
    attacks["fab-t"] = attack.with_settings(attacks["fab-t"], steps=4)
    return evaluate(model, x, y, attacks=attacks, cascade=True, radius=RADII[norm], norm=norm)


def task(norm: Norm) -> Task:
    return Task(radius=RADII[norm], norm=norm, classes=10, pixels=64)


@pytest.mark.parametrize(("norm", "scale"), [("linf", 1), ("linf", 1000), ("l2", 1)])
def test_reliable_leaves_what_standard_leaves_at_a_tenth_of_its_passes(norm, scale):
    """Scaled logits leave every prediction as it was, so that one run of standard serves both."""
    model, x, y = digits()

    def scaled(x: Tensor) -> Tensor:
        return scale * model(x)

    found = evaluate(scaled, x, y, "reliable", radius=RADII[norm], norm=norm)
    wanted = shortened_standard(norm)
    left = found.worst_case.correct.sum()
    assert 5 < left <= wanted.worst_case.correct.sum() + 1
    with_gradient = [attack.passes for attack in found.attacks if attack.backward]
    ce, targeted, fab = (attack.passes for attack in wanted.attacks)
    assert sum(with_gradient) <= (ce + 4 * targeted + 25 * fab) / 10


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_reliable_takes_few_classes(classes):
    world = linear_world(classes=classes)
    distance = nearest_plane(world, "linf")
    radius = distance.median().item() * 1.01
    found = evaluate(world.model, world.x, world.y, "reliable", radius=radius)
    clear = (distance - radius).abs() > 0.005 * radius
    assert torch.equal(found.worst_case.correct[clear], (distance > radius)[clear])
