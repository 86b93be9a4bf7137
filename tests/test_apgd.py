import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from worlds import linear_world

from holdfast import attack, loss
from holdfast import data as datasets
from holdfast.attack import APGD
from holdfast.attack.apgd import _periods
from holdfast.errors import BadInput
from holdfast.geometry import length
from holdfast.model import Metered

NORMS = ["linf", "l2"]
FORMS = [{"loss": "ce"}, {"loss": "dlr"}, {"loss": "dlr", "targets": 9}]
RADII = {"linf": 0.1, "l2": 0.5}
Pair = tuple[nn.Module, Tensor, Tensor]


def nearest_plane(world, norm: str) -> Tensor:
    """True distance to the nearest of the planes between the label's class and the others."""
    weight, logits = world.model[1].weight.detach(), world.model(world.x).detach()
    gap = logits.gather(1, world.y[:, None]) - logits
    normal = weight[world.y][:, None] - weight
    dual = normal.norm(p=1 if norm == "linf" else 2, dim=2)
    return (gap / dual).scatter(1, world.y[:, None], torch.inf).amin(1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("form", "classes"), [(FORMS[0], 2), (FORMS[1], 3), (FORMS[2], 4)], ids=str
)
def test_apgd_finds_exactly_what_lies_within_its_radius(norm, form, classes):
    world = linear_world(classes=classes)
    distance = nearest_plane(world, norm)
    radius = distance.median().item() * 1.01
    adv = APGD(radius=radius, norm=norm, steps=60, **form)(world.model, world.x, world.y)
    assert (length(adv - world.x, norm) <= radius * (1 + 1e-6)).all()
    assert adv.min() >= 0 and adv.max() <= 1
    wrong = world.model(adv).argmax(1) != world.y
    clear = (distance - radius).abs() > 0.005 * radius
    within = (distance < radius)[clear]
    assert not (wrong[clear] & ~within).any()
    if form != FORMS[1]:  # a gap to all classes at once need not lead to the nearest plane
        assert torch.equal(wrong[clear], within)


def test_the_checkpoints_are_those_of_the_paper():
    """w_j = ceil(p_j N), p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)."""
    assert list(_periods(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(_periods(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(_periods(50))[:5] == [11, 21, 30, 38, 45]  # as their code counts, not their text
    assert list(_periods(10)) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert _periods(1) == {1: 1}


def test_dlr_by_hand_and_blind_to_scale_and_shift():
    logits = torch.tensor([[4.0, 1.0, 2.0, 0.0], [4.0, 1.0, 2.0, 0.0]])
    y, target = torch.tensor([0, 1]), torch.tensor([2, 0])
    torch.testing.assert_close(loss.dlr(logits, y), torch.tensor([-2 / 3, 1.0]))
    wanted = torch.tensor([-2 / 3.5, 3 / 3.5])
    torch.testing.assert_close(loss.targeted_dlr(logits, y, target), wanted)
    moved = 1000 * logits + 7
    torch.testing.assert_close(loss.dlr(moved, y), loss.dlr(logits, y))
    torch.testing.assert_close(loss.targeted_dlr(moved, y, target), wanted)
    assert torch.isfinite(loss.dlr(torch.zeros(2, 4), y)).all()


@pytest.mark.parametrize(("form", "classes"), [(FORMS[1], 2), (FORMS[2], 3)])
def test_too_few_classes_to_rank_are_refused_in_a_line(form, classes):
    world = linear_world(classes=classes)
    with pytest.raises(BadInput, match=rf"expected {classes + 1} classes .* got {classes}; take"):
        APGD(**form)(world.model, world.x, world.y)


@pytest.mark.parametrize(
    "settings", [{"targets": -1}, {"targets": 9}, {"rho": 1.5}, {"steps": 0}, {"radius": -1.0}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(BadInput, match="expected"):
        APGD(**settings)


def curved(x: Tensor, classes: int = 5) -> nn.Module:
    torch.manual_seed(1)
    body = (nn.Linear(x[0].numel(), 40), nn.Tanh(), nn.Linear(40, classes))
    return nn.Sequential(nn.Flatten(), *body).to(x.dtype)


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_attacked_alike_in_any_batch(norm, form, stop):
    x = torch.rand(20, 1, 3, 2, dtype=torch.float64)
    model, index = curved(x), torch.arange(100, 120)
    y = model(x).argmax(1)
    one = APGD(radius=0.2, norm=norm, steps=10, restarts=2, **form)
    together = attack.run(one, model, x, y, index, stop=stop)
    picked = torch.tensor([13, 2, 7])
    apart = attack.run(one, model, x[picked], y[picked], index[picked], stop=stop)
    torch.testing.assert_close(apart, together[picked], rtol=0, atol=1e-12)
    still = attack.run(dataclasses.replace(one, radius=0.0), model, x, y, index)
    assert torch.equal(still, x)


def test_without_stop_points_are_at_least_as_high_and_more_restarts_never_lower_them():
    x = torch.rand(40, 1, 4, 4, dtype=torch.float64)
    model = curved(x)
    y = model(x).argmax(1)

    def height(one: APGD, stop: bool = False) -> Tensor:
        return loss.cross_entropy(model(one(model, x, y, stop=stop)), y)

    one = APGD(radius=0.3, steps=10)
    best, more = height(one), height(dataclasses.replace(one, restarts=4))
    first = height(one, stop=True)
    assert (best >= first - 1e-12).all() and (best > first + 1e-3).any()
    assert (more >= best - 1e-12).all() and (more > best + 1e-9).any()


def test_logits_a_thousand_times_as_large_do_not_stop_the_targeted_form():
    x = torch.rand(40, 1, 4, 4)
    model = curved(x)
    y = model(x).argmax(1)
    one = APGD(radius=0.05, steps=20, targets=9, loss="dlr")
    plain, large = (one(lambda x, k=k: k * model(x), x, y) for k in (1, 1000))
    fooled = model(plain).argmax(1) != y
    assert torch.equal(model(large).argmax(1) != y, fooled) and 0 < fooled.float().mean() < 1


@pytest.fixture(scope="module", params=["undefended", "fgsm"])
def digits(request: pytest.FixtureRequest) -> Pair:
    """A small network that learned the digits, with or without FGSM, and 256 test images."""
    torch.manual_seed(0)
    data = datasets.load("digits")
    x, y = data.train.x, data.train.y
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    model(x[:1])
    adversary = attack.FGSM(radius=0.1 if request.param == "fgsm" else 0.0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(5):
        for part in torch.randperm(len(x)).split(64):
            adv = adversary(model, x[part], y[part])
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(adv), y[part]).backward()
            optimizer.step()
    return model, data.test.x[:256], data.test.y[:256]


def oracle(model: nn.Module, one: APGD, x: Tensor):
    """The authors' attack, from our starting points: it takes them from whoever calls a run."""
    module = pytest.importorskip("pyautoattack.autopgd_base", reason="needs pyautoattack 0.2.0")
    made = {"n_iter": one.steps, "norm": one.norm.capitalize(), "eps": one.radius}
    if one.targets:
        theirs = module.APGDAttack_targeted(model, n_target_classes=one.targets, **made)
    else:
        theirs = module.APGDAttack(model, loss=one.loss, **made)
    whole, run, ranks = x, theirs.attack_single_run, iter(range(one.targets or 1))

    def started(x: Tensor, y: Tensor):
        index = (x[:, None] == whole).flatten(2).all(2).int().argmax(1)
        return run(x, y, x_init=one._start(x, index, next(ranks), 0))

    theirs.attack_single_run = started
    return theirs


@pytest.fixture
def doubles() -> Iterator[None]:
    """The authors' code makes its tensors in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("targets", [0, 1, 3], ids="{} targets".format)
@pytest.mark.parametrize("norm", NORMS)
def test_the_images_that_stand_are_those_of_the_authors(digits, norm, targets):
    model, x, y = digits
    form = "dlr" if targets else "ce"
    one = APGD(radius=RADII[norm], norm=norm, loss=form, targets=targets, steps=50)
    theirs = oracle(model, one, x).perturb(x, y)
    ours = one(model, x, y, stop=True)
    stand = model(theirs).argmax(1) == y
    assert torch.equal(model(ours).argmax(1) == y, stand)
    assert 0 < stand.float().mean() < 1


@pytest.mark.parametrize("form", FORMS[:2], ids=str)
@pytest.mark.parametrize("norm", NORMS)
def test_the_highest_losses_are_those_of_the_authors(digits, doubles, norm, form):
    """At all points for the cross-entropy; DLR has poles among the fooled. A point that has come
    to rest rises and falls by rounding alone, which now and then decides whether steps are halved:
    the authors' own answer then moves with the last bit of the start.
    """
    model, x, y = digits[0].double(), digits[1][:64].double(), digits[2][:64]
    one = APGD(radius=RADII[norm], norm=norm, **form)
    theirs = oracle(model, one, x)
    theirs.init_hyperparam(x)
    point, _, height, _ = theirs.attack_single_run(x, y)
    ours = one(model, x, y)
    tame = height < (torch.inf if one.loss == "ce" else 0)
    reached = loss.resolve_loss(one.loss)(model(ours), y)
    model.float()
    alike = (reached - height).abs()[tame] < 1e-8
    assert len(alike) > 16 and (~alike).sum() <= 1
    torch.testing.assert_close(ours[tame][alike], point[tame][alike], rtol=0, atol=1e-6)


class Dizzy(nn.Module):
    """A linear model whose gradient is its own only on the mean over many passes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.generator = inner, torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        drawn = torch.randn(x.shape, generator=self.generator, dtype=x.dtype)
        return self.inner(x) + 4 * (x * drawn).flatten(1).sum(1, keepdim=True) * SIDES


SIDES = torch.tensor([[1.0, -1.0]], dtype=torch.float64)


def test_the_mean_of_many_gradients_leads_where_one_does_not():
    world = linear_world(count=20)
    gap = [1e-3, 2e-3]
    apgd = APGD(radius=0.02, steps=8, loss="margin")
    for place, draws in enumerate((1, 60)):
        adv = dataclasses.replace(apgd, draws=draws)(Dizzy(world.model), world.x, world.y)
        gap[place] = loss.margin(world.model(adv), world.y).mean().item()
    assert gap[1] > gap[0] + 0.05
    with pytest.raises(BadInput, match="draws of 1 or more"):
        APGD(draws=0)


def test_a_draw_is_a_pass():
    world, meter = linear_world(count=20), Metered(linear_world(count=20).model)
    APGD(radius=1e-6, steps=5, draws=3)(meter, world.x, world.y)
    assert meter.backward == 20 * 3 * 5 and meter.forward == 20 * (3 * 5 + 2)
