"""Query attacks step by step, by what they ask of models whose answers can be worked out."""

import pytest
import torch
from torch import Tensor
from worlds import linear_world

from holdfast.attack import HopSkipJump, SimBA
from holdfast.geometry import length, per_image, steepest
from holdfast.model import Metered

WORLD = linear_world()


class Asked:
    """A model that keeps the images it is shown."""

    def __init__(self, model) -> None:
        self.model, self.images = model, []

    def __call__(self, x: Tensor) -> Tensor:
        self.images.append(x.clone())
        return self.model(x)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_normal_is_the_probes_weighted_by_their_decisions(norm):
    """Images just beyond the boundary, far beyond, far before it, and in a corner of the box."""
    slope = torch.linspace(-1, 2, 16, dtype=torch.float64).view(1, 4, 4)
    shares = torch.tensor([0.52, 0.9, 0.1, 0.52], dtype=torch.float64)
    adv = per_image(shares, torch.zeros(4, 1, 4, 4)).expand(4, 1, 4, 4).clone()
    adv[3, 0, :2], adv[3, 0, 2:] = 0, 0.7

    def model(x: Tensor) -> Tensor:
        gap = (slope * (x - 0.5)).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(gap), gap], 1)

    x, y, index = torch.full_like(adv, 0.3), torch.zeros(4).long(), torch.arange(4)
    seen = Asked(model)
    found = HopSkipJump(norm=norm)._normal(seen, x, y, adv, index, turn=1, probes=100)
    near = torch.cat([asked.view(4, -1, 1, 4, 4) for asked in seen.images], 1)
    stays = model(near.flatten(0, 1)).argmax(1).view(4, 100).double()
    mean = (2 * stays - 1).mean(1, keepdim=True)
    assert 0.05 < mean[0].abs() < 0.9 and mean[1] == 1 and mean[2] == -1
    weight = 2 * stays - 1 - mean.where(mean.abs() < 1, 0)
    total = (weight[..., None, None, None] * (near - adv[:, None])).sum(1)
    torch.testing.assert_close(found, steepest(total, norm))
    assert near.min() == 0 and not torch.equal(near[0, 0], near[0, 50])


def test_a_step_is_halved_until_its_end_is_of_another_class():
    """Along the second pixel, which is misclassified up to a limit of each image's own."""
    x, adv, way = (torch.zeros(3, 1, 1, 2, dtype=torch.float64) for _ in range(3))
    adv[..., 0], way[..., 1] = 0.2, 1.0
    limit = {0.2: 0.03, 0.21: 0.2, 0.22: 0.001}
    adv[1, ..., 0], adv[2, ..., 0] = 0.21, 0.22

    def model(x: Tensor) -> Tensor:
        most = torch.tensor([limit[round(first, 6)] for first in x[:, 0, 0, 0].tolist()])
        return torch.stack([most - x[:, 0, 0, 1], torch.zeros(len(x))], 1)

    seen, used = Asked(model), torch.tensor([7, 7, 47])
    y = torch.ones(3).long()
    moved, asked = HopSkipJump(queries=50)._step(seen, x, y, adv, way, 4, used)
    tried = [image[:, 0, 0].tolist() for image in seen.images]
    assert tried == [
        [[0.2, 0.1], [0.21, 0.105], [0.22, 0.11]],
        [[0.2, 0.05], [0.22, 0.055]],
        [[0.2, 0.025], [0.22, 0.0275]],
    ]
    assert moved[:, 0, 0].tolist() == [[0.2, 0.025], [0.21, 0.105], [0.22, 0.0]]
    assert asked.tolist() == [10, 8, 50]


@pytest.mark.parametrize("row", [0, 5])
def test_hop_skip_jump_counts_what_it_asks(row):
    """Never more than its budget, and less only by a bisection or an estimate that has no room."""
    x, y = WORLD.x[row : row + 1], WORLD.y[row : row + 1]
    far = []
    for queries in range(1, 80, 3):
        meter = Metered(WORLD.model)
        adv = HopSkipJump(queries=queries, probes=4)(meter, x, y)
        assert queries - 9 <= meter.forward <= queries
        far.append(length(adv - x, "l2").item() or torch.inf)
    assert far == sorted(far, reverse=True) and far[-1] < far[5]


def sure(count: int = 6) -> tuple[Asked, Tensor, Tensor, Tensor]:
    """A model that nothing fools, whose true class rises along a known slope; images, labels."""
    generator = torch.Generator().manual_seed(1)
    slope = torch.randn(16, generator=generator, dtype=torch.float64) / 10

    def model(x: Tensor) -> Tensor:
        rise = 9 + x.flatten(1) @ slope
        return torch.stack([rise, torch.zeros_like(rise)], 1)

    x = torch.rand(count, 1, 4, 4, generator=generator, dtype=torch.float64)
    return Asked(model), x, torch.zeros(count).long(), slope


def test_simba_moves_each_pixel_against_the_slope():
    model, x, y, slope = sure()
    found = SimBA(step_size=0.3, queries=100)(model, x, y)
    wanted = (x - 0.3 * slope.sign().view(1, 4, 4)).clamp(0, 1)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("queries", [1, 2, 7])
def test_simba_stops_when_its_queries_are_spent(queries):
    model, x, y, _ = sure()
    SimBA(queries=queries)(model, x, y)
    assert sum(map(len, model.images)) == 6 * queries


def test_simba_takes_pixels_in_an_order_of_the_seed_and_the_image():
    orders = [order(*key) for key in ((0, 0), (0, 0), (1, 0), (0, 1))]
    assert orders[0] == orders[1] and len(set(orders)) == 3
    assert all(sorted(one) == list(range(16)) != list(one) for one in orders)


def order(seed: int, index: int) -> tuple[int, ...]:
    """The pixels of one image as they are first moved."""
    model, x, y, _ = sure(1)
    SimBA(queries=100, seed=seed)(model, x * 0.5 + 0.25, y, torch.tensor([index]))
    asked = torch.cat(model.images)
    changed = (asked[1:] != asked[0]).flatten(1)
    return tuple(dict.fromkeys(int(place) for row in changed for place in row.nonzero()))
