import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn
from worlds import linear_world

from holdfast import attack
from holdfast.attack import FAB
from holdfast.errors import BadInput
from holdfast.geometry import length, to_plane

NORMS = ["linf", "l2"]


def plane(count: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Images (some pixels at a bound), gradients (some zero) and gaps that the box can close."""
    x = (torch.rand(count, 2, 3, 4).double() * 1.4 - 0.2).clamp(0, 1)
    slope = torch.randn_like(x) * (torch.rand_like(x) > 0.2)
    gap = torch.randn(count).double().sign()
    room = torch.where(slope * gap[:, None, None, None] > 0, x, 1 - x)
    share = torch.linspace(0.01, 0.99, count).double()
    return x, gap * share * (slope.abs() * room).flatten(1).sum(1), slope


def bisected(x: Tensor, gap: Tensor, slope: Tensor, norm: str) -> Tensor:
    """The same change by 100 halvings of the time, one image at a time."""
    found = []
    for one, need, rise in zip(x, gap, slope, strict=True):
        speed = -need.sign() * (rise.sign() if norm == "linf" else rise)
        low, high = 0.0, 1e6
        for _ in range(100):
            time = (low + high) / 2
            change = (one + time * speed).clamp(0, 1) - one
            left = (need + (rise * change).sum()) * need.sign()
            low, high = (time, high) if left > 0 else (low, time)
        found.append((one + high * speed).clamp(0, 1) - one)
    return torch.stack(found)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_the_way_to_a_plane_is_that_of_a_bisection(norm, scale):
    x, gap, slope = plane(16)
    change = to_plane(x, scale * gap, scale * slope, norm)
    torch.testing.assert_close(change, bisected(x, gap, slope, norm), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close((slope * change).flatten(1).sum(1), -gap)


def test_no_way_to_a_plane_is_shorter():
    """The largest change of a pixel, made small by a linear programme."""
    x, gap, slope = plane(8)
    for one, need, rise in zip(x.flatten(1), gap, slope.flatten(1), strict=True):
        pixels = len(one)
        eye = torch.eye(pixels).double()
        rows = torch.cat([torch.cat([eye, -eye]), -torch.ones(2 * pixels, 1).double()], 1)
        solved = linprog(
            [0.0] * pixels + [1.0], A_ub=rows.numpy(), b_ub=[0.0] * 2 * pixels,
            A_eq=[[*rise.tolist(), 0.0]], b_eq=[-need.item()],
            bounds=[*zip((-one).tolist(), (1 - one).tolist(), strict=True), (0, None)],
        )  # fmt: skip
        shaped = (1, 1, 1, pixels)
        found = to_plane(one.view(shaped), need[None], rise.view(shaped), "linf")
        assert abs(found.abs().max().item() - solved.fun) < 1e-9


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_out_of_reach_is_approached_and_one_underfoot_costs_nothing(norm):
    x, gap, slope = plane()
    far = to_plane(x, 1e3 * gap.sign(), slope, norm)
    best = torch.where(slope * gap[:, None, None, None] > 0, 0.0, 1.0).double()
    torch.testing.assert_close(x + far, torch.where(slope == 0, x, best))
    assert to_plane(x, torch.zeros(40).double(), slope, norm).abs().max() == 0
    assert to_plane(x, gap, torch.zeros_like(slope), norm).abs().max() == 0


def curved(classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Linear(16, 40), nn.Tanh(), nn.Linear(40, classes)
    return nn.Sequential(nn.Flatten(), *layers).double()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", [{}, {"restarts": 2, "radius": 1e-4}])
def test_fab_finds_the_distance_to_the_plane_of_a_linear_model(norm, start):
    world = linear_world()
    adv = FAB(norm=norm, steps=20, **start)(world.model, world.x, world.y)
    assert (world.model(adv).argmax(1) != world.y).all()
    found = length(adv - world.x, norm)
    assert (found >= world.margin[norm] * (1 - 1e-9)).all()
    assert (found <= world.margin[norm] * 1.01).all()


@pytest.mark.parametrize("norm", NORMS)
def test_all_targets_are_needed_for_the_nearest_plane_of_many(norm):
    world = linear_world(classes=5)
    weight = world.model[1].weight.detach()  # pyright: ignore
    logits = world.model(world.x).detach()
    true = logits.gather(1, world.y[:, None])
    normal = (weight[world.y][:, None] - weight[None]).norm(1 if norm == "linf" else 2, dim=2)
    margin = (true - logits) / normal  # 0 / 0 at the class itself
    margin = margin.scatter(1, world.y[:, None], torch.inf).amin(1)
    found, fewer = (
        length(
            FAB(norm=norm, steps=20, targets=targets)(world.model, world.x, world.y) - world.x, norm
        )
        for targets in (9, 1)
    )
    assert ((found >= margin * (1 - 1e-9)) & (found <= margin * 1.01)).all()
    assert (fewer > margin * 1.05).any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_an_image_is_attacked_alike_in_any_batch_and_stays_in_the_box(norm, classes):
    model = curved(classes)
    x, y = torch.rand(20, 1, 4, 4).double(), torch.randint(0, classes, (20,))
    index, fab = torch.arange(100, 120), FAB(norm=norm, steps=5, restarts=2, radius=0.05, targets=3)
    together = attack.run(fab, model, x, y, index)
    assert together.min() >= 0 and together.max() <= 1 and together.dtype == x.dtype
    wrong = model(x).argmax(1) != y
    assert torch.equal(together[wrong], x[wrong])
    picked = torch.tensor([13, 2, 7])
    apart = attack.run(fab, model, x[picked], y[picked], index[picked])
    torch.testing.assert_close(apart, together[picked], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_logits_does_not_matter(scale):
    model = curved()
    x = torch.rand(10, 1, 4, 4).double()
    y, fab = model(x).argmax(1), FAB(steps=5)
    torch.testing.assert_close(fab(lambda x: scale * model(x), x, y), fab(model, x, y))


def test_more_restarts_never_lead_further_and_a_radius_saves_targets():
    bent, passes = curved(6), [0]
    x = torch.rand(20, 1, 4, 4).double()

    def model(x: Tensor) -> Tensor:
        return bent(15 * x)

    y = model(x).argmax(1)

    def counted(x: Tensor) -> Tensor:
        passes[0] += len(x)
        return model(x)

    once, twice = (
        length(FAB(norm="l2", steps=3, restarts=n)(counted, x, y) - x, "l2") for n in (1, 5)
    )
    assert (twice <= once).all() and (twice < once).any()
    passes[0] = 0
    FAB(steps=3, radius=1.0)(counted, x, y)
    assert passes[0] < 20 * (1 + 5 * 3 * 2)
    passes[0] = 0
    FAB(steps=3)(counted, x, y)
    assert passes[0] == 20 * (1 + 5 * 3 * 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"targets": 0},
        {"pull": 1.5},
        {"back": -0.1},
        {"overshoot": 0.5},
        {"radius": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(BadInput, match="expected"):
        FAB(**settings)


@pytest.mark.parametrize("norm", NORMS)
def test_distances_are_those_of_the_reference(norm):
    """Both are deterministic from the image itself; a reference run for each target."""
    module = pytest.importorskip("pyautoattack.fab_pt", reason="needs pyautoattack 0.2.0")
    model = curved(4).float()
    x = torch.rand(24, 1, 4, 4)
    with torch.no_grad():
        y = model(x).argmax(1)
    found = length(FAB(norm=norm, steps=20)(model, x, y) - x, norm)
    theirs = module.FABAttack_PT(
        model, norm={"linf": "Linf", "l2": "L2"}[norm], n_iter=20, eps=1.0, device="cpu", seed=0
    )
    nearest = torch.full((24,), torch.inf)
    for theirs.target_class in (2, 3, 4):
        adv = theirs.attack_single_run(x, y, is_targeted=True)
        with torch.no_grad():
            wrong = model(adv).argmax(1) != y
        nearest = nearest.minimum(length(adv - x, norm).where(wrong, torch.inf))
    torch.testing.assert_close(found, nearest, rtol=0.02, atol=0)
    assert abs(found.median() / nearest.median() - 1) < 0.005


def test_a_model_of_one_class_is_refused():
    with pytest.raises(BadInput, match="logits of 2 classes or more, got 1"):
        FAB()(curved(1), torch.rand(2, 1, 4, 4).double(), torch.zeros(2, dtype=torch.int64))
