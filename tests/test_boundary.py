"""The boundary attack: known distances, budgets of queries, no batch mates, an oracle."""

import warnings

import pytest
import torch
from small import digits_network, known_digits
from worlds import linear_world

from holdfast.attack import BoundaryAttack
from holdfast.errors import BadInput
from holdfast.evaluation import acceptable
from holdfast.geometry import length
from holdfast.model import Metered, predict

QUICK = BoundaryAttack(queries=200)


@pytest.fixture(scope="module")
def digits():
    """A small network, and 20 images that it knows."""
    network = digits_network()
    return network, known_digits(network, 20)


def test_it_comes_near_the_true_distance():
    world = linear_world()
    x, y, true = world.x.float(), world.y, world.margin["l2"].float()
    adv = BoundaryAttack(queries=800)(world.model.float(), x, y)
    assert (predict(world.model, adv).argmax(1) != y).all()
    found = length(adv - x, "l2")
    assert (found >= 0.999 * true).all()
    assert (found / true).median() < 1.1


def test_more_queries_never_come_out_further(digits):
    network, split = digits
    near = [
        length(BoundaryAttack(queries=n)(network, split.x, split.y, split.index) - split.x, "l2")
        for n in (50, 150, 450)
    ]
    assert (near[1] <= near[0] + 1e-6).all() and (near[2] <= near[1] + 1e-6).all()
    assert near[2].median() < 0.8 * near[0].median()


@pytest.mark.parametrize("queries", [1, 2, 12, 14, 100])
def test_no_image_asks_more_than_its_budget(queries, digits):
    network, split = digits
    for k in range(3):
        meter = Metered(network)
        some = split.only(torch.tensor([k]))
        adv = BoundaryAttack(queries=queries)(meter, some.x, some.y, some.index)
        assert meter.forward <= queries and meter.backward == 0
        assert meter.forward >= queries - 1 or queries < 14  # the last look costs two
        assert acceptable(some.x, adv, float("inf"), "l2").all()


def test_an_image_does_not_depend_on_its_batch_mates(digits):
    network, split = digits
    x, y, index, order = split.x[:6], split.y[:6], split.index[:6], torch.tensor([4, 1])
    together = QUICK(network, x, y, index)
    apart = QUICK(network, x[order], y[order], index[order])
    torch.testing.assert_close(apart, together[order])
    assert torch.equal(QUICK(network, x, y, index), together)
    assert not torch.equal(BoundaryAttack(queries=200, seed=1)(network, x, y, index), together)


def test_an_image_that_is_wrong_already_is_given_back(digits):
    network, split = digits
    assert torch.equal(QUICK(network, split.x, (split.y + 1) % 10, split.index), split.x)


def test_a_classifier_that_never_errs_leaves_every_image_as_it_was():
    x, y = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)
    sure = torch.tensor([1.0, 0.0])
    assert torch.equal(QUICK(lambda x: sure.expand(len(x), 2), x, y), x)


def test_it_is_as_strong_as_foolbox_at_equal_queries(digits):
    """Medians over images; theirs asks 250 times after its start, which it draws for itself."""
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    network, split = digits
    start = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(steps=20)
    oracle = foolbox.attacks.BoundaryAttack(steps=250, init_attack=start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, _, _ = oracle(
            foolbox.PyTorchModel(network, bounds=(0, 1)), split.x, split.y, epsilons=None
        )
    for seed in range(2):
        adv = BoundaryAttack(queries=250, seed=seed)(network, split.x, split.y, split.index)
        assert length(adv - split.x, "l2").median() <= length(theirs - split.x, "l2").median()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: BoundaryAttack(queries=0),
        lambda: BoundaryAttack(along=0),
        lambda: BoundaryAttack(ahead=1),
    ],
)
def test_bad_settings_are_one_clear_line(bad):
    with pytest.raises(BadInput, match="expected") as caught:
        bad()
    assert "\n" not in str(caught.value)
