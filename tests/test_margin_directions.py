"""Families of directions: unit vectors of the kind they claim to be."""

import math

import pytest
import torch
from torch import nn
from worlds import linear_world

from holdfast import margin, noise
from holdfast.errors import BadInput
from holdfast.margin import drawn
from holdfast.margin.directions import cosines

SHAPE = (2, 4, 3)
X = noise.uniform(torch.arange(5), SHAPE, 0)
Y = torch.zeros(5).long()
INDEX = torch.tensor([3, 14, 15, 92, 65])
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
SHARED = [
    margin.Orthonormal(),
    margin.Coordinates(),
    margin.LowFrequency(),
    margin.Principal(images=noise.normal(torch.arange(40), SHAPE, 1)),
]


def made(family, index=INDEX, seed=0, x=X):
    return drawn(family, MODEL, x, Y[: len(x)], index, seed)


@pytest.mark.parametrize("family", SHARED, ids=lambda f: f.name)
def test_shared_families_are_orthonormal_up_to_the_dimension(family):
    rows = made(family).flatten(1).double()
    assert rows.shape == (24, 24)
    torch.testing.assert_close(rows @ rows.T, torch.eye(24).double(), atol=1e-5, rtol=0)
    few = made(type(family)(**vars(family) | {"count": 7}))
    torch.testing.assert_close(made(family)[:7], few)
    with pytest.raises(BadInput, match="count of directions; got 25"):
        made(type(family)(**vars(family) | {"count": 25}))


def test_random_directions_are_a_function_of_seed_and_index():
    own = margin.Orthonormal(count=5, per_image=True)
    rows = made(own)
    assert rows.shape == (5, 5, *SHAPE)
    square = rows.flatten(2) @ rows.flatten(2).mT
    torch.testing.assert_close(square, torch.eye(5).expand(5, 5, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(made(own, INDEX[2:3], x=X[2:3])[0], rows[2])
    assert not torch.allclose(rows[0], rows[1])
    assert not torch.allclose(made(margin.Orthonormal(), seed=1), made(margin.Orthonormal()))
    assert torch.equal(made(margin.Orthonormal(), INDEX + 1), made(margin.Orthonormal()))


def test_cosines_are_an_orthonormal_basis_of_waves():
    basis = cosines(8)
    torch.testing.assert_close(basis @ basis.T, torch.eye(8).double())
    place = torch.tensor([math.cos(math.pi * 2 * (n + 0.5) / 8) / 2 for n in range(8)])
    torch.testing.assert_close(basis[2], place.double(), atol=1e-7, rtol=0)
    first = made(margin.LowFrequency(count=2))
    assert (first[0, 0].std() < 1e-6) and not first[0, 1].any() and not first[1, 0].any()


def test_principal_components_come_in_the_order_of_their_variance():
    images = noise.normal(torch.arange(300), SHAPE, 2)
    images[:, 1, 2, 1] *= 9
    images[:, 0, 0, 0] *= 4
    first, second = made(margin.Principal(images=images + 5, count=2))
    assert first[1, 2, 1] > 0.99 and second[0, 0, 0] > 0.99


def test_components_without_variance_are_none():
    images = noise.normal(torch.arange(40), SHAPE, 1)
    images[:, :, 0] = 0.5  # as the borders of digits
    found = made(margin.Principal(images=images))
    assert len(found) == 24 - 6
    assert found[:, :, 0].abs().max() < 1e-6
    with pytest.raises(BadInput, match="1 to 18"):
        made(margin.Principal(images=images, count=19))


def test_gradient_and_mixtures_with_it():
    world = linear_world(count=5, side=4)
    rows = drawn(margin.Gradient(count=200), world.model, world.x, world.y, INDEX, 0).flatten(2)
    weight = world.model.get_parameter("1.weight").detach()
    normal = (weight[1] - weight[0]) * (1 - 2 * world.y[:, None])
    cosine = rows @ (normal / normal.norm(dim=1, keepdim=True))[:, :, None]
    torch.testing.assert_close(cosine[:, 0], torch.ones(5, 1).double())
    assert (cosine >= -1e-6).all() and abs(cosine[:, 1:].mean() - 0.5) < 0.03
    flat = drawn(margin.Gradient(count=3), lambda x: x.flatten(1)[:, :2] * 0, X, Y, INDEX, 0)
    torch.testing.assert_close(flat.flatten(2).norm(dim=2), torch.ones(5, 3))
    alike = flat.flatten(2) @ flat.flatten(2).mT - torch.eye(3)
    assert alike.abs().max() < 0.99  # no direction comes twice


def test_a_function_and_a_tensor_are_families_made_unit_vectors():
    own = made(lambda model, x, y, index, seed: 7 * x[:, None])
    torch.testing.assert_close(own, (X / X.flatten(1).norm(dim=1)[:, None, None, None])[:, None])
    assert made(1e-30 * X).flatten(1).norm(dim=1).allclose(torch.ones(5))


def test_one_direction_is_the_gradient_alone():
    one, more = (margin.Gradient(count=count)(MODEL, X, Y, INDEX, 0) for count in (1, 5))
    torch.testing.assert_close(one, more[:, :1])


def test_all_directions_of_large_images_are_refused():
    with pytest.raises(BadInput, match="a count of directions for images of 19200 numbers"):
        made(margin.Orthonormal(), INDEX[:1], x=torch.zeros(1, 3, 80, 80))


def test_gradients_are_taken_of_so_many_images_at_once_as_predictions_are(monkeypatch):
    shown = set()

    def model(x: torch.Tensor) -> torch.Tensor:
        shown.add(len(x))
        return MODEL(x)

    whole = margin.Gradient(count=3)(MODEL, X, Y, INDEX, 0)
    monkeypatch.setattr("holdfast.model.modes.resolve_batch_size", lambda wanted, x: 3)
    torch.testing.assert_close(margin.Gradient(count=3)(model, X, Y, INDEX, 0), whole)
    assert max(shown) == 3
