"""Attacks that see answers only: known distances, budgets of queries, no batch mates, an oracle."""

import copy

import pytest
import torch
from small import digits_network, known_digits
from torch import nn
from worlds import linear_world

from holdfast.attack import HopSkipJump, SimBA
from holdfast.attack._decisions import is_wrong
from holdfast.errors import BadInput
from holdfast.geometry import length, steepest
from holdfast.model import Metered, predict

WORLD = linear_world()
MODEL, X, Y = WORLD.model.float(), WORLD.x.float(), WORLD.y
INDEX = torch.arange(len(X)) + 40


@pytest.fixture(scope="module")
def digits():
    """A small network, and 16 images that it knows."""
    network = digits_network()
    return network, known_digits(network, 16)


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
    """Theirs in a batch too, but each image with a direction of length 1 of its own: as it comes,
    divided by the length of the whole batch, it is weaker than one image at a time."""
    foolbox = pytest.importorskip("foolbox")
    network, split = digits

    class Each(foolbox.attacks.HopSkipJumpAttack):
        def approximate_gradients(self, *words):
            found = super().approximate_gradients(*words)
            return type(found)(steepest(found.raw, "l2"))

    ours = HopSkipJump(queries=2000)(network, split.x, split.y, index=split.index)
    oracle = Each(steps=8, initial_gradient_eval_steps=100)  # about 2,000 predictions
    wrapped = foolbox.PyTorchModel(network, bounds=(0, 1))
    theirs, _, _ = oracle(wrapped, split.x, split.y, epsilons=None)
    far = [length(adv - split.x, "l2").median() for adv in (ours, theirs)]
    assert far[0] <= 1.05 * far[1]


def test_simba_lowers_the_true_class_pixel_by_pixel(digits):
    network, split = digits
    meter = Metered(network)
    adv = SimBA(step_size=0.3, queries=2000)(meter, split.x, split.y, index=split.index)
    fooled = predict(network, adv).argmax(1) != split.y
    assert fooled.double().mean() > 0.8
    change = (adv - split.x).abs()
    assert change.max() <= 0.3 + 1e-6  # each pixel is moved once
    before = predict(network, split.x).softmax(1)[torch.arange(16), split.y]
    after = predict(network, adv).softmax(1)[torch.arange(16), split.y]
    assert (after <= before + 1e-6).all()


@pytest.mark.parametrize(
    "bad", [lambda: HopSkipJump(queries=0), lambda: HopSkipJump(probes=1),
            lambda: SimBA(step_size=0), lambda: SimBA(queries=0)]
)  # fmt: skip
def test_bad_settings_are_one_clear_line(bad):
    with pytest.raises(BadInput, match="expected") as caught:
        bad()
    assert "\n" not in str(caught.value)


def test_an_image_on_the_boundary_is_not_wrong_yet():
    """Seen again in another batch it may come out right."""
    y = torch.zeros(3).long()
    logits = torch.tensor([[1.0, 1.0 + 1e-6], [1.0, 1.001], [1.0, -torch.inf]])
    assert is_wrong(lambda x: logits, torch.zeros(3, 1, 2, 2), y).tolist() == [False, True, False]


def test_rounding_costs_hop_skip_jump_nothing_on_colour_images():
    """Its probes came within a step of rounding of large images, and fp32 decided for them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.Tanh(), nn.Linear(64, 10))
        x = torch.rand(8, 3, 32, 32)
    wide, attack = copy.deepcopy(model).double(), HopSkipJump(norm="linf", queries=600)
    y = predict(model, x).argmax(1)
    near = length(attack(model, x, y) - x, "linf").median()
    exact = length(attack(wide, x.double(), y) - x.double(), "linf").median()
    assert near < 1.15 * exact
