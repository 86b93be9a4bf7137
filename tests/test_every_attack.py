"""What holds for every attack, in one table: rules, traces, batches, seeds, models of any kind."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.attack import ATTACKS, Targeted, Transfer, with_settings
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.model import Metered

SHORT = {
    "apgd": {"steps": 8}, "bim": {"steps": 4}, "pgd": {"steps": 4}, "mim": {"steps": 4},
    "transfer-mim": {"steps": 4}, "min-margin": {"steps": 5}, "ddn": {"steps": 12},
    "cw": {"searches": 3, "steps": 20}, "fab": {"steps": 4}, "square": {"queries": 30},
    "hop-skip-jump": {"queries": 120}, "boundary": {"queries": 120}, "simba": {"queries": 30},
}  # fmt: skip
EVERY = {name: made(**SHORT.get(name, {})) for name, made in ATTACKS.items()}
RADIUS = 0.08
PGD = ATTACKS["pgd"](radius=RADIUS, steps=4)
EVERY["transfer"] = Transfer(attack=PGD, source=nn.Sequential(nn.Flatten(), nn.Linear(36, 4)))
EVERY["targeted"] = Targeted(attack=PGD)
COUNT = 12


def network(classes: int = 4) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
            nn.Flatten(), nn.Linear(96, classes),
        )  # fmt: skip


def images(classes: int = 4) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    """A network, images, and its own predictions as their labels."""
    model = network(classes)
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(COUNT, 1, 6, 6, generator=generator)
    with torch.no_grad():
        return model, x, copy.deepcopy(model).eval()(x).argmax(1)


def within(attack, **settings):
    """The attack with those of these settings that it has."""
    known = {field.name for field in dataclasses.fields(attack)}
    return with_settings(attack, **{k: v for k, v in settings.items() if k in known})


def judged(name: str, model, x, y, **settings):
    attack = within(EVERY[name], radius=RADIUS, norm="linf")
    norm = getattr(attack, "norm", "linf")
    chosen = {"radius": RADIUS if norm == "linf" else 6 * RADIUS, "norm": norm}
    return evaluate(model, x, y, attacks={name: attack}, **chosen | settings)


@pytest.mark.parametrize("name", EVERY)
def test_an_attack_keeps_the_rules_and_leaves_no_trace(name):
    model, x, y = images()
    model[3].eval()
    modes = [module.training for module in model.modules()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    kept = x.clone(), y.clone()
    states = torch.get_rng_state(), str(np.random.get_state())
    found = judged(name, model, x, y)
    assert found.attacks[0].refused == 0
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(x, kept[0]) and torch.equal(y, kept[1])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert str(np.random.get_state()) == states[1]


@pytest.mark.parametrize("name", EVERY)
def test_an_image_does_not_know_its_batch(name):
    model, x, y = images()
    whole = judged(name, model, x, y)
    again = judged(name, model, x, y)
    assert torch.equal(whole.adv, again.adv)
    rows = torch.tensor([7, 2, 5, 0])
    some = judged(name, model, x[rows], y[rows], index=rows, batch_size=3)
    torch.testing.assert_close(some.attacks[0].distance, whole.attacks[0].distance[rows],
                               rtol=1e-3, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", [n for n in ATTACKS if n != "fab" and hasattr(EVERY[n], "radius")])
def test_no_budget_is_no_change(name):
    model, x, y = images()
    attack = with_settings(EVERY[name], radius=0.0)
    assert torch.equal(attack(copy.deepcopy(model).eval(), x, y), x)


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("name", EVERY)
def test_any_number_of_classes_and_float64(name, classes):
    model, x, y = images(classes)
    if name == "transfer":
        pytest.skip("its source has 4 classes")
    found = judged(name, model.double(), x, y)
    assert found.attacks[0].distance.dtype == torch.float64 and found.attacks[0].refused == 0


class Proud(nn.Module):
    """As many a network is written, which cannot take a batch of no images."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert len(x) > 0
        return self.net(x.view(len(x), -1).view(x.shape))


@pytest.mark.parametrize("name", EVERY)
def test_no_model_is_shown_no_images(name):
    """Also once all have fallen, and with fewer queries than the start takes."""
    model, x, y = images()
    more = {"restarts": 3, "targets": 2, "loss": "dlr", "repeats": 2}
    attack = within(EVERY[name], radius=1.0, norm="linf", **(more if name == "apgd" else {}))
    few = within(attack, queries=8)
    for one in (attack, few):
        for labels in (y, (y + 1) % 4):
            evaluate(Proud(model), x, labels, attacks={name: one}, radius=1.0)


class Sick(nn.Module):
    """No number for images brighter than one of them by a hair in the first pixel."""

    def __init__(self, net: nn.Module, image: torch.Tensor) -> None:
        super().__init__()
        self.net, self.image = net, image

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = (x - self.image).flatten(1).norm(dim=1)
        ill = (near > 0) & (near < 1.5)
        return torch.where(ill[:, None], torch.nan, self.net(x))


@pytest.mark.parametrize("name", EVERY)
def test_one_bad_image_harms_no_other(name):
    model, x, y = images()
    whole = judged(name, model, x, y)
    apart = [row for row in range(COUNT) if row != 4 and (x[row] - x[4]).norm() > 2.2]
    sick = judged(name, Sick(model, x[4]), x, y)
    assert len(apart) > 4
    torch.testing.assert_close(sick.attacks[0].distance[apart], whole.attacks[0].distance[apart],
                               rtol=1e-3, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", [n for n in EVERY if n not in ("square", "transfer-mim")])
def test_inputs_of_any_shape(name):
    """Rows of a table are attacked as the pixels of an image are."""
    model, x, y = images()
    flat = nn.Sequential(nn.Unflatten(1, (1, 6, 6)), model)
    if name == "transfer":
        pytest.skip("its source takes images")
    whole, rows = judged(name, model, x, y), judged(name, flat, x.flatten(1), y)
    torch.testing.assert_close(rows.attacks[0].distance, whole.attacks[0].distance)


@pytest.mark.parametrize("name", ["square", "transfer-mim"])
def test_an_attack_that_moves_patches_asks_for_images(name):
    model, x, y = images()
    flat = nn.Sequential(nn.Unflatten(1, (1, 6, 6)), model)
    with pytest.raises(BadInput, match=r"channel, height, width"):
        judged(name, flat, x.flatten(1), y)


@pytest.mark.parametrize("name", ATTACKS)
def test_passes_are_those_of_the_model(name):
    model, x, y = images()
    seen = {"images": 0}

    class Counting(nn.Module):
        def forward(self, x):
            seen["images"] += len(x)
            return model(x)

    attack, meter = within(EVERY[name], radius=RADIUS, norm="linf"), Metered(Counting())
    model.eval()
    attack(meter, x, y)
    assert meter.forward == seen["images"]


@pytest.mark.parametrize("name", EVERY)
def test_no_graph_is_left_and_labels_may_be_of_any_integer_kind(name):
    """Called directly, on images that ask for a gradient."""
    model, x, y = images()
    attack = within(EVERY[name], radius=RADIUS)
    adv = attack(model.eval(), x.clone().requires_grad_(), y)
    assert not adv.requires_grad
    assert torch.equal(attack(model, x, y.int()), adv)


@pytest.mark.parametrize("name", EVERY)
def test_an_attack_can_be_copied_and_pickled(name):
    for again in (copy.deepcopy(EVERY[name]), pickle.loads(pickle.dumps(EVERY[name]))):
        assert type(again) is type(EVERY[name]) and again.name == EVERY[name].name
    assert EVERY[name].name == name


def test_attacks_by_gradient_say_that_inference_mode_has_none():
    model, x, y = images()
    with (
        torch.inference_mode(),
        pytest.raises(BadInput, match=r"inference_mode; take torch\.no_grad"),
    ):
        evaluate(model, x, y, attacks={"pgd": PGD}, radius=RADIUS)


@pytest.mark.parametrize("name", EVERY)
def test_labels_may_be_narrower(name):
    model, x, y = images()
    attack = within(EVERY[name], radius=RADIUS)
    found, other = (attack(copy.deepcopy(model).eval(), x, some) for some in (y, y.int()))
    assert torch.equal(found, other)


class Trap(nn.Module):
    """Whose gradient is no number in dark pixels, as of every `where` around a root."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network().eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(torch.where(x > 0.2, (x - 0.2).sqrt(), 0.0))


@pytest.mark.parametrize("name", ["pgd", "cw", "ddn", "deepfool", "fab", "apgd"])
def test_a_gradient_that_is_no_number_in_some_pixels_stops_no_attack(name):
    model, (_, x, _) = Trap(), images()
    attack = within(ATTACKS[name](), radius=0.3)
    found = evaluate(model, x, model(x).argmax(1), attacks={name: attack}, radius=0.3)
    assert x.lt(0.2).any((1, 2, 3)).all()
    assert found.attacks[0].distance.isfinite().double().mean() > 0.8
