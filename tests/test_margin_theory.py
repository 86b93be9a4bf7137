"""Lemma 1 and Theorem 1 of Song et al. 2019 (arXiv 1909.05443, section IV-C).

f is the logit of the class entered minus that of the class left; both are about f and a plane
f = 0. On planes they hold; Lemma 1 does not where the boundary bends towards the image.
"""

import torch
from torch import nn
from worlds import linear_world

from holdfast import noise
from holdfast.margin import Margins, Orthonormal, search

WORLD = linear_world(count=12, side=5)


def gap(model, x, origin):
    """f: below 0 where the image is still in its class, of two."""
    logits = model(x)
    return (logits.gather(1, 1 - origin[:, None]) - logits.gather(1, origin[:, None])).squeeze(1)


def rays(model, x, found: Margins):
    """Unit vectors of all rays, `[image, direction, sign, pixel]`, and the cosine of each with the
    gradient of f at its image."""
    vectors = Orthonormal()(model, x, found.origin, found.index, 0).flatten(1)
    both = torch.stack([vectors, -vectors], 1)
    start = x.clone().requires_grad_(True)
    slope = torch.autograd.grad(gap(model, start, found.origin).sum(), start)[0].flatten(1)
    return both, torch.einsum("dsp,ip->ids", both, slope / slope.norm(dim=1, keepdim=True))


def crossing_examples(model, x, found: Margins, strength=1.5):
    """Points at `strength` margins along each ray that crosses, and the class that was left."""
    both, _ = rays(model, x, found)
    image, direction, sign = (found.entered >= 0).nonzero().T
    far = strength * found.distance[image, direction, sign].to(x) * found.grid.unit(x[0].numel())
    moved = far[:, None] * both[direction, sign].to(x)
    return x[image] + moved.reshape(-1, *x.shape[1:]), found.origin[image]


def test_lemma_1_on_a_plane_every_ray_that_crosses_points_towards_it():
    found = search(WORLD.model, WORLD.x, WORLD.y, reach=50.0, step=0.5, clip=False, method="linear")
    _, cosine = rays(WORLD.model, WORLD.x, found)
    crosses = found.entered >= 0
    assert 0.4 < crosses.double().mean() <= 0.5
    assert (cosine[crosses] > 0).all()
    assert (cosine[~crosses] < 0.02).all()


def ball(x):
    """Class 1 outside the unit ball around the middle of the box; f grows with the distance."""
    far = (x - 0.5).flatten(1).norm(dim=1)
    return torch.stack([1 - far, far - 1], 1)


def test_lemma_1_fails_for_half_of_the_rays_in_a_ball():
    """All cross, and of each pair of signs one points against the gradient."""
    x = 0.5 + 0.1 * noise.normal(torch.arange(6), (1, 4, 4), 0).double()
    found = search(ball, x, torch.zeros(6).long(), reach=2.5, step=0.1, scale="l2", clip=False)
    _, cosine = rays(ball, x, found)
    crosses = found.entered >= 0
    assert crosses.all()
    assert (cosine[crosses] < 0).double().mean() == 0.5


def test_theorem_1_a_step_on_a_crossing_example_lowers_f_there_by_equation_9():
    """With the loss of equation 6 and no activation, the change of f at the example is
    -rate (1 + f) (|x|^2 + 1)."""
    theta = dict(WORLD.model.state_dict())
    found = search(WORLD.model, WORLD.x, WORLD.y, reach=4.0, step=0.05, clip=False, tolerance=1e-4)
    examples, origin = crossing_examples(WORLD.model, WORLD.x, found)
    weight = theta["1.weight"][1 - origin] - theta["1.weight"][origin]
    bias = theta["1.bias"][1 - origin] - theta["1.bias"][origin]
    flat, rate = examples.flatten(1), 1e-3
    f = (flat * weight).sum(1) + bias
    assert len(f) > 50 and (f > 0).all(), "1.5 margins along a ray lie beyond the plane"
    slope = 1 + f
    after = (flat * (weight - rate * slope[:, None] * flat)).sum(1) + bias - rate * slope
    expected = -rate * slope * (flat.square().sum(1) + 1)
    torch.testing.assert_close(after - f, expected)
    assert (after < f).all()


def test_theorem_1_holds_for_small_steps_on_a_network_and_lemma_1_mostly():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 32), nn.Tanh(), nn.Linear(32, 2)).double()
    x = torch.rand(6, 1, 5, 5).double()
    y = model(x).argmax(1)
    found = search(model, x, y, reach=3.0, step=0.05, clip=False, tolerance=1e-3, method="linear")
    _, cosine = rays(model, x, found)
    crosses = found.entered >= 0
    violations = (cosine[crosses] <= 0).double().mean()
    assert 0 <= violations < 0.25
    examples, origin = crossing_examples(model, x, found, strength=1.0 + 1e-3)
    before = [p.detach().clone() for p in model.parameters()]
    for example, label in zip(examples[:12].split(1), origin[:12].split(1), strict=True):
        f = gap(model, example, label)
        slopes = torch.autograd.grad(((1 + f) ** 2 / 2).sum(), list(model.parameters()))
        with torch.no_grad():
            for weight, slope in zip(model.parameters(), slopes, strict=True):
                weight.sub_(1e-4 * slope)
            assert gap(model, example, label) < f
            for weight, old in zip(model.parameters(), before, strict=True):
                weight.copy_(old)
