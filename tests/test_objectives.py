"""Policy gradients against gradients worked out by summing over all actions."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from worlds import Bandit, batch_of

from holdfast import feedback
from holdfast.errors import BadInput
from holdfast.feedback import (
    CrossEntropy,
    EpsilonGreedy,
    Expected,
    Matrix,
    Mixed,
    PolicyGradient,
    Signed,
    Weighted,
    draw,
    table,
)
from holdfast.feedback.weights import require_weights

LOGITS = torch.tensor([1.0, -0.5, 0.3])
COUNT = 60_000
ZERO_ONE = Signed(correct=1, wrong=0)
ODD = Matrix(values=((2.0, -1.0, 0.5), (0.0, 1.0, -2.0), (-0.5, 0.0, 0.25)))


def gradient(objective, y: torch.Tensor, state=None) -> torch.Tensor:
    """Of the mean loss, with respect to the bandit's logits."""
    model = Bandit(LOGITS)
    loss, _ = objective(model, batch_of(y), state or {})
    loss.mean().backward()
    assert model.logits.grad is not None
    return model.logits.grad


def ascent(reward, y: int) -> torch.Tensor:
    """Analytic: the negative gradient of the policy's expected reward, -sum_a p_a R_a (e_a - p)."""
    p, told = LOGITS.softmax(0), table(reward, torch.tensor([y]), 3)[0]
    return -(p * told) @ (torch.eye(3) - p)


UNBIASED = [
    {},
    {"baseline": "running"},
    {"baseline": "expected"},
    {"samples": 2, "baseline": "leave_one_out"},
    {"samples": 4, "baseline": "leave_one_out"},
    {"correction": "importance"},
    {"correction": "behaviour"},
    {"exploration": EpsilonGreedy(epsilon=0.4), "correction": "importance"},
    {"exploration": EpsilonGreedy(epsilon=0.4), "correction": "importance", "baseline": "expected"},
    {"exploration": EpsilonGreedy(epsilon=0.4), "correction": "importance", "samples": 3,
     "baseline": "leave_one_out"},
]  # fmt: skip


@pytest.mark.parametrize("reward", [Signed(), ZERO_ONE, ODD], ids=["signed", "zero-one", "matrix"])
@pytest.mark.parametrize("settings", UNBIASED, ids=str)
@pytest.mark.parametrize("y", [0, 2])
def test_the_mean_sampled_gradient_is_that_of_the_expected_reward(settings, reward, y):
    found = gradient(
        PolicyGradient(reward=reward, **settings),
        torch.full((COUNT,), y),
        {"mean": torch.tensor(0.3)},
    )
    torch.testing.assert_close(found, ascent(reward, y), atol=0.015, rtol=0)


@pytest.mark.parametrize("epsilon", [0.2, 0.7])
def test_the_log_of_the_mixed_policy_climbs_what_the_behaviour_earns(epsilon):
    """Its mean gradient is (1 - epsilon) that of the expected reward: same direction, shorter."""
    objective = PolicyGradient(exploration=EpsilonGreedy(epsilon=epsilon), correction="behaviour")
    found = gradient(objective, torch.full((COUNT,), 1))
    torch.testing.assert_close(found, (1 - epsilon) * ascent(Signed(), 1), atol=0.015, rtol=0)


def test_weighting_punished_actions_by_the_policy_is_biased_as_documented():
    epsilon, y, p = 0.4, 1, LOGITS.softmax(0)
    objective = PolicyGradient(exploration=EpsilonGreedy(epsilon=epsilon), correction="policy")
    behaviour = (1 - epsilon) * p + epsilon / 3
    told = table(Signed(), torch.tensor([y]), 3)[0]
    weight = behaviour * torch.where(told < 0, p, 1) * told
    biased = -weight @ (torch.eye(3) - p)
    found = gradient(objective, torch.full((COUNT,), y))
    torch.testing.assert_close(found, biased, atol=0.015, rtol=0)
    assert (biased - ascent(Signed(), y)).abs().max() > 0.03


def test_a_clipped_importance_weight_is_biased():
    explored = EpsilonGreedy(epsilon=0.4)
    clipped = PolicyGradient(exploration=explored, correction="importance", clip=0.5)
    found = gradient(clipped, torch.full((COUNT,), 0))
    assert (found - ascent(Signed(), 0)).abs().max() > 0.1


@pytest.mark.parametrize("coin", ["image", "batch"])
def test_mixed_is_the_mean_of_zero_one_epsilon_greedy(coin):
    """Zou et al.'s objective without its noise; with a coin per batch, over many batches."""
    epsilon, y = 0.3, 2
    exploration = EpsilonGreedy(epsilon=epsilon, coin=coin)
    total = torch.zeros(3)
    for seed in range(400):
        objective = PolicyGradient(reward=ZERO_ONE, exploration=exploration, seed=seed)
        total += gradient(objective, torch.full((300,), y))
    twin = gradient(Mixed(epsilon=epsilon), torch.tensor([y]))
    torch.testing.assert_close(total / 400, twin, atol=0.02, rtol=0)


def test_one_coin_for_the_batch_explores_all_or_nothing():
    coin = EpsilonGreedy(epsilon=0.5, coin="batch")
    certain = torch.tensor([[1.0, 0.0, 0.0]]).repeat(500, 1)
    shares = []
    for epoch in range(60):
        batch = batch_of(torch.zeros(500, dtype=torch.int64), epoch)
        action = draw(certain, batch, samples=1, seed=0, exploration=coin)
        shares.append((action != 0).float().mean().item())
    explored = [share for share in shares if share > 0]
    assert all(0.55 < share < 0.78 for share in explored)  # two thirds of uniform picks are wrong
    assert 15 < len(explored) < 45


def test_expected_signed_reward_is_the_mean_absolute_error():
    y = torch.tensor([0, 1, 2, 1])
    p = LOGITS.softmax(0).expand(4, 3)
    error = (torch.eye(3)[y] - p).abs().sum(1)
    loss, _ = Expected()(Bandit(LOGITS), batch_of(y), {})
    torch.testing.assert_close(loss, error)


def test_cross_entropy_at_a_uniform_start_climbs_k_times_faster_than_expected_reward():
    model = Bandit(torch.zeros(10))
    slopes = []
    for objective in (CrossEntropy(), Expected(reward=ZERO_ONE)):
        loss, _ = objective(model, batch_of(torch.tensor([3])), {})
        slopes.append(torch.autograd.grad(loss.sum(), model.logits)[0])
    torch.testing.assert_close(slopes[0], 10 * slopes[1])


@pytest.mark.parametrize(
    "objective", [Expected(entropy=0.5), PolicyGradient(entropy=0.5)], ids=repr
)
def test_the_entropy_bonus_is_the_gradient_of_the_entropy(objective):
    y = torch.full((COUNT,), 0)
    p = LOGITS.softmax(0)
    slope = -p * (p.log() - (p * p.log()).sum())
    found = gradient(objective, y) - ascent(Signed(), 0)
    torch.testing.assert_close(found, -0.5 * slope, atol=0.015, rtol=0)


def test_the_running_mean_is_of_past_batches_only():
    objective = PolicyGradient(reward=ZERO_ONE, baseline="running")
    certain = Bandit(torch.tensor([50.0, 0.0, 0.0]))
    right, wrong = (
        batch_of(torch.zeros(8, dtype=torch.int64)),
        batch_of(torch.ones(8, dtype=torch.int64)),
    )
    _, state = objective(certain, right, {})
    assert state["mean"] == 1
    _, state = objective(certain, wrong, state)
    torch.testing.assert_close(state["mean"], torch.tensor(0.9))


def test_exploration_follows_its_schedule():
    epsilon = EpsilonGreedy(epsilon=0.5, final=0.1, over=4)
    assert [round(epsilon.at(e), 3) for e in (0, 2, 4, 9)] == [0.5, 0.3, 0.1, 0.1]
    assert EpsilonGreedy(epsilon=0.2).at(50) == 0.2


def test_actions_do_not_depend_on_batch_mates():
    settings = {"samples": 3, "seed": 0, "exploration": EpsilonGreedy(epsilon=0.3)}
    whole = batch_of(torch.zeros(50, dtype=torch.int64))
    policy = torch.rand(50, 3).softmax(1)
    together = draw(policy, whole, **settings)
    for i in (0, 17, 49):
        part = batch_of(torch.zeros(1, dtype=torch.int64))
        alone = type(part)(x=part.x, y=part.y, index=torch.tensor([i]))
        assert torch.equal(draw(policy[i : i + 1], alone, **settings), together[i : i + 1])


SAFE = [
    {"correction": "importance"}, {"correction": "behaviour"}, {"correction": "policy"},
    {"reward": ZERO_ONE},
]  # fmt: skip


ONE_ROW = Matrix(values=((1.0, 0.0, -1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


@pytest.mark.parametrize(
    "reward", [Signed(), ODD, ONE_ROW, Weighted(), lambda action, y: (action == y).float()]
)
def test_the_diverging_combination_is_refused_with_its_remedies(reward):
    with pytest.raises(BadInput) as refusal:
        PolicyGradient(reward=reward, exploration=EpsilonGreedy(epsilon=0.1))
    for remedy in ("importance", "behaviour", "policy", "1 and 0"):
        assert remedy in str(refusal.value)


@pytest.mark.parametrize("baseline", ["running", "expected", "leave_one_out"])
def test_a_baseline_makes_zero_one_rewards_diverge_too(baseline):
    with pytest.raises(BadInput, match="diverges"):
        PolicyGradient(
            reward=ZERO_ONE, baseline=baseline, samples=2, exploration=EpsilonGreedy(epsilon=0.1)
        )


def lowest_log_probability(**settings: object) -> float:
    """Of any class, after 400 steps on four images."""
    objective = PolicyGradient(exploration=EpsilonGreedy(epsilon=0.2), **settings)  # pyright: ignore
    model = Bandit(torch.zeros(3))
    optimizer = torch.optim.SGD(model.parameters(), 3.0)
    for epoch in range(400):
        loss, _ = objective(model, batch_of(torch.zeros(4, dtype=torch.int64), epoch), {})
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    return model.logits.log_softmax(0).min().item()


def test_the_refused_combination_diverges_and_the_remedies_do_not():
    assert lowest_log_probability(allow_divergent=True) < -100
    for remedy in SAFE:
        assert lowest_log_probability(**remedy) > -40, remedy


BAD = [
    lambda: Signed(correct=0, wrong=0),
    lambda: Matrix(values=((1.0, 2.0), (0.0, 1.0))),
    lambda: Matrix(values=((1.0, 0.0),)),
    lambda: Matrix(values=((1.0, float("nan")), (0.0, 1.0))),
    lambda: Matrix(values=((0.0, 0.0), (0.0, 1.0))),
    lambda: Matrix(values=((float("inf"), 0.0), (0.0, 1.0))),
    lambda: EpsilonGreedy(epsilon=1.5),
    lambda: EpsilonGreedy(epsilon=0.1, over=0),
    lambda: Mixed(epsilon=-0.1),
    lambda: PolicyGradient(samples=0),
    lambda: PolicyGradient(baseline="leave_one_out"),
    lambda: PolicyGradient(
        baseline="leave_one_out", samples=2, exploration=EpsilonGreedy(coin="batch")
    ),
    lambda: table(ODD, torch.tensor([0]), 4),
]


@pytest.mark.parametrize("make", BAD, ids=range(len(BAD)))
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput, match="expected"):
        make()


def test_an_action_is_compared_with_the_mean_of_the_others():
    """Where all actions earn the same there is nothing to learn."""
    y = torch.zeros(6, dtype=torch.int64)
    same = PolicyGradient(
        samples=4, baseline="leave_one_out", reward=lambda action, y: (action >= 0).float()
    )
    loss, _ = same(Bandit(LOGITS), batch_of(y), {})
    assert loss.abs().max() == 0


@pytest.mark.parametrize("weights", [(1.0, math.nan), (-1.0, 1.0), (0.0, 0.0), 2.0, "Balanced"])
def test_weights_of_classes_are_numbers(weights):
    with pytest.raises(BadInput, match="class weights of 0 or more"):
        require_weights(weights)


def test_the_lowest_weighted_reward_is_that_of_the_least_kind_class():
    def lowest(**own: Any) -> float:
        return feedback.Weighted(**own).lowest

    assert lowest(wrong=0.5, weights=(0.1, 2.0)) == 0.05
    assert lowest(weights=(0.5, 2.0)) == -2.0
    assert lowest(wrong=0.5) == 0.0 and lowest() == -1.0
    guarded = feedback.PolicyGradient(
        reward=feedback.Weighted(wrong=0.5, weights=(0.1,) * 10),
        exploration=feedback.EpsilonGreedy(epsilon=0.5),
    )
    harsh = feedback.Repeated(growth=0.09, most=5)
    assert not guarded.diverges
    with pytest.raises(BadInput, match="rewards below 0"):
        dataclasses.replace(guarded, repeated=harsh)
