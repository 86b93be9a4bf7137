"""Attacks that see answers only: known distances, budgets of queries, no batch mates, an oracle."""

import pytest
import torch
from worlds import linear_world

from holdfast import data as datasets
from holdfast import model as models
from holdfast import training
from holdfast.attack import HopSkipJump, SimBA
from holdfast.errors import BadInput
from holdfast.geometry import length
from holdfast.model import Metered, predict

WORLD = linear_world()
MODEL, X, Y = WORLD.model.float(), WORLD.x.float(), WORLD.y
INDEX = torch.arange(len(X)) + 40


@pytest.fixture(scope="module")
def digits():
    """A small network, and 16 images that it knows."""
    data = datasets.load("digits")
    network = models.create(
        "gupta_cnn", image=data.image, classes=10, seed=0, widths=(8,), dense=32
    )
    watch = training.Watch(images=20)
    training.train(network, data, epochs=8, precision="fp32", watch=watch)
    known = (predict(network, data.test.x).argmax(1) == data.test.y).nonzero().flatten()[:16]
    return network.eval(), data.test.only(known)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_hop_skip_jump_comes_near_the_true_distance(norm):
    adv = HopSkipJump(norm=norm, queries=4000)(MODEL, X, Y, index=INDEX)
    assert (predict(MODEL, adv).argmax(1) != Y).all()
    found, true = length(adv - X, norm), WORLD.margin[norm].float()
    assert (found >= 0.999 * true).all()
    assert (found / true).median() < 1.1


ATTACKS = [HopSkipJump(queries=300), HopSkipJump(norm="linf", queries=300), SimBA(queries=300)]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_no_image_asks_more_than_its_budget(attack, digits):
    network, split = digits
    for k in range(4):
        meter = Metered(network)
        adv = attack(meter, split.x[k : k + 1], split.y[k : k + 1], split.index[k : k + 1])
        assert meter.forward <= 300 and meter.backward == 0
        assert adv.min() >= 0 and adv.max() <= 1


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_an_image_does_not_depend_on_its_batch_mates(attack, digits):
    network, split = digits
    x, y, index = split.x[:6], split.y[:6], split.index[:6]
    together = attack(network, x, y, index=index)
    order = torch.tensor([4, 1])
    torch.testing.assert_close(attack(network, x[order], y[order], index=index[order]),
                               together[order])  # fmt: skip
    assert torch.equal(attack(network, x, y, index=index), together)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_an_image_that_is_wrong_already_is_given_back(attack, digits):
    network, split = digits
    wrong = (split.y + 1) % 10
    assert torch.equal(attack(network, split.x, wrong, index=split.index), split.x)


def test_a_classifier_that_never_errs_leaves_every_image_as_it_was():
    def sure(x):
        return torch.tensor([1.0, 0.0]).expand(len(x), 2)

    x, y = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)
    for attack in ATTACKS:
        assert torch.equal(attack(sure, x, y), x)


def test_hop_skip_jump_in_a_batch_is_as_strong_as_foolbox_one_image_at_a_time(digits):
    foolbox = pytest.importorskip("foolbox")
    network, split = digits
    ours = HopSkipJump(queries=2000)(network, split.x, split.y, index=split.index)
    wrapped, theirs = foolbox.PyTorchModel(network, bounds=(0, 1)), []
    oracle = foolbox.attacks.HopSkipJumpAttack(steps=8, initial_gradient_eval_steps=100)
    for k in range(len(split)):  # 8 steps ask for about 2,000 predictions
        x = split.x[k : k + 1]
        adv, _, _ = oracle(wrapped, x, split.y[k : k + 1], epsilons=None)
        theirs.append(length(adv - x, "l2"))
    assert length(ours - split.x, "l2").median() <= 1.05 * torch.cat(theirs).median()


def test_simba_lowers_the_true_class_pixel_by_pixel(digits):
    network, split = digits
    meter = Metered(network)
    adv = SimBA(stride=0.3, queries=2000)(meter, split.x, split.y, index=split.index)
    fooled = predict(network, adv).argmax(1) != split.y
    assert fooled.double().mean() > 0.8
    change = (adv - split.x).abs()
    assert change.max() <= 0.3 + 1e-6  # each pixel is moved once
    before = predict(network, split.x).softmax(1)[torch.arange(16), split.y]
    after = predict(network, adv).softmax(1)[torch.arange(16), split.y]
    assert (after <= before + 1e-6).all()


@pytest.mark.parametrize(
    "bad", [lambda: HopSkipJump(queries=0), lambda: HopSkipJump(probes=1),
            lambda: SimBA(stride=0), lambda: SimBA(queries=0)]
)  # fmt: skip
def test_bad_settings_are_one_clear_line(bad):
    with pytest.raises(BadInput, match="expected") as caught:
        bad()
    assert "\n" not in str(caught.value)
