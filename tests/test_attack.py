import dataclasses
from typing import Any

import pytest
import torch
from torch import nn
from worlds import linear_world

from holdfast import attack, loss
from holdfast.attack import BIM, CW, DDN, FAB, FGSM, MIM, PGD, DeepFool
from holdfast.errors import BadInput
from holdfast.geometry import length
from holdfast.model import frozen

NORMS = ["linf", "l2"]
RADII = {"linf": 0.01, "l2": 0.04}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_fgsm_takes_the_step_that_is_best_against_a_linear_model(norm, loss):
    """The whole radius along the dual direction lowers the gap by radius times the dual norm."""
    world, radius = linear_world(), RADII[norm]
    adv = FGSM(radius=radius, norm=norm, loss=loss)(world.model, world.x, world.y)
    torch.testing.assert_close(length(adv - world.x, norm), torch.full((32,), radius).double())
    wrong = world.model(adv).argmax(1) != world.y
    assert torch.equal(wrong, world.margin[norm] < radius)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", ["random", "clean"])
@pytest.mark.parametrize("restarts", [1, 2])
def test_pgd_finds_exactly_what_lies_within_its_radius(norm, start, restarts):
    world, radius = linear_world(), RADII[norm]
    pgd = PGD(radius=radius, norm=norm, steps=40, start=start, restarts=restarts)
    adv = pgd(world.model, world.x, world.y)
    assert (length(adv - world.x, norm) <= radius * (1 + 1e-6)).all()
    wrong = world.model(adv).argmax(1) != world.y
    clear = (world.margin[norm] - radius).abs() > 0.02 * radius
    assert torch.equal(wrong[clear], (world.margin[norm] < radius)[clear])
    assert 0 < wrong.double().mean() < 1


def test_pgd_takes_the_path_of_a_plain_loop():
    world = linear_world()
    x, y, radius = world.x, world.y, 0.03
    plain = x.clone()
    for _ in range(7):
        plain.requires_grad_()
        loss = nn.functional.cross_entropy(world.model(plain), y)
        (slope,) = torch.autograd.grad(loss, plain)
        step = plain.detach() + 0.25 * radius * slope.sign()
        plain = torch.max(torch.min(step, x + radius), x - radius).clamp(0, 1)
    found = PGD(radius=radius, steps=7, start="clean")(world.model, x, y)
    torch.testing.assert_close(found, plain)


def curved() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 40), nn.Tanh(), nn.Linear(40, 3)).double()


def test_more_restarts_and_the_best_iterate_never_lower_the_loss():
    model, x, y = curved(), torch.rand(40, 1, 4, 4).double(), torch.randint(0, 3, (40,))

    def height(pgd: PGD) -> torch.Tensor:
        return nn.functional.cross_entropy(model(pgd(model, x, y)), y, reduction="none")

    last = PGD(radius=0.3, steps=6, rel_stepsize=1.0)
    best = height(dataclasses.replace(last, best=True))
    assert (best >= height(last) - 1e-12).all() and (best > height(last) + 1e-6).any()
    more = height(dataclasses.replace(last, restarts=5))
    assert (more >= best - 1e-12).all() and (more > best + 1e-6).any()


@pytest.mark.parametrize("one", [FGSM(radius=0.2), PGD(radius=0.2, steps=3)], ids=repr)
@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_attacked_alike_in_any_batch(one, norm):
    one = dataclasses.replace(one, norm=norm)
    model, x, y = curved(), torch.rand(20, 1, 4, 4).double(), torch.randint(0, 3, (20,))
    index = torch.arange(100, 120)
    together = attack.run(one, model, x, y, index)
    picked = torch.tensor([13, 2, 7])
    apart = attack.run(one, model, x[picked], y[picked], index[picked])
    torch.testing.assert_close(apart, together[picked], rtol=0, atol=1e-12)


class Odd(nn.Module):
    """Batch normalisation, dropout, and submodules in unlike modes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5),
            nn.InstanceNorm2d(4, track_running_stats=True), nn.Flatten(), nn.Linear(16, 3),
        )  # fmt: skip
        self.body[1].eval()
        self.body[0].weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_lent_model_comes_back_as_it_was(mode, fails):
    model = Odd()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    learned = [weight.requires_grad for weight in model.parameters()]
    x, y = torch.rand(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64)
    try:
        with frozen(model, mode):
            assert model.body[2].training == (mode == "train")
            assert not model.body[1].training
            PGD(radius=0.1, steps=2)(model, x, y)
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert modes == [module.training for module in model.modules()]
    assert learned == [weight.requires_grad for weight in model.parameters()]
    assert all(weight.grad is None for weight in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_an_attack_does_to_gradients_of_the_weights_is_undone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    model(torch.rand(4, 1, 4, 4)).sum().backward()
    kept = [weight.grad for weight in model.parameters()]
    with frozen(model):
        model.zero_grad()
    assert all(w.grad is grad for w, grad in zip(model.parameters(), kept, strict=True))


def test_a_graph_from_before_an_attack_stays_good():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    x, y = torch.rand(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64)
    logits = model(x)
    with frozen(model):
        FGSM(radius=0.1)(model, x, y)
    logits.sum().backward()


@pytest.mark.parametrize(
    "make",
    [lambda: FGSM(radius=-1), lambda: FGSM(radius=float("nan")), lambda: PGD(steps=0),
     lambda: PGD(restarts=0), lambda: DDN(first=0.0),
     lambda: attack.with_settings(lambda m, x, y: x, radius=1)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput, match="expected"):
        make()


def test_more_restarts_lose_no_image_that_one_had_fooled():
    """A loss that says nothing of what fools: the last point of a restart is the worst one."""
    world = linear_world()
    model, x, y = world.model.float(), world.x.float(), world.y

    def turned(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -loss.margin(logits, y)

    radius = world.margin["linf"].median().item() * 3
    settings: dict[str, Any] = {"radius": radius, "steps": 1, "rel_stepsize": 1e-6, "loss": turned}
    one, more = (PGD(restarts=count, **settings)(model, x, y, stop=True) for count in (1, 20))
    fooled = [model(adv).argmax(1) != y for adv in (one, more)]
    assert fooled[0].any() and not (fooled[0] & ~fooled[1]).any()


@pytest.mark.parametrize(
    "attack", [DDN(), CW(searches=6, steps=60), DeepFool(norm="l2"), FAB(norm="l2")], ids=repr
)
def test_a_class_that_is_masked_stops_no_minimum_norm_attack(attack):
    world = linear_world()
    plain, x, y = world.model.float(), world.x.float(), world.y

    def masked(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([plain(x), torch.full((len(x), 1), -torch.inf)], 1)

    bare, found = (length(attack(model, x, y) - x, "l2") for model in (plain, masked))
    right = plain(x).argmax(1) == y
    assert (bare[right] > 0).all() and (found[right] > 0).all()
    torch.testing.assert_close(found, bare, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize(
    "bad", [{"rel_stepsize": 0.0}, {"rel_stepsize": -1.0}, {"rel_stepsize": float("nan")}]
)
@pytest.mark.parametrize("kind", [PGD, BIM, MIM])
def test_a_stride_that_does_not_climb_is_refused(kind, bad):
    with pytest.raises(BadInput, match="rel_stepsize above 0"):
        kind(**bad)
