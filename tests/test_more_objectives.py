"""MaxRL, GCE, PPO, TRADES, class weights, repeated mistakes, handovers: known answers."""

import math
from dataclasses import make_dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from worlds import Bandit, batch_of

from holdfast import noise, record
from holdfast.errors import BadInput
from holdfast.feedback import (
    GCE,
    MART,
    PPO,
    CrossEntropy,
    EpsilonGreedy,
    Expected,
    Handover,
    MaxRL,
    PolicyGradient,
    Repeated,
    Signed,
    Trades,
    Weighted,
    active_objective,
    draw,
    suited,
    table,
)
from holdfast.loss import kl_divergence
from holdfast.types import Batch

LOGITS = torch.tensor([1.0, -0.5, 0.3])
ZERO_ONE = Signed(correct=1, wrong=0)
COUNT = 60_000


def gradient(objective, y: torch.Tensor, state=None, epoch: int = 0) -> torch.Tensor:
    model = Bandit(LOGITS)
    loss, _ = objective(model, batch_of(y, epoch), state or {})
    loss.mean().backward()
    assert model.logits.grad is not None
    return model.logits.grad


def series(y: int, terms: int) -> torch.Tensor:
    """Analytic: minus the gradient of p_y, times the sum over k of (1 - p_y)^(k - 1)."""
    p = LOGITS.softmax(0)
    ascent = p[y] * (torch.eye(3)[y] - p)
    return -sum((1 - p[y]) ** (k - 1) for k in range(1, terms + 1)) * ascent


@pytest.mark.parametrize("samples", [2, 3, 8])
@pytest.mark.parametrize("y", [0, 1])
def test_maxrl_climbs_one_term_less_than_it_has_actions(samples, y):
    sampled = gradient(MaxRL(samples=samples), torch.full((COUNT,), y))
    exact = gradient(MaxRL(samples=samples, exact=True), torch.tensor([y]))
    torch.testing.assert_close(exact, series(y, samples - 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(sampled, exact, atol=0.015, rtol=0)


def test_maxrl_lies_between_reward_and_cross_entropy():
    y = torch.tensor([1])
    reward = gradient(Expected(reward=ZERO_ONE), y)
    torch.testing.assert_close(gradient(MaxRL(samples=2, exact=True), y), reward)
    many = gradient(MaxRL(samples=400, exact=True), y)
    torch.testing.assert_close(many, gradient(CrossEntropy(), y), atol=1e-4, rtol=0)


@pytest.mark.parametrize("objective", [MaxRL(), MaxRL(exact=True), PPO()], ids=repr)
def test_the_entropy_bonus_climbs_the_entropy(objective):
    y, p = torch.zeros(50, dtype=torch.int64), LOGITS.softmax(0)
    slope = -p * (p.log() - (p * p.log()).sum())
    more = gradient(replace(objective, entropy=0.5), y) - gradient(objective, y)
    torch.testing.assert_close(more, -0.5 * slope)


def test_gce_runs_from_cross_entropy_to_reward():
    y, moving = torch.tensor([2]), GCE(q=0, final=1, over=4)
    assert torch.equal(gradient(moving, y), gradient(CrossEntropy(), y))
    at_end = gradient(moving, y, epoch=4)
    torch.testing.assert_close(at_end, gradient(Expected(reward=ZERO_ONE), y))
    p = LOGITS.softmax(0)[2]
    loss, _ = GCE(q=0.3)(Bandit(LOGITS), batch_of(y), {})
    torch.testing.assert_close(loss[0], (1 - p**0.3) / 0.3)


def test_the_first_pass_of_ppo_is_the_policy_gradient():
    y = torch.arange(300) % 3
    policy = PolicyGradient(samples=4, baseline="expected", seed=5)
    torch.testing.assert_close(
        gradient(PPO(samples=4, seed=5), y), gradient(policy, y), atol=1e-6, rtol=0
    )


def test_later_passes_of_ppo_keep_the_actions_and_stop_at_the_clip():
    y = torch.zeros(500, dtype=torch.int64)
    model, objective = Bandit(torch.zeros(3)), PPO(clip=0.2, seed=1)
    _, state = objective(model, batch_of(y), {})
    assert torch.allclose(state["this/before"], torch.full((500, 3), -math.log(3)))
    with torch.no_grad():
        model.logits[0] += 5.0  # the good class is far past the clip, the bad ones far below it
    loss, after = objective(model, batch_of(y), state)
    loss.mean().backward()
    assert model.logits.grad is not None and model.logits.grad.abs().max() == 0
    assert after["this/before"] is state["this/before"]


def test_a_later_pass_of_ppo_is_the_clipped_surrogate_of_the_first_actions():
    """By a plain loop; a mistake is counted in the first pass alone."""
    y, before = torch.arange(60) % 3, torch.tensor([0.2, 0.1, -0.4]).log_softmax(0)
    policy = before.expand(60, 3)
    objective = PPO(samples=3, clip=0.3, seed=2, repeated=Repeated(growth=0.5))
    first = {"this/before": policy, "this/told": table(Signed(), y, 3)}
    loss, after = objective(Bandit(LOGITS), batch_of(y), first)
    assert after is first
    weight = (LOGITS.log_softmax(0) - before).exp()  # above, below and inside the clip
    drawn = draw(policy.exp(), batch_of(y), samples=3, seed=2, exploration=EpsilonGreedy())
    for found, actions, told in zip(loss, drawn, table(Signed(), y, 3), strict=True):
        gain = told[actions] - before.exp() @ told
        climbed = [
            min(w * g, w.clamp(0.7, 1.3) * g) for w, g in zip(weight[actions], gain, strict=True)
        ]
        torch.testing.assert_close(found, -sum(climbed) / 3)


def test_trades_adds_beta_times_the_divergence_from_the_clean_policy():
    linear = torch.nn.Linear(4, 3)

    def model(x):
        return linear(x.flatten(1))

    x, adv, y = torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2), torch.arange(5) % 3
    batch = Batch(x=x, y=y, index=torch.arange(5), adv=adv)
    found, _ = Trades(beta=2.0)(model, batch, {})
    p, q = model(x).softmax(1), model(adv).softmax(1)
    wanted = -p[torch.arange(5), y].log() + 2 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(found, wanted)
    slopes = [torch.autograd.grad(loss.sum(), linear.weight)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*slopes)
    alone_loss, _ = Trades()(model, replace(batch, adv=None), {})
    torch.testing.assert_close(alone_loss, -p[torch.arange(5), y].log())


def test_trades_around_another_objective():
    batch = Batch(x=torch.rand(5, 1, 2, 2), y=torch.arange(5) % 3, index=torch.arange(5))
    pair = replace(batch, adv=torch.rand(5, 1, 2, 2))
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    base = PolicyGradient(samples=3, baseline="running")
    alone, state = base(linear, batch, {})
    both, kept = Trades(beta=2.0, base=base)(linear, pair, {})
    extra = Trades(beta=2.0)(linear, pair, {})[0] - CrossEntropy()(linear, batch, {})[0]
    torch.testing.assert_close(both, alone + extra)
    assert {f"base/{name}" for name in state} == set(kept) != set()
    torch.testing.assert_close(Trades(base=base)(linear, batch, {})[0], alone)


def test_mart_is_the_published_sum():
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    x, adv, y = torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2), torch.arange(5) % 3
    batch = Batch(x=x, y=y, index=torch.arange(5), adv=adv)
    p, q, rows = linear(x).softmax(1), linear(adv).softmax(1), torch.arange(5)

    def boosted(of):
        wrong = of.masked_fill(nn.functional.one_hot(y, 3).bool(), 0.0).amax(1)
        return -of[rows, y].log() - (1 - wrong).log()

    wanted = boosted(q) + 2 * (p * (p / q).log()).sum(1) * (1 - p[rows, y])
    found, _ = MART(beta=2.0)(linear, batch, {})
    torch.testing.assert_close(found, wanted)
    weights = list(linear.parameters())
    slopes = [torch.autograd.grad(loss.sum(), weights)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*slopes)
    torch.testing.assert_close(MART()(linear, replace(batch, adv=None), {})[0], boosted(p))
    sure = 1e3 * linear(x).detach()
    assert MART()(lambda _: sure, batch, {})[0].isfinite().all()


def test_label_smoothing_and_class_weights_of_cross_entropy():
    y = torch.tensor([0, 2])
    loss, _ = CrossEntropy(smoothing=0.3, weights=(2.0, 1.0, 0.5))(Bandit(LOGITS), batch_of(y), {})
    logp = LOGITS.log_softmax(0)
    smooth = -0.7 * logp[y] - 0.3 * logp.mean()
    torch.testing.assert_close(loss, smooth * torch.tensor([2.0, 0.5]))


def test_balanced_weights_are_one_on_average_and_found_at_any_depth():
    nested = Handover(
        first=CrossEntropy(weights="balanced"), second=PolicyGradient(reward=Weighted())
    )
    made = suited(nested, [60, 30, 10])
    weights = made.first.weights
    assert weights == pytest.approx((100 / 180, 100 / 90, 100 / 30))
    assert made.second.reward.weights == weights
    assert sum(w * n for w, n in zip(weights, [60, 30, 10], strict=True)) == pytest.approx(100)
    assert suited(made, [1, 1, 1]) is made  # numbers stay
    own = make_dataclass("Own", ["weights"], frozen=True)(np.ones(3))
    assert suited(own, [1, 1, 1]) is own
    assert suited(CrossEntropy(weights="balanced"), [3, 0, 1]).weights == (2 / 3, 0, 2)
    told = table(made.second.reward, torch.tensor([0, 2]), 3)
    torch.testing.assert_close(told[1], torch.tensor([-1.0, -1.0, 1.0]) * weights[2])


def test_mistakes_of_images_that_were_never_seen_are_none():
    repeated = Repeated(growth=0.5)
    one = Batch(x=torch.zeros(1, 1, 1, 1), y=torch.tensor([0]), index=torch.tensor([3]))
    state = repeated.remember(torch.tensor([[0.0, 1.0]]), one, {})
    later = Batch(x=torch.zeros(2, 1, 1, 1), y=torch.tensor([0, 1]), index=torch.tensor([9, 3]))
    told = table(Signed(), later.y, 2)
    assert repeated.punish(told, later, state).tolist() == [[1.0, -1.0], [-1.5, 1.0]]


def test_a_class_that_the_reference_rules_out_adds_no_divergence():
    never = torch.tensor([[1.0, 2.0, -torch.inf]])
    other = torch.tensor([[2.0, 1.0, 0.5]])
    wanted = torch.nn.functional.kl_div(
        other.log_softmax(1)[:, :2], never[:, :2].log_softmax(1), reduction="sum", log_target=True
    )
    torch.testing.assert_close(kl_divergence(other, never)[0], wanted)
    leaf = never.clone().requires_grad_()
    kl_divergence(leaf, never).sum().backward()
    assert kl_divergence(never, never).item() == 0 and leaf.grad is not None
    assert leaf.grad.tolist() == [[0.0, 0.0, 0.0]]
    assert kl_divergence(never, other).item() == math.inf


def test_an_action_of_no_probability_is_never_drawn(monkeypatch):
    """A cumulative sum may end below 1, and a number drawn may lie above it."""
    most = lambda index, shape, *key: torch.full((len(index), *shape), 1 - 2**-24)  # noqa: E731
    monkeypatch.setattr(noise, "uniform", most)
    policy = torch.tensor([[0.5, 0.4999, 0.0]])
    batch = Batch(x=torch.zeros(1, 1), y=torch.tensor([0]), index=torch.tensor([3]))
    picked = draw(policy, batch, samples=2, seed=0, exploration=EpsilonGreedy())
    assert picked.tolist() == [[1, 1]]


def test_repeated_mistakes_cost_more_until_the_image_is_right():
    repeated = Repeated(growth=0.5, most=2)
    batch = Batch(x=torch.zeros(2, 1, 1, 1), y=torch.tensor([0, 1]), index=torch.tensor([7, 3]))
    wrong, right = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    told, state = table(Signed(), batch.y, 2), {}
    for punished in (-1.0, -1.5, -2.0, -2.0):  # two mistakes count at most
        found = repeated.punish(told, batch, state)
        assert found.tolist() == [[1.0, punished], [punished, 1.0]]
        state = repeated.remember(wrong, batch, state)
    assert state["mistakes"][[7, 3]].tolist() == [4, 4]
    state = repeated.remember(right, batch, state)
    assert state["mistakes"].tolist() == [0] * 8
    first = Batch(x=batch.x[:1], y=batch.y[:1], index=torch.tensor([1]), positions=5)
    assert repeated.remember(wrong[:1], first, {})["mistakes"].tolist() == [0, 1, 0, 0, 0]
    assert len(repeated.remember(wrong[:1], replace(first, positions=0), state)["mistakes"]) == 8


@pytest.mark.parametrize(
    "objective",
    [Expected(repeated=Repeated(growth=1)), PolicyGradient(repeated=Repeated(growth=1), samples=4),
     PPO(repeated=Repeated(growth=1))],
    ids=lambda o: o.name,
)  # fmt: skip
def test_objectives_punish_repeated_mistakes(objective):
    y = torch.ones(200, dtype=torch.int64)  # class 1 is the least likely one
    calm = gradient(replace(objective, repeated=Repeated()), y)
    _, state = objective(Bandit(LOGITS), batch_of(y), {})
    assert state["mistakes"].tolist() == [1] * 200
    known = {"mistakes": state["mistakes"]}
    assert (gradient(objective, y, known) - calm).abs().max() > 0.02


def test_a_handover_switches_or_ramps_and_keeps_two_states():
    y, calls = torch.tensor([0]), []

    def model(x):
        calls.append(1)
        return LOGITS.expand(len(x), 3)

    running = PolicyGradient(baseline="running")
    ramp = Handover(first=CrossEntropy(), second=running, at=2, ramp=3)
    assert [ramp.weight(e) for e in range(7)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert [active_objective(ramp, e) for e in (1, 3, 5)] == [ramp.first, ramp, running]
    ce, _ = CrossEntropy()(model, batch_of(y), {})
    pg, _ = running(model, batch_of(y, 3), {"mean": torch.tensor(0.25)})
    calls.clear()
    loss, state = ramp(model, batch_of(y, 3), {"second/mean": torch.tensor(0.25)})
    torch.testing.assert_close(loss, 0.5 * ce + 0.5 * pg)
    assert len(calls) == 1 and set(state) == {"second/mean"}
    first, _ = ramp(model, batch_of(y, 0), {})
    torch.testing.assert_close(first, ce)
    assert set(ramp(model, batch_of(y, 6), {})[1]) == {"second/mean"}
    nested = Handover(first=Handover(first=CrossEntropy(), second=running, at=2), at=9)
    assert [active_objective(nested, e) for e in (1, 3)] == [CrossEntropy(), running]
    assert record.plain(ramp)["second"]["name"] == "reward"


@pytest.mark.parametrize(
    "bad",
    [
        lambda: MaxRL(samples=1),
        lambda: GCE(q=1.5),
        lambda: GCE(over=0),
        lambda: PPO(passes=0),
        lambda: PPO(clip=0),
        lambda: PPO(samples=1, baseline="leave_one_out"),
        lambda: Trades(beta=-1),
        lambda: MART(beta=-1),
        lambda: Trades(base=MART()),
        lambda: Trades(base=Handover(second=MART())),
        lambda: Trades(base=PPO()),
        lambda: CrossEntropy(smoothing=1.0),
        lambda: CrossEntropy(weights=(-1.0, 2.0)),
        lambda: Weighted(weights=(1.0, -1.0)),
        lambda: Weighted(correct=0, wrong=1),
        lambda: Repeated(growth=-1),
        lambda: Handover(at=-1),
        lambda: Handover(second=PPO(), ramp=2),
        lambda: Handover(first=PPO(), ramp=2),
        lambda: Handover(second=Trades(), ramp=2),
        lambda: table(Weighted(weights=(1.0, 2.0)), torch.tensor([0]), 3),
        lambda: table(Weighted(), torch.tensor([0]), 3),
        lambda: CrossEntropy(weights=(1.0,))(Bandit(LOGITS), batch_of(torch.tensor([0])), {}),
        lambda: PolicyGradient(
            reward=ZERO_ONE, repeated=Repeated(growth=1), exploration=EpsilonGreedy(epsilon=0.1)
        ),
    ],
)
def test_bad_settings_are_one_clear_line(bad):
    with pytest.raises(BadInput, match=r"expected|diverges") as caught:
        bad()
    assert "\n" not in str(caught.value)


def test_ppo_punishes_a_mistake_as_the_others_do():
    """The first mistake on an image costs nothing more; in later passes of a batch neither."""
    y, mistaken = torch.zeros(1, dtype=torch.int64), Bandit(torch.tensor([0.0, 5.0, 0.0]))
    objective = PPO(repeated=Repeated(growth=5))
    _, state = objective(mistaken, batch_of(y), {})
    assert state["this/told"].tolist() == [[1, -1, -1]]
    _, again = objective(mistaken, batch_of(y), state)
    assert again["this/told"].tolist() == [[1, -1, -1]]
    _, second = objective(mistaken, batch_of(y), {"mistakes": again["mistakes"]})
    assert second["this/told"].tolist() == [[1, -6, -6]]


def test_labels_may_be_narrower_integers():
    x, y = torch.rand(4, 3), torch.tensor([0, 1, 2, 1])
    (wide, _), (narrow, _) = (
        CrossEntropy(weights=(1.0, 2.0, 3.0))(lambda x: x, Batch(x=x, y=some, index=y), {})
        for some in (y, y.int())
    )
    assert torch.equal(wide, narrow)
