"""BIM, MIM, noise, DeepFool, DDN and CW: against closed forms, and against other people's code."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from worlds import linear_world

from holdfast import attack
from holdfast import data as datasets
from holdfast.attack import BIM, CW, DDN, FGSM, MIM, PGD, DeepFool, GaussianNoise, UniformNoise
from holdfast.errors import BadInput
from holdfast.geometry import length
from holdfast.loss import margin
from holdfast.model import Metered, frozen, predict

NORMS = ["linf", "l2"]
RADII = {"linf": 0.01, "l2": 0.04}
CLIMB = [BIM(), MIM()]
MINIMAL = [
    DeepFool(),
    DeepFool(norm="linf"),
    DDN(steps=150, first=0.1, change=0.02),
    CW(first=0.001, lr=0.002, steps=60),
]
NOISE = [UniformNoise(repeats=3), GaussianNoise(repeats=3)]


@dataclass(frozen=True, eq=False)
class Digits:
    """A trained network and 100 test images that it gets right."""

    model: nn.Module
    x: Tensor
    y: Tensor


def trained(hardened: bool) -> Digits:
    """A small network of digits after a moment of training, on FGSM's images where `hardened`."""
    torch.manual_seed(0)
    data = datasets.load("digits")
    x, y = data.train.x, data.train.y
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 32), nn.ReLU(),
        nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            image = x[rows]
            if hardened:
                with frozen(model):
                    image = FGSM(radius=0.1)(model, image, y[rows])
            optimizer.zero_grad()
            F.cross_entropy(model(image), y[rows]).backward()
            optimizer.step()
    x, y = data.test.x, data.test.y
    right = (predict(model, x).argmax(1) == y).nonzero()[:100, 0]
    return Digits(model.eval().requires_grad_(False), x[right], y[right])


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "fgsm-trained"])
def digits(request: pytest.FixtureRequest) -> Digits:
    return trained(request.param)


def curved() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 40), nn.Tanh(), nn.Linear(40, 3)).double()


def quietly(call: Callable[[], Any]) -> Any:
    """A peer's answer; its warnings are its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


@pytest.mark.parametrize("one", [BIM(steps=40), MIM(steps=40), PGD(steps=40)], ids=repr)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stop", [True, False])
def test_climbing_finds_exactly_what_lies_within_its_radius(one, norm, stop):
    world, radius = linear_world(), RADII[norm]
    one = replace(one, radius=radius, norm=norm)
    adv = one(world.model, world.x, world.y, stop=stop)
    assert (length(adv - world.x, norm) <= radius * (1 + 1e-6)).all()
    wrong = world.model(adv).argmax(1) != world.y
    clear = (world.margin[norm] - radius).abs() > 0.02 * radius
    assert torch.equal(wrong[clear], (world.margin[norm] < radius)[clear])
    assert 0 < wrong.double().mean() < 1


@pytest.mark.parametrize("one", CLIMB, ids=repr)
def test_an_image_that_is_wrong_rests(one):
    """Where the first step is too long, later ones would go on: the shortest of them is kept."""
    world = linear_world()
    one = replace(one, radius=0.5, rel_stepsize=0.1)
    rested = length(one(world.model, world.x, world.y, stop=True) - world.x, "linf")
    steps = (world.margin["linf"] / 0.05).ceil()
    torch.testing.assert_close(rested, 0.05 * steps)
    further = one(world.model, world.x, world.y)
    assert (length(further - world.x, "linf") > rested + 0.01).any()


def test_momentum_is_the_sum_of_levelled_gradients():
    world, radius = linear_world(classes=4), 0.03
    plain, velocity = world.x.clone(), torch.zeros_like(world.x)
    for _ in range(7):
        plain.requires_grad_()
        loss = F.cross_entropy(world.model(plain), world.y, reduction="sum")
        (slope,) = torch.autograd.grad(loss, plain)
        velocity = 0.7 * velocity + slope / slope.abs().sum((1, 2, 3), keepdim=True)
        unit = velocity / velocity.square().sum((1, 2, 3), keepdim=True).sqrt()
        change = plain.detach() + 0.25 * radius * unit - world.x
        shrink = (radius / change.square().sum((1, 2, 3), keepdim=True).sqrt()).clamp(max=1)
        plain = (world.x + change * shrink).clamp(0, 1)
    mim = MIM(radius=radius, norm="l2", steps=7, rel_stepsize=0.25, decay=0.7)
    torch.testing.assert_close(mim(world.model, world.x, world.y), plain)


@pytest.mark.parametrize("restarts", [1, 3])
def test_pgd_that_may_rest_fools_what_it_would_have_fooled(digits, restarts):
    """And spends no pass on an image that is wrong."""
    pgd = PGD(radius=0.15, steps=10, restarts=restarts, best=True)
    every = pgd(digits.model, digits.x, digits.y)
    meter = Metered(digits.model)
    early = pgd(meter, digits.x, digits.y, stop=True)
    wrong = [digits.model(adv).argmax(1) != digits.y for adv in (early, every)]
    assert (wrong[0] | ~wrong[1]).all() and wrong[0].any()
    assert meter.backward < 0.9 * 10 * restarts * len(digits.x)


@pytest.mark.parametrize("name", ["BIM", "MIFGSM"])
def test_climbing_takes_the_path_of_torchattacks(digits, name):
    peers = pytest.importorskip("torchattacks", reason="torchattacks is the oracle")
    theirs = getattr(peers, name)(digits.model, eps=0.1, alpha=0.02, steps=10)
    wanted = quietly(lambda: theirs(digits.x, digits.y))
    ours = {"BIM": BIM, "MIFGSM": MIM}[name](radius=0.1, rel_stepsize=0.2, steps=10)
    found = ours(digits.model, digits.x, digits.y)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    early = ours(digits.model, digits.x, digits.y, stop=True)
    wrong = [digits.model(adv).argmax(1) != digits.y for adv in (early, wanted)]
    assert (wrong[0] | ~wrong[1]).all()


@pytest.mark.parametrize("one", NOISE, ids=repr)
@pytest.mark.parametrize("norm", NORMS)
def test_noise_stays_inside_and_the_best_draw_counts(one, norm):
    world, radius = linear_world(classes=5), 0.7
    one = replace(one, radius=radius, norm=norm)
    drawn, margins = [], []
    for repeats in range(1, 6):
        adv = replace(one, repeats=repeats)(world.model, world.x, world.y)
        drawn.append(adv)
        margins.append(margin(world.model(adv), world.y))
        assert (length(adv - world.x, norm) <= radius * (1 + 1e-6)).all()
        assert adv.min() >= 0 and adv.max() <= 1
    heights = torch.stack(margins)
    assert (heights.diff(dim=0) >= 0).all() and (heights[4] > heights[0]).any()
    other = replace(one, repeats=1, seed=1)(world.model, world.x, world.y)
    assert not torch.equal(other, drawn[0])


@pytest.mark.parametrize(
    ("one", "norm", "share"),
    [(UniformNoise(), "linf", 3**-0.5), (GaussianNoise(), "linf", 0.5 * 0.96),
     (UniformNoise(), "l2", 18**-0.5), (GaussianNoise(), "l2", 16**-0.5 * 0.93)],
)  # fmt: skip
def test_noise_has_the_deviation_it_should_have(one, norm, share):
    """Per pixel, as a share of the radius: of a uniform number, of a normal one cut at twice its
    deviation, and of 16 pixels that share one length."""
    x, radius = torch.full((2000, 1, 4, 4), 0.5), 0.2
    change = replace(one, radius=radius, norm=norm)(nn.Flatten(), x, torch.zeros(2000).long()) - x
    assert change.mean().abs() < 0.002
    torch.testing.assert_close(change.std().item(), radius * share, rtol=0.03, atol=0)


@pytest.mark.parametrize("one", [CW(searches=4, steps=50), DDN(steps=50)], ids=repr)
def test_logits_below_zero_and_far_apart_hide_nothing(digits, one):
    """Decisions as before: all logits negative, and a softmax that fp32 rounds to 0 and 1."""

    def sunk(x: Tensor) -> Tensor:
        return 300 * digits.model(x) - 50_000

    x, y = digits.x[:10], digits.y[:10]
    found = attack.run(one, sunk, x, y, y)
    assert (sunk(found).argmax(1) != y).all()
    usual = length(attack.run(one, digits.model, x, y, y) - x, "l2")
    assert length(found - x, "l2").mean() < 1.1 * usual.mean()


def test_confidence_is_a_lead_in_logits(digits):
    x, y = digits.x[:10], digits.y[:10]
    found = CW(searches=3, steps=50, confidence=2.0)(digits.model, x, y)
    assert (margin(digits.model(found), y) > 2).all()


def reach(one: object) -> float:
    """The distance below which the steps of DDN and CW are too long to be exact."""
    return 0.01 if isinstance(one, DDN | CW) else 0.0


@pytest.mark.parametrize("one", MINIMAL, ids=repr)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_nearest_image_of_another_class_is_found(one, scale):
    """Two linear classes: the margin is known, whatever the scale of the logits."""
    world = linear_world()

    def scaled(x: Tensor) -> Tensor:
        return scale * world.model(x)

    y = world.y.clone()
    y[:5] = 1 - y[:5]  # wrong already
    found = attack.run(one, scaled, world.x, y, torch.arange(32))
    assert (scaled(found).argmax(1) != y).all()
    truth = world.margin[one.norm][5:]
    share = length(found - world.x, one.norm)[5:] / truth
    assert (share > 1 - 1e-6).all() and (share[truth > reach(one)] < 1.025).all()
    assert torch.equal(found[:5], world.x[:5])


@pytest.mark.parametrize("one", MINIMAL[:2], ids=repr)
def test_the_nearest_of_many_classes_is_found(one):
    world = linear_world(classes=6)
    weight, logits = next(world.model.parameters()).detach(), world.model(world.x).detach()
    apart = weight[:, None] - weight[world.y]
    dual = apart.norm(dim=2) if one.norm == "l2" else apart.abs().sum(2)
    gap = logits.gather(1, world.y[:, None]) - logits
    truth = (gap / dual.T).masked_fill(gap == 0, torch.inf).amin(1)
    found = attack.run(one, world.model, world.x, world.y, torch.arange(32))
    share = length(found - world.x, one.norm) / truth
    assert (share > 1 - 1e-6).all() and (share < 1.025).all()


@pytest.mark.parametrize("one", MINIMAL, ids=repr)
def test_what_cannot_be_fooled_comes_back_as_it_was(one):
    x, y = torch.rand(5, 1, 4, 4), torch.zeros(5, dtype=torch.int64)
    weight = torch.zeros(16, 3)

    def blind(x: Tensor) -> Tensor:
        return x.flatten(1) @ weight + torch.tensor([-1.0, -2.0, -3.0])

    assert torch.equal(attack.run(one, blind, x, y, y), x)


ORACLES = [
    (DeepFool(), "L2DeepFoolAttack", {"steps": 50, "candidates": 10, "overshoot": 0.02}),
    (DeepFool(norm="linf"), "LinfDeepFoolAttack",
     {"steps": 50, "candidates": 10, "overshoot": 0.02}),
    (DDN(), "DDNAttack", {"steps": 100, "init_epsilon": 1.0, "gamma": 0.05}),
    (CW(searches=4, steps=50, lr=0.02), "L2CarliniWagnerAttack",
     {"binary_search_steps": 4, "steps": 50, "stepsize": 0.02, "initial_const": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "name", "options"), ORACLES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_no_further_away_than_foolbox(digits, ours, name, options):
    foolbox = quietly(lambda: pytest.importorskip("foolbox", reason="foolbox is the oracle"))
    theirs = getattr(foolbox.attacks, name)(**options)
    box = foolbox.PyTorchModel(digits.model, bounds=(0, 1))
    _, wanted, fooled = quietly(lambda: theirs(box, digits.x, digits.y, epsilons=None))
    found = attack.run(ours, digits.model, digits.x, digits.y, torch.arange(100))
    alone = torch.cat([digits.model(adv[None]).argmax(1) for adv in found])
    assert (alone != digits.y).all()
    assert found.min() >= 0 and found.max() <= 1
    distance, rival = (length(adv - digits.x, ours.norm) for adv in (found, wanted))
    assert distance.median() <= 1.01 * rival.where(fooled, torch.inf).median()


@pytest.mark.parametrize("one", [*CLIMB, *NOISE, *MINIMAL], ids=repr)
@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_attacked_alike_in_any_batch(one, norm):
    one = replace(one, norm=norm, radius=0.3) if hasattr(one, "radius") else one
    model, x, y = curved(), torch.rand(20, 1, 4, 4).double(), torch.randint(0, 3, (20,))
    index = torch.arange(100, 120)
    together = attack.run(one, model, x, y, index)
    picked = torch.tensor([13, 2, 7])
    apart = attack.run(one, model, x[picked], y[picked], index[picked])
    torch.testing.assert_close(apart, together[picked], rtol=0, atol=1e-12)
    if hasattr(one, "radius"):
        nothing = attack.run(replace(one, radius=0.0), model, x, y, index)
        assert torch.equal(nothing, x)
    none = attack.run(one, model, x[:0], y[:0], index[:0])
    assert none.shape == (0, 1, 4, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BIM(steps=0),
        lambda: MIM(decay=-1),
        lambda: UniformNoise(repeats=0),
        lambda: GaussianNoise(deviation=-1),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput, match="expected"):
        make()


def test_confidence_is_the_lead_that_is_wanted_and_not_twice_that(digits):
    """Of the images found with a lead of k, most have hardly more (Carlini and Wagner, eq. 6)."""
    cw = CW(confidence=2.0, searches=6, steps=80)
    adv = cw(digits.model, digits.x[:20], digits.y[:20])
    lead = margin(predict(digits.model, adv), digits.y[:20])
    assert (lead >= 2 - 1e-4).all() and lead.median() < 2.5
