import pytest
import torch

from holdfast import geometry, loss, noise

NORMS = ["linf", "l2", "l1"]
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


def changes(size: float) -> torch.Tensor:
    return size * torch.randn(64, 3, 8, 8, dtype=torch.float64)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_projection_is_a_projection(norm, size):
    change = changes(size)
    inside = geometry.length(change, norm) <= 0.5
    once = geometry.project(change, 0.5, norm)
    assert (geometry.length(once, norm) <= 0.5 * (1 + 1e-12)).all()
    assert torch.equal(once[inside], change[inside])
    torch.testing.assert_close(geometry.project(once, 0.5, norm), once)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_gives_the_nearest_point(norm):
    change, radius = changes(1), 0.5
    nearest = (geometry.project(change, radius, norm) - change).flatten(1).norm(dim=1)
    for rival in (geometry.project(changes(1), radius, norm) for _ in range(20)):
        assert (nearest <= (rival - change).flatten(1).norm(dim=1) + 1e-9).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_confined_point_is_in_ball_and_box(norm):
    x, adv = torch.rand(64, 3, 8, 8), torch.randn(64, 3, 8, 8) * 3
    held = geometry.confine(x, adv, 0.3, norm)
    assert (geometry.length(held - x, norm) <= 0.3 + 1e-6).all()
    assert held.min() >= 0 and held.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1e-38, 1e-12, 1.0, 1e30])
def test_no_change_of_length_one_gains_more_than_the_steepest(norm, size):
    gradient = (torch.randn(32, 3, 4, 4) * size).float()
    step = geometry.steepest(gradient, norm)
    torch.testing.assert_close(geometry.length(step, norm), torch.ones(32))
    gain = (gradient.double() * step).flatten(1).sum(1)
    dual = gradient.double().flatten(1).norm(DUAL[norm], dim=1)
    torch.testing.assert_close(gain, dual, rtol=1e-5, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_has_no_direction(norm):
    assert geometry.steepest(torch.zeros(2, 1, 4, 4), norm).abs().sum() == 0


@pytest.mark.parametrize("norm", NORMS)
def test_samples_fill_the_ball_and_depend_on_the_index_alone(norm):
    x, index = torch.zeros(3000, 1, 2, 2), torch.arange(3000)
    drawn = geometry.sample(x, 0.5, norm, index, 0)
    size = geometry.length(drawn, norm)
    assert size.max() <= 0.5 * (1 + 1e-6)
    shell = (size > 0.5 * 0.5**0.25).float().mean()  # half the volume of a 4-dimensional ball
    assert abs(shell - 0.5) < 0.04
    assert drawn.mean(0).abs().max() < 0.03
    part = geometry.sample(x[7:9], 0.5, norm, index[7:9], 0)
    torch.testing.assert_close(part, drawn[7:9], rtol=0, atol=0)
    rows = geometry.sample(x.flatten(1), 0.5, norm, index, 0)
    assert rows.shape == (3000, 4) and geometry.length(rows, norm).max() <= 0.5 * (1 + 1e-6)


def test_a_sum_that_is_the_radius_but_for_rounding_stays_within_it():
    x = noise.uniform(torch.arange(200), (1, 28, 28), 0)
    slope = noise.normal(torch.arange(200), (1, 28, 28), 1)
    adv = geometry.confine(x, x + geometry.ascent(x, slope, 40.0, "l1"), 40.0, "l1")
    assert (geometry.length(adv - x, "l1") <= 40.0 + 1e-6).all()
    assert (geometry.length(adv - x, "l1") > 39.9).all()


def test_a_tie_of_infinite_logits_is_no_find_and_no_number_is():
    logits = torch.tensor([[torch.inf, torch.inf], [torch.nan, 0.0], [-torch.inf, 1.0]])
    assert loss.margin(logits, torch.zeros(3).long()).tolist() == [0, torch.inf, torch.inf]


def test_rounding_never_leaves_the_ball_of_a_large_image():
    """150,528 pixels: their squares summed one after the other in fp32 would be off by 1e-6."""
    generator = torch.Generator().manual_seed(0)
    change = torch.randn(4, 3, 224, 224, generator=generator)
    held = geometry.project(change, 3.0, "l2")
    assert (held.double().flatten(1).norm(dim=1) <= 3).all()
    assert held.flatten(1).norm(dim=1).min() > 2.9999
    exact = change.double().flatten(1).norm(dim=1)
    assert torch.allclose(geometry.length(change, "l2").double(), exact, rtol=1e-7, atol=0)
