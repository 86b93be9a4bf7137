"""What an attack climbs: the loss of reward, and losses that lead to a class."""

from dataclasses import replace

import pytest
import torch
from worlds import Bandit, batch_of, linear_world

from holdfast.attack import APGD, BIM, FGSM, MIM, PGD
from holdfast.feedback import Expected
from holdfast.loss import called, punishment

CLIMB = [FGSM(), BIM(), MIM(), PGD(), APGD()]


def test_the_loss_called_reward_is_that_of_the_objective_up_to_a_constant():
    """Expected regret with rewards +1 and -1 is 2 (1 - p_y); minus the reward is 1 less."""
    logits, y = torch.randn(5, dtype=torch.float64), torch.arange(5)
    regret, _ = Expected()(Bandit(logits), batch_of(y), {})
    torch.testing.assert_close(called("reward")(logits.expand(5, 5), y), regret.detach() - 1)


def test_minus_the_reward_has_a_gradient_where_the_policy_is_nearly_sure():
    logits = torch.tensor([[16.0, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(punishment(logits, torch.tensor([0])).sum(), logits)
    torch.testing.assert_close(slope[0, 1], 2 * torch.tensor(-16.0).exp(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("one", CLIMB, ids=lambda one: one.name)
def test_the_loss_of_reward_finds_what_lies_within_the_radius(one):
    world, radius = linear_world(), 0.01
    adv = replace(one, radius=radius, loss="reward")(world.model, world.x, world.y)
    assert torch.equal(world.model(adv).argmax(1) != world.y, world.margin["linf"] < radius)
