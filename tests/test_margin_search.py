"""The ray search: closed forms, three methods with one result, pieces, what it refuses."""

import logging
import math
import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn
from worlds import linear_world

from holdfast import margin, noise
from holdfast.errors import BadInput
from holdfast.margin import Gradient, Linear, Orthonormal, Screened, Traced, forms, search
from holdfast.margin import screened as sieve
from holdfast.margin.rays import Crossings, Grid, Rays
from holdfast.model import predict

WORLD = linear_world(count=6, side=6, classes=3)
RAYS: dict[str, Any] = {"reach": 1.0, "step": 0.02, "clip": False}
METHODS = ["linear", "traced", "screened"]


def planes(world, directions, origin):
    """Distance along each ray to the nearest plane between classes, by the closed form, in l2."""
    weight, bias = world.model[1].weight.detach(), world.model[1].bias.detach()
    gap = (world.x.flatten(1) @ weight.T + bias)[torch.arange(len(origin)), origin][:, None]
    gap = gap - (world.x.flatten(1) @ weight.T + bias)
    along = directions.flatten(1) @ weight.T
    speed = along[None] - along[:, origin].T[:, :, None]
    both = torch.stack([speed, -speed], 2)
    time = gap[:, None, None] / both
    time[(both <= 0) | time.isnan()] = torch.inf
    time.scatter_(3, origin[:, None, None, None].expand(*time.shape[:3], 1), torch.inf)
    return time.amin(3), time.argmin(3)


@pytest.mark.parametrize("method", METHODS)
def test_margins_of_a_linear_model_are_distances_to_its_planes(method):
    found = search(WORLD.model, WORLD.x, WORLD.y, method=method, tolerance=1e-6, **RAYS)
    family = Orthonormal()(WORLD.model, WORLD.x, WORLD.y, torch.arange(6), 0)
    truth, entered = planes(WORLD, family, WORLD.y)
    truth = truth / math.sqrt(36)
    inside = truth < found.grid.steps * 0.02
    assert inside.float().mean() > 0.3 and (~inside).any()
    torch.testing.assert_close(found.distance[inside].double(), truth[inside], atol=2e-6, rtol=0)
    assert torch.equal(found.entered[inside].long(), entered[inside])
    assert (found.entered[~inside] == -1).all() and (found.distance[~inside] == 1).all()
    ups = torch.ceil(truth / 0.02 - 1e-9)
    assert torch.equal(found.step[inside].double(), ups[inside].clamp_min(1))


def ball(x):
    """Class 1 outside the ball of radius 1 around the middle of the box."""
    far = (x - 0.5).flatten(1).norm(dim=1)
    return torch.stack([1 - far, far - 1], 1)


@pytest.mark.parametrize("method", METHODS)
def test_margins_in_a_ball_reach_its_surface(method):
    x = 0.5 + 0.1 * noise.normal(torch.arange(4), (1, 4, 4), 0).double()
    found = search(ball, x, torch.zeros(4).long(), method=method, reach=2.5, step=0.05,
                   scale="l2", clip=False, tolerance=1e-7, audit=1)  # fmt: skip
    directions = Orthonormal()(ball, x, torch.zeros(4).long(), torch.arange(4), 0)
    middle = (x - 0.5).flatten(1)
    along = middle @ directions.flatten(1).T
    along = torch.stack([along, -along], 2)
    inward = middle.square().sum(1)[:, None, None]
    surface = -along + (along.square() - inward + 1).sqrt()
    torch.testing.assert_close(found.distance.double(), surface, atol=1e-6, rtol=0)
    assert found.audit.differing == 0 and found.none_share() == 0


def bumpy(seed=0, width=8, classes=4) -> nn.Sequential:
    """A network of random weights whose classes change often along a ray."""
    torch.manual_seed(seed)
    body = [nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    body += [nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten()]
    last = nn.Linear(16 * width, classes)
    model = nn.Sequential(*body, last).eval()
    for name, statistic in model.named_buffers():
        if name.endswith("mean"):
            nn.init.normal_(statistic, 0, 0.2)
        elif name.endswith("var"):
            nn.init.uniform_(statistic, 0.5, 2)
    with torch.no_grad():  # else one class wins everywhere
        last.weight.mul_(5)
        last.bias.sub_(model(torch.rand(200, 1, 6, 6)).mean(0))
    return model.requires_grad_(False)


X = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 3, 0])


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("reference", ["prediction", "label"])
@pytest.mark.parametrize("width", [2, 8])  # of the first layer: shared or not
def test_screened_is_linear_and_traced_nearly_with_fewer_passes(clip, reference, width):
    settings: dict[str, Any] = {
        "reach": 1.0,
        "step": 0.02,
        "clip": clip,
        "reference": reference,
        "audit": 0.2,
    }
    model = bumpy(seed=1, width=width)
    truth = search(model, X, Y, method="linear", **settings)
    assert 0.05 < truth.none_share() < 0.95
    screened = search(model, X, Y, method=Screened(precision="fp32"), **settings)
    assert torch.equal(screened.step, truth.step) and torch.equal(screened.entered, truth.entered)
    assert screened.audit.rays > 0 and screened.audit.differing == 0
    assert screened.forward < 1.1 * truth.forward + 3 * X.shape[0] * truth.step[0].numel()
    traced = search(model, X, Y, method=Traced(pilots=4), **settings)
    other = (traced.step != truth.step) | (traced.entered != truth.entered)
    assert other.float().mean() < 0.02
    assert traced.forward < truth.forward / 2
    wrong = truth.origin != model(X).argmax(1)
    assert (truth.step[wrong] == 0).all() and (truth.distance[wrong] == 0).all()
    assert wrong.any() == (reference == "label")


def test_screened_gives_near_ties_to_the_model_itself():
    """A cheaper form that is far off, but whose errors were seen, changes nothing."""
    truth = search(bumpy(), X, Y, method="linear", **RAYS)
    coarse = search(bumpy(), X, Y, method=Screened(precision="bf16", safety=4), **RAYS)
    assert torch.equal(coarse.step, truth.step)
    assert coarse.forward > truth.forward
    blind = search(bumpy(), X, Y, method=Screened(precision="bf16", safety=0), audit=1, **RAYS)
    assert not torch.equal(blind.step, truth.step)
    other = (blind.step != truth.step) | (blind.entered != truth.entered)
    assert blind.audit.differing == int(other.sum())


def test_only_a_largest_logit_that_is_too_far_ahead_makes_a_tie():
    own = bumpy()
    never = torch.tensor([0.0, 0.0, 0.0, -1e4])  # the last class is never the largest
    exact = Rays(
        model=lambda x: own(x) + never, x=X, directions=torch.eye(36).unflatten(1, (1, 6, 6)),
        unit=6.0, grid=Grid(reach=1.0, step=0.02, scale="rms", clip=True, signs=2), origin=Y,
        key=torch.arange(5), place=torch.arange(5), batch=100,
    )  # fmt: skip
    for off, width in (([0.0, 0.0, 0.0, 3.0], 0), ([0.0, 0.0, 0.0, -3.0], 3), ([2.0] * 4, 0)):
        model = lambda x, off=off: own(x) + never + torch.tensor(off)  # noqa: E731
        found, _ = Screened(safety=2)._tried(exact, replace(exact, model=model))
        assert found == pytest.approx(2 * width, abs=1e-2)


@pytest.mark.parametrize(("share", "wanted"), [(0.96, False), (0.94, True)])
def test_a_cheaper_form_that_takes_longer_is_not_asked(monkeypatch, share, wanted):
    spent, sifted, own = iter([1.0, share]), [], sieve._sift
    monkeypatch.setattr(sieve, "_timed", lambda rays, points: (rays.at(*points), next(spent)))
    monkeypatch.setattr(sieve, "_sift", lambda *given: sifted.append(True) or own(*given))
    search(bumpy(), X, Y, method="screened", audit=0.0, **RAYS)
    assert bool(sifted) == wanted


@pytest.mark.parametrize(("precision", "own"), [("bf16", False), ("fp32", True)])
def test_near_ties_of_bf16_go_to_the_cheaper_form_in_fp32(monkeypatch, precision, own):
    model, asked, sift = bumpy(), [], sieve._sift

    def spying(exact: Rays, cheaper: Rays, width: float) -> Crossings:
        asked.append(sieve.unwrapped(exact) is model)
        return sift(exact, cheaper, width)

    monkeypatch.setattr(sieve, "_sift", spying)
    search(model, X, Y, method=Screened(precision=precision), audit=0.0, **RAYS)
    assert asked and set(asked) == {own}


class Drawing(nn.Sequential):
    """Other logits each time."""

    def forward(self, input):
        return super().forward(input) + torch.randn(1)


class Single(nn.Sequential):
    """Cannot be copied."""

    def __deepcopy__(self, memo):
        raise TypeError("one of a kind")


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("kind", [nn.Sequential, Drawing, Single])
def test_traced_asks_a_cheaper_form_only_where_that_says_the_same(monkeypatch, kind, clip):
    model, asked = kind(*bumpy()), []
    cheaply = kind is nn.Sequential
    own = forms._runner

    def seen(engine, part):
        run = own(engine, part)
        return lambda x: asked.append(len(x)) or run(x)

    monkeypatch.setattr(forms, "_runner", seen)
    found = search(model.eval(), X, Y, method=Traced(pilots=4), clip=clip, audit=0.0)
    share = sum(asked) / found.forward
    assert share > 0.8 if cheaply else share < 0.1
    if cheaply:
        monkeypatch.setattr(
            forms, "same_up_to_rounding", lambda one, other: False
        )  # no form is near enough
        same = search(model, X, Y, method=Traced(pilots=4), clip=clip, audit=0.0)
        other = (found.step != same.step) | (found.entered != same.entered)
        assert other.float().mean() < 0.01 and sum(asked) < share * found.forward + 100


@pytest.mark.parametrize(("width", "channels"), [(2, 2), (3, 1)])
def test_a_first_layer_that_makes_too_much_is_not_shared(monkeypatch, width, channels):
    shown, own = set(), forms._runner

    def seen(engine, part):
        run = own(engine, part)
        return lambda x: shown.add(x.shape[1]) or run(x)

    monkeypatch.setattr(forms, "_runner", seen)
    search(bumpy(width=width), X, Y, clip=False, audit=0.0, method=Traced(pilots=4))
    assert shown == {channels}


class Slab(nn.Module):
    """Class 0, but for a slab of class 1, one step thick, on one ray in nine."""

    def forward(self, x):
        flat = x.flatten(1)
        far, place = (flat - 0.5).abs().max(1)
        thin = ((far - 0.2105).abs() < 0.005) & (place % 4 == 0)
        score = torch.where(thin, 1.0, -1.0)
        return torch.stack([-score, score], 1)


def test_the_audit_notices_what_traced_steps_over():
    x, y = torch.full((4, 1, 6, 6), 0.5), torch.zeros(4).long()
    settings: dict[str, Any] = {
        "directions": margin.Coordinates(),
        "reach": 0.5,
        "step": 0.01,
        "scale": "l2",
    }
    truth = search(Slab(), x, y, method="linear", **settings)
    assert truth.none_share() == 0.75
    found = search(Slab(), x, y, method=Traced(pilots=2), audit=0.3, **settings)
    missed = (found.step != truth.step).float().mean().item()
    assert missed > 0.1
    near = found.audit.interval
    assert found.audit.differing > 0 and near.low <= missed <= near.high
    exact = search(Slab(), x, y, method="screened", audit=0.3, **settings)
    assert exact.audit.differing == 0


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_pieces_change_nothing(method):
    """In float64, where no rounding is near a tie."""
    model, x = bumpy().double(), X.double()
    whole = search(model, x, Y, method=method, step=0.02)
    parts = search(model, x, Y, method=method, step=0.02, batch_size=37, piece=150)
    assert torch.equal(whole.step, parts.step) and torch.equal(whole.entered, parts.entered)
    assert whole.audit == parts.audit
    assert whole.forward == parts.forward or method == "screened"  # which measures what is faster
    some = search(model, x[2:4], Y[2:4], method=method, step=0.02, index=torch.tensor([2, 3]))
    if method != "traced":  # which prepares on all images
        assert torch.equal(some.step, whole.step[2:4])


def test_a_killed_search_goes_on_and_a_damaged_piece_is_searched_again(tmp_path, caplog):
    settings: dict[str, Any] = {"method": "linear", "piece": 72, "tolerance": 1e-3}
    truth = search(bumpy(), X, Y, **settings)
    settings["folder"] = tmp_path
    calls = []

    def killed(stage, done, total):
        calls.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(bumpy(), X, Y, progress=killed, **settings)
    files = sorted(tmp_path.glob("*/*.safetensors"))
    assert calls == [1, 2, 3] and len(files) == 3
    before = [file.stat().st_mtime_ns for file in files]
    raw = bytearray(files[1].read_bytes())
    raw[-1] ^= 1
    files[1].write_bytes(raw)
    files[2].write_bytes(files[2].read_bytes()[:50])
    with caplog.at_level(logging.WARNING, "holdfast"):
        found = search(bumpy(), X, Y, **settings)
    assert [record.message.count("is damaged") for record in caplog.records] == [1, 1]
    assert files[0].stat().st_mtime_ns == before[0]
    assert search(bumpy(), X, Y, **settings).seconds == found.seconds > 0  # all were made before
    for name in ("step", "entered", "distance"):
        assert torch.equal(getattr(found, name), getattr(truth, name))
    assert found.forward == truth.forward
    search(bumpy(seed=1), X, Y, **settings)
    assert len(list(tmp_path.iterdir())) == 2, "another model has pieces of its own"


def test_a_model_is_left_as_it_was_and_clipped_points_stay_in_the_box():
    inside = []

    class Watched(nn.Sequential):
        def forward(self, input):
            inside.append(bool(((input >= 0) & (input <= 1)).all()))
            return super().forward(input)

    model = Watched(*bumpy()).train()
    search(model, X, Y, method="linear")
    assert all(inside) and model.training and model[1].training


REFUSED = [
    ({"reach": 0.0}, "reach above 0, got 0.0"),
    ({"step": -1.0}, "step above 0, got -1.0"),
    ({"step": math.nan}, "step above 0, got nan"),
    ({"step": 0.7}, "a step within the reach, 0.5; got 0.7"),
    ({"tolerance": 0.0}, "tolerance above 0"),
    ({"method": "tracd"}, "did you mean 'traced'"),
    ({"audit": 2.0}, "audit from 0 to 1"),
    ({"batch_size": 0}, "batch_size as a whole number of 1 or more"),
    (
        {"directions": Orthonormal(count=37)},
        "expected 1 to 36, .* as the count of directions; got 37",
    ),
    ({"directions": torch.ones(3, 1, 5, 6)}, r"directions \[direction, 1, 6, 6\].*reshape"),
    ({"directions": torch.ones(4, 2, 1, 6, 6)}, "a first axis of 5 images"),
    ({"directions": torch.zeros(3, 1, 6, 6)}, "finite and not zero"),
]


@pytest.mark.parametrize(("settings", "said"), REFUSED, ids=str)
def test_what_cannot_be_searched_is_said_in_one_line(settings, said):
    with pytest.raises(BadInput, match=said) as refusal:
        search(bumpy(), X, Y, **settings)
    assert "\n" not in str(refusal.value)


def test_nan_off_the_image_is_said_and_probabilities_are_warned_of(caplog):
    def broken(x):
        far = (x - X[2]).flatten(1).norm(dim=1)
        return torch.stack([1 + 0 * far, (2 - far).sqrt() - 5], 1)

    with pytest.raises(BadInput, match="got NaN on a ray of image 7"):
        search(broken, X[2:3], Y[2:3] * 0, index=torch.tensor([7]), method="linear", reach=1.0)
    with caplog.at_level(logging.WARNING, "holdfast"):
        search(lambda x: bumpy()(x).softmax(1), X, Y, method=Linear(), reach=0.1)
    assert "probabilities" in caplog.text


@pytest.mark.parametrize(
    "make",
    [lambda: Traced(pilots=1), lambda: Traced(safety=float("nan")), lambda: Screened(sample=0),
     lambda: search(bumpy(), X, Y, reach=1.0, step=1e-5)],
)  # fmt: skip
def test_methods_and_grids_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput, match="expected"):
        make()


class Coarse(nn.Module):
    """A model with a setting that is neither weight nor part of its `repr`."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.body, self.levels = WORLD.model, levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body((x * self.levels).round() / self.levels)


@dataclass(frozen=True, eq=False)
class Fixed:
    """A family that holds its directions, for each image its own."""

    made: torch.Tensor

    def __call__(self, model, x, y, index, seed):
        return self.made.expand(len(x), *self.made.shape)


def test_pieces_of_another_model_or_of_other_directions_are_not_taken(tmp_path):
    settings: dict[str, Any] = RAYS | {"method": "linear"}
    for levels in (3, 8):
        kept, anew = (search(Coarse(levels), WORLD.x, WORLD.y, folder=folder, **settings)
                      for folder in (tmp_path, None))  # fmt: skip
        assert torch.equal(kept.distance, anew.distance)
    for seed in (1, 2):
        made = noise.normal(torch.arange(99), (1, 6, 6), seed).double()
        made[:3] = made[-3:] = made[:, :, :3] = made[:, :, -3:] = 1  # printed, both are the same
        kept, anew = (search(WORLD.model, WORLD.x, WORLD.y, directions=Fixed(made), folder=folder,
                             **settings) for folder in (tmp_path, None))  # fmt: skip
        assert torch.equal(kept.distance, anew.distance)


@pytest.mark.parametrize("low", [-math.inf, -1e35])
def test_a_class_that_is_masked_hides_nothing_from_traced(low):
    """One class of four never wins; its logit is as low as can be on half of the points."""

    def masked(x: torch.Tensor) -> torch.Tensor:
        logits = WORLD.model(x)
        never = torch.where(x.mean((1, 2, 3)) > 0.5, low, -1e3)
        return torch.cat([logits, never[:, None]], 1)

    one, other = (search(masked, WORLD.x, WORLD.y, method=method, audit=1, **RAYS)
                  for method in ("linear", "traced"))  # fmt: skip
    assert torch.equal(one.step, other.step) and other.audit.differing == 0


def test_pilots_that_see_no_change_do_not_clear_other_rays():
    """A policy so sure that its gaps are constant but for a jump."""
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    x = torch.rand(20, 1, 6, 6)

    def sure(x: torch.Tensor) -> torch.Tensor:
        return (plain(x) * 2000).softmax(1)

    y = plain(x).argmax(1)
    one, other = (search(sure, x, y, method=m, step=0.02, audit=0.0) for m in ("linear", "traced"))
    assert (one.entered >= 0).sum() > 100
    assert torch.equal(one.entered >= 0, other.entered >= 0)
    assert (one.step != other.step).double().mean() < 0.05


class Masked(nn.Module):
    """Logits as of another, and one that is minus infinity."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.model(x)
        return torch.cat([logits, torch.full_like(logits[:, :1], -math.inf)], 1)


def test_a_class_that_is_masked_hides_nothing_from_screened():
    """In bf16, whose rounding sends many a point to another class."""
    model = Masked(WORLD.model)
    one, other = (search(model, WORLD.x, WORLD.y, method=method, audit=1, **RAYS)
                  for method in ("linear", Screened(precision="bf16")))  # fmt: skip
    assert torch.equal(one.step, other.step) and other.forward != one.forward


def test_a_module_that_cannot_be_copied_is_searched_by_every_method():
    model = nn.Sequential(WORLD.model)
    object.__setattr__(model, "lock", threading.Lock())
    first, *others = (search(model, WORLD.x, WORLD.y, method=method, **RAYS)
                      for method in ("linear", "screened", "traced"))  # fmt: skip
    assert all(torch.equal(first.step, other.step) for other in others)


def test_rows_of_numbers_are_refused():
    with pytest.raises(BadInput, match="channel, height, width], got"):
        search(WORLD.model, WORLD.x.flatten(1), WORLD.y)


@pytest.mark.parametrize("logits", [[3.0, 0, 0], [3.0, 0]])
def test_a_network_that_gives_one_answer_everywhere_has_no_boundary(logits):
    def collapsed(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(logits).expand(len(x), -1)

    found = search(collapsed, WORLD.x[:4], WORLD.y[:4] % len(logits), audit=1)
    assert (found.distance == 0.5).all() and found.audit.differing == 0


def test_passes_are_those_of_all_pieces_whether_found_now_or_before(tmp_path):
    once, again = (search(bumpy(), X, Y, piece=64, step=0.1, folder=tmp_path) for _ in range(2))
    assert once.forward == again.forward > 0


def test_classes_of_any_number_are_entered():
    def model(x):
        logits = x.new_zeros(len(x), 40_000)
        logits[:, 0], logits[:, 39_999] = 0.5, x.mean((1, 2, 3))
        return logits

    x = torch.full((1, 1, 2, 2), 0.3)
    found = search(model, x, torch.zeros(1).long(), directions=torch.ones(1, 1, 2, 2), step=0.1,
                   signs=1, method="linear")  # fmt: skip
    assert found.entered.item() == 39_999 and found.none_share() == 0


def test_a_gradient_leads_out_of_the_class_that_is_left():
    """Of images taken for another class too, whose label's gradient leads further into that."""
    model = WORLD.model
    y = (predict(model, WORLD.x).argmax(1) + 1) % 3
    found = search(model, WORLD.x, y, directions=Gradient(count=1), signs=1, audit=0.0)
    right = search(model, WORLD.x, found.origin, directions=Gradient(count=1), signs=1, audit=0.0)
    assert torch.equal(found.distance, right.distance) and (found.entered >= 0).any()


def test_rays_that_meet_nothing_are_said(caplog):
    search(WORLD.model, WORLD.x, WORLD.y, audit=0.0, reach=1e-6, step=1e-6)
    assert "100 % of the rays meet no other class within a reach of 1e-06 (rms)" in caplog.text
    caplog.clear()
    search(WORLD.model, WORLD.x, WORLD.y, audit=0.0, directions=Gradient(count=1), signs=1)
    assert "meet no other class" not in caplog.text
