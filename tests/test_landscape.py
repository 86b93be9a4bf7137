"""Loss landscapes: planes of a linear model in closed form, filters by hand, kills, no traces."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import worlds
from safetensors.torch import load_file
from torch import nn

from holdfast.attack import FGSM
from holdfast.diagnosis import landscape, mapped
from holdfast.diagnosis.filters import normalised
from holdfast.errors import BadInput
from holdfast.geometry import length
from holdfast.types import Norm

SMALL: dict[str, Any] = {"size": 7, "radius": 0.01}


def network() -> nn.Sequential:
    """A convolution, batch normalisation and dropout, in training mode, with gradients."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(12, 4),
    )  # fmt: skip
    first = net.get_parameter("0.weight")
    first.grad = torch.ones_like(first)
    return net


X, Y = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 3])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_along_the_attack_the_margin_of_a_linear_model_is_a_plane_of_known_slope(norm: Norm):
    world = worlds.linear_world(4)
    found = landscape(
        world.model, world.x, world.y, attack=FGSM(radius=0.01, norm=norm), norm=norm, **SMALL
    )
    across = found.places[None, None, :] * 0.01
    weight = world.model.get_parameter("1.weight").detach()
    normal = (weight[1] - weight[0]).norm(1 if norm == "linf" else 2)
    slope = found.directions[:, 1].flatten(1) @ (weight[0] - weight[1])
    other = torch.where(world.y == 1, slope, -slope)[:, None, None] * found.places[None, :, None]
    here = -world.margin[norm][:, None, None] * normal
    torch.testing.assert_close(found.margin, (here + normal * across + other).float())
    torch.testing.assert_close(found.ce, F.softplus(found.margin))
    assert torch.equal(found.right, (found.margin < 0).float())
    assert torch.equal(found.classes == world.y[:, None, None], found.margin < 0)


@pytest.mark.parametrize("axes", ["attack", "random"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_axes_are_orthogonal_and_a_radius_long(axes, norm: Norm):
    found = landscape(network(), X, Y, axes=axes, norm=norm, **SMALL)
    one, two = found.directions.unbind(1)
    torch.testing.assert_close(length(one, norm), torch.full((3,), 0.01))
    torch.testing.assert_close(length(two, norm), torch.full((3,), 0.01))
    assert (F.cosine_similarity(one.flatten(1), two.flatten(1)).abs() < 1e-5).all()
    again = landscape(network(), X[2:], Y[2:], axes=axes, norm=norm, index=torch.tensor([2]),
                      **SMALL)  # fmt: skip
    torch.testing.assert_close(again.ce, found.ce[2:])


@pytest.mark.parametrize("axes", ["attack", "random"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_pixels_have_a_plane(axes, norm: Norm):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(2, 3)), torch.rand(40, 1, 1, 2)
    found = landscape(net, x, torch.arange(40) % 3, axes=axes, norm=norm, **SMALL)
    one, two = found.directions.unbind(1)
    torch.testing.assert_close(length(two, norm), torch.full((40,), 0.01))
    assert (F.cosine_similarity(one.flatten(1), two.flatten(1)).abs() < 1e-5).all()


def test_points_outside_the_box_are_shown_as_they_are_and_marked():
    seen = []

    def model(x):
        seen.append(x)
        return torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)

    settings: dict[str, Any] = {"axes": "random", "radius": 0.6, "size": 3, "span": 1.0}
    x = torch.full((1, 1, 2, 2), 0.5)
    found = landscape(model, x, torch.tensor([0]), **settings)
    assert torch.cat(seen).max() > 1 and found.outside[0, 1, 1] == 0
    assert found.outside[0, 1].tolist() == pytest.approx([0.1, 0, 0.1])
    seen.clear()
    clipped = landscape(model, x, torch.tensor([0]), clip=True, **settings)
    points = torch.cat(seen)
    assert points.min() >= 0 and points.max() <= 1
    assert torch.equal(clipped.outside, found.outside)


def test_filters_are_normalised_one_by_one_and_the_rest_is_left_alone():
    net = network()
    found = normalised(net, seed=0, which=0)
    assert set(found) == {"0.weight", "5.weight"}
    for name, drawn in found.items():
        weight = net.get_parameter(name).detach()
        for ours, theirs in zip(drawn, weight, strict=True):
            assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=1e-5)
    other = normalised(net, seed=0, which=1)["5.weight"]
    assert F.cosine_similarity(other.flatten(), found["5.weight"].flatten(), dim=0) < 0.9


def test_a_plane_of_weights_is_the_mean_loss_of_networks_that_are_moved_by_hand():
    net = network()
    found = landscape(net, X, Y, axes="weights", size=3, batch_size=2)
    one, two = (normalised(net, 0, which) for which in (0, 1))
    by_hand = network().eval()
    with torch.no_grad():
        for name in one:
            by_hand.get_parameter(name).add_(one[name] - two[name])
        logits = by_hand(X)
    assert found.ce[0, 0, 2].item() == pytest.approx(F.cross_entropy(logits, Y).item(), rel=1e-5)
    share = (logits.argmax(1) == Y).float().mean().item()
    assert found.right[0, 0, 2].item() == pytest.approx(share)
    assert found.names == ["weights"] and found.ce.shape == (1, 3, 3)


@pytest.mark.parametrize("axes", ["attack", "weights"])
def test_a_killed_landscape_goes_on_to_the_same_bits_and_leaves_no_trace(
    axes, tmp_path, monkeypatch
):
    monkeypatch.setattr(mapped, "PIECE", 14)
    net = network()
    truth = landscape(net, X, Y, axes=axes, **SMALL)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state, points = torch.random.get_rng_state(), []

    def killed(what: str, done: int, total: int) -> None:
        points.append(done)
        if len(points) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        landscape(net, X, Y, axes=axes, folder=tmp_path, progress=killed, **SMALL)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/plane*")}
    assert len(files) == 3
    next(iter(files)).write_bytes(b"torn")
    found = landscape(net, X, Y, axes=axes, folder=tmp_path, **SMALL)
    for name in (*mapped.MAPS, "directions"):
        assert torch.equal(getattr(found, name), getattr(truth, name)), name
    assert sum(file.stat().st_mtime_ns == time for file, time in files.items()) == 2
    assert net.training and net[1].training and all(w.requires_grad for w in net.parameters())
    grads = [weight.grad for weight in net.parameters()]
    assert grads[0] is not None and (grads[0] == 1).all() and grads[1:] == [None] * 5
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    other = landscape(net, X, Y, axes=axes, folder=tmp_path, seed=1, **SMALL)
    assert not torch.equal(other.ce, truth.ce) and len(list(tmp_path.iterdir())) == 2


def test_a_model_that_draws_comes_to_the_same_bits_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "PIECE", 14)
    settings: dict[str, Any] = {**SMALL, "folder": tmp_path}

    net = network().eval()

    def noisy(x):
        return net(x + 0.1 * torch.randn_like(x))

    truth = landscape(noisy, X, Y, **settings)
    next(tmp_path.glob("*/plane-1-rows-2-3*")).unlink()
    assert torch.equal(landscape(noisy, X, Y, **settings).ce, truth.ce)


def test_no_batch_is_larger_than_it_may_be_and_batches_change_little():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return network().eval()(x)

    found = landscape(model, X, Y, batch_size=10, **SMALL)
    assert max(sizes) <= 10
    torch.testing.assert_close(landscape(network(), X, Y, **SMALL).ce, found.ce)


def test_an_image_that_the_attack_leaves_has_a_random_axis_which_is_said(caplog):
    world = worlds.linear_world(2)
    found = landscape(world.model, world.x, world.y, attack=lambda m, x, y: x, **SMALL)
    random = landscape(world.model, world.x, world.y, axes="random", **SMALL)
    assert torch.equal(found.ce, random.ce) and "leaves 2 of 2 images" in caplog.text


def test_the_record_is_saved_and_said(tmp_path):
    found = landscape(network(), X, Y, index=torch.tensor([5, 6, 9]), **SMALL)
    found.save(tmp_path, {"seed": 0})
    held = load_file(tmp_path / "attack.safetensors")
    assert torch.equal(held["classes"], found.classes) and held["ce"].shape == (3, 7, 7)
    row = found.as_dict()
    assert [plane["name"] for plane in row["planes"]] == ["image-5", "image-6", "image-9"]
    assert row["planes"][0]["margin"][1] == found.margin[0].max().item()
    assert "image-9" in found.table() and (tmp_path / "attack.json").exists()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"size": 1}, "size as a whole number of 2 or more"),
    "span": ({"span": 0.0}, "expected span above 0, got 0.0"),
    "radius": ({"radius": 0.0}, "expected radius above 0"),
    "batch": ({"batch_size": 0}, "batch_size as a whole number of 1"),
    "weights": ({"axes": "weights"}, "expected a torch.nn.Module"),
    "labels": ({}, "labels from 0 to 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case):
    settings, said = BAD[case]
    labels = torch.tensor([0, 1, 9]) if case == "labels" else Y
    with pytest.raises(BadInput, match=said) as caught:
        landscape(network().eval().__call__, X, labels, **(SMALL | settings))
    assert "\n" not in str(caught.value)
