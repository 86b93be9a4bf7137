"""What an attack climbs: the loss of reward, and losses that lead to a class."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from worlds import Bandit, batch_of, linear_world

from holdfast import record
from holdfast.attack import APGD, BIM, CW, FGSM, MIM, PGD, Targeted, Transfer, TransferMIM
from holdfast.errors import BadInput
from holdfast.evaluation import acceptable, evaluate, save
from holdfast.feedback import Expected
from holdfast.loss import negative_expected_reward, resolve_loss

CLIMB = [FGSM(), BIM(), MIM(), PGD(), APGD(), TransferMIM(diversity=0.0)]


def test_the_loss_called_reward_is_that_of_the_objective_up_to_a_constant():
    """Expected regret with rewards +1 and -1 is 2 (1 - p_y); minus the reward is 1 less."""
    logits, y = torch.randn(5, dtype=torch.float64), torch.arange(5)
    regret, _ = Expected()(Bandit(logits), batch_of(y), {})
    torch.testing.assert_close(resolve_loss("reward")(logits.expand(5, 5), y), regret.detach() - 1)


def test_minus_the_reward_has_a_gradient_where_the_policy_is_nearly_sure():
    logits = torch.tensor([[16.0, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(
        negative_expected_reward(logits, torch.tensor([0])).sum(), logits
    )
    torch.testing.assert_close(slope[0, 1], 2 * torch.tensor(-16.0).exp(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("one", CLIMB, ids=lambda one: one.name)
def test_the_loss_of_reward_finds_what_lies_within_the_radius(one):
    world, radius = linear_world(), 0.01
    adv = replace(one, radius=radius, loss="reward")(world.model, world.x, world.y)
    assert torch.equal(world.model(adv).argmax(1) != world.y, world.margin["linf"] < radius)


@pytest.mark.parametrize("loss", ["ce", "margin", "reward"])
@pytest.mark.parametrize("one", CLIMB, ids=lambda one: one.name)
def test_a_targeted_attack_ends_in_its_class(one, loss):
    """Between two planes of three: whatever the target, it lies within this radius."""
    world = linear_world(classes=3)
    for target in range(3):
        aimed = Targeted(attack=replace(one, radius=0.15, loss=loss), target=target)
        adv = aimed(world.model, world.x, world.y)
        here = world.y == target
        reached = world.model(adv).argmax(1) == target
        assert reached.double().mean() > 0.9
        assert acceptable(world.x, adv, 0.15, "linf").all() and aimed.radius == 0.15
        assert torch.equal(adv[here], world.x[here]) and (adv[~here] != world.x[~here]).any()


@pytest.mark.parametrize("kind", ["least", "most"])
def test_the_target_is_the_least_or_most_likely_wrong_class(kind):
    world = linear_world(classes=5)
    logits = world.model(world.x).detach()
    rivals = logits.scatter(1, world.y[:, None], torch.inf if kind == "least" else -torch.inf)
    target = rivals.argmin(1) if kind == "least" else rivals.argmax(1)
    adv = Targeted(attack=PGD(radius=0.05), target=kind)(world.model, world.x, world.y)
    rise = (world.model(adv) - logits).detach()
    assert (rise.gather(1, target[:, None]) > 0).all()
    for i in range(4):
        plain = Targeted(attack=PGD(radius=0.05), target=int(target[i]))
        alone = plain(world.model, world.x[i : i + 1], world.y[i : i + 1], torch.tensor([i]))
        torch.testing.assert_close(alone[0], adv[i])


def test_an_evaluation_and_a_transfer_take_a_targeted_attack():
    world = linear_world()
    one = Targeted(attack=BIM(radius=0.01))
    sent = Transfer(attack=one, source=world.model)
    found = evaluate(world.model, world.x, world.y, attacks={"aimed": one, "sent": sent})
    for result in found.attacks:
        assert torch.equal(result.correct, world.margin["linf"] > 0.01)
        assert result.radius == 0.01


def test_each_image_may_have_a_target_of_its_own_found_by_its_position():
    world = linear_world(classes=3)
    index = torch.arange(len(world.x)).flip(0) + 5
    targets = torch.arange(len(world.x) + 5) % 3
    one = Targeted(attack=PGD(radius=0.15), target=targets)
    adv = one(world.model, world.x, world.y, index)
    wanted = targets[index]
    for kind in range(3):
        some = wanted == kind
        alone = Targeted(attack=PGD(radius=0.15), target=kind)
        found = alone(world.model, world.x[some], world.y[some], index[some])
        torch.testing.assert_close(adv[some], found)
    with pytest.raises(BadInput, match=r"each position in the data set .*, 9 among them"):
        Targeted(attack=PGD(), target=targets[:9])(
            world.model, world.x[:1], world.y[:1], torch.tensor([9])
        )


@pytest.mark.parametrize("cascade", [False, True])
def test_an_evaluation_says_how_many_reached_their_class(cascade, tmp_path):
    world = linear_world(classes=3)
    attacks = {"aimed": Targeted(attack=PGD(radius=0.01), target=2), "plain": PGD(radius=0.01)}
    attacks["sent"] = Transfer(attack=attacks["aimed"], source=world.model)
    found = evaluate(world.model, world.x, world.y, attacks=attacks, cascade=cascade, batch_size=7)
    aimed, plain, sent = found.attacks
    led = (world.y != 2) & (world.model(world.x).argmax(1) != 2)  # what is there already is not led
    led = led & found.clean.correct if cascade else led
    adv = attacks["aimed"](world.model, world.x, world.y)
    there = world.model(adv).argmax(1) == 2
    assert 0 < there[led].sum() < led.sum()
    assert torch.equal(aimed.reached.correct, there[led])
    assert aimed.as_dict()["reached"] == aimed.reached.accuracy
    assert not len(plain.reached.correct) and "reached" not in plain.as_dict()
    assert len(sent.reached.correct) == int(
        (led & (aimed.correct & plain.correct if cascade else led)).sum()
    )
    (remark, *_) = found.remarks
    assert remark.startswith(f"aimed: of {int(led.sum())} images led to another class, ")
    assert remark in found.table()
    held = load_file(save(found, tmp_path, world.y))
    assert torch.equal(held["aimed.prediction"] == 2, aimed.prediction == 2)
    assert torch.equal(held["aimed.target"] >= 0, led)


@pytest.mark.parametrize("attack", [Targeted(attack=PGD(radius=1e-6), target="most")], ids=["most"])
def test_what_is_taken_for_the_target_anyhow_has_not_reached_it(attack):
    world = linear_world(classes=3)
    wrong = (world.y + 1) % 3  # every image is taken for another class than its label
    (one,) = evaluate(world.model, world.x, wrong, attacks={"led": attack}).attacks
    assert not len(one.reached.correct)


def test_a_record_tells_tensors_of_targets_apart():
    first = torch.arange(1200) % 3
    other = first.clone()
    other[600] = 1 - other[600].clamp_max(1)
    one, same, two = (record.plain(Targeted(attack=PGD(), target=t)) for t in (first, first, other))
    assert one == same != two


@pytest.mark.parametrize("target", [[1.7], [True], [[1], [2]]])
def test_a_tensor_of_what_are_no_classes_is_refused(target):
    with pytest.raises(BadInput, match="a tensor of classes, an integer for each position"):
        Targeted(attack=PGD(), target=torch.tensor(target))


def test_no_image_is_led_nowhere():
    world = linear_world()
    one = Targeted(attack=PGD(), target=torch.zeros(4, dtype=torch.long))
    assert len(one(world.model, world.x[:0], world.y[:0])) == 0


def test_an_attack_of_ones_own_may_call_anything_its_aim():
    class Mine:
        aimed_at = "least"

        def __call__(self, model, x, y):
            return x

    world = linear_world()
    (one,) = evaluate(world.model, world.x, world.y, attacks={"mine": Mine()}).attacks
    assert not len(one.reached.correct)


@pytest.mark.parametrize("target", [-1, 2])
def test_a_target_that_is_no_class_is_refused(target):
    world = linear_world()
    with pytest.raises(BadInput, match="expected a target from 0 to 1"):
        Targeted(attack=PGD(), target=target)(world.model, world.x, world.y)


@pytest.mark.parametrize("one", [CW(), APGD(loss="dlr", targets=3), lambda model, x, y: x])
def test_an_attack_that_climbs_no_loss_of_one_class_is_refused(one):
    with pytest.raises(BadInput, match="expected an attack that climbs the loss"):
        Targeted(attack=one)
