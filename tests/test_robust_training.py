"""TRADES, weight perturbation, guards, averaged weights, passes: what a run does and costs."""

import logging
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

import pytest
import torch
from small import blobs, network
from torch import nn

from holdfast import attack, feedback, noise, own, record, training
from holdfast.attack import APGD, FAB, FGSM, MIM, PGD, MinMargin, Targeted, Transfer, TransferMIM
from holdfast.data import Augment
from holdfast.engine import Engine
from holdfast.errors import BadInput
from holdfast.team import Team
from holdfast.training import (
    AWP,
    AdamW,
    Adversarial,
    Guard,
    Watch,
    checkpoint,
    epoch,
    rehearsal,
    train,
)
from holdfast.training.guard import hardened
from holdfast.training.perturb import perturbed
from holdfast.training.recipe import Recipe
from holdfast.training.step import StepContext, step, with_adversarial
from holdfast.types import Batch

DATA = blobs()


def fast(**changes: Any) -> dict[str, Any]:
    usual = {"epochs": 2, "batch_size": 60, "optimizer": AdamW(lr=1e-2), "precision": "fp32"}
    return {**usual, **changes}


@pytest.mark.parametrize(
    "objective",
    [
        feedback.MaxRL(samples=16),
        feedback.GCE(q=0, final=0.7, over=6),
        feedback.PPO(passes=2),
        feedback.PolicyGradient(reward=feedback.Weighted(), samples=4, baseline="leave_one_out"),
        feedback.Handover(at=4, second=feedback.Expected(), ramp=2),
        feedback.Handover(at=2, second=feedback.PPO()),
    ],
    ids=lambda o: o.name,
)
def test_every_objective_learns(objective):
    trained = train(network(DATA), DATA, objective=objective, **fast(epochs=10, batch_size=24))
    assert trained.history[-1]["validation_clean"] > 0.9


def test_the_divergence_of_trades_buys_robustness():
    left = []
    slow = fast(epochs=25, batch_size=24, optimizer=AdamW(lr=2e-3))
    for beta in (0.0, 1.0):
        trained = train(
            network(DATA), DATA, objective=feedback.Trades(beta=beta),
            adversary=PGD(radius=0.16, steps=3), adversarial=Adversarial(start=4),
            watch=Watch(images=200, every=25), **slow,
        )  # fmt: skip
        left.append(trained.history[-1]["train_pgd"])
    assert left[1] > left[0] + 0.05


def bench(objective, adversary, **entry: Any) -> StepContext:
    model = network(DATA).eval()
    recipe = captured_recipe(objective=objective, adversary=adversary, **entry)
    return StepContext(
        model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), recipe=recipe,
        engine=Engine(device=torch.device("cpu")), adversary=adversary,
    )  # fmt: skip


def captured_recipe(objective, adversary, **entry: Any) -> Recipe:
    return Recipe(
        objective=objective, adversary=adversary, adversarial=Adversarial(**entry), epochs=1,
        batch_size=8, optimizer=AdamW(), schedule=training.Constant(), augment=Augment(),
        clip=None, ema=None, awp=AWP(), guard=Guard(), watch=Watch(), best="auto", keep_every=0,
        precision="fp32", device="cpu", seed=0,
    )  # fmt: skip


def test_the_adversary_of_trades_climbs_the_divergence():
    """A label has no part in it; the adversary's own loss would follow the label."""
    batch = Batch(x=DATA.test.x[:8], y=DATA.test.y[:8], index=torch.arange(8))
    other = Batch(x=batch.x, y=(batch.y + 1) % 3, index=batch.index)
    adversary = PGD(radius=0.1, steps=3)
    for objective, moves in ((feedback.Trades(), False), (feedback.CrossEntropy(), True)):
        at = bench(objective, adversary)
        made = [with_adversarial(at, at.model, b, 1.0, {}).adv for b in (batch, other)]
        assert made[0] is not None and made[1] is not None
        assert torch.equal(made[0], made[1]) is not moves


def test_weights_are_perturbed_up_the_loss_by_their_own_length_and_put_back():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    x, before = torch.rand(5, 3), {}
    for name, tensor in model.state_dict().items():
        before[name] = tensor.clone()
    weight = model[0].weight
    assert isinstance(weight, nn.Parameter)
    (up,) = torch.autograd.grad((model(x) ** 3).sum(), weight)
    model.load_state_dict(before)
    with perturbed(model, lambda: (model(x) ** 3).sum(), 0.1, Team()):
        wanted = before["0.weight"] + 0.1 * before["0.weight"].norm() * up / up.norm()
        torch.testing.assert_close(weight.detach(), wanted)
        now = model.state_dict()
        for name in ("0.bias", "1.weight", "1.running_mean"):
            assert torch.equal(now[name], before[name]), name
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_weight_that_the_loss_does_not_know_stays_as_it_was():
    used, idle = nn.Linear(3, 2), nn.Linear(2, 2)
    before = idle.weight.clone()
    with perturbed(nn.Sequential(used, idle), lambda: used(torch.ones(1, 3)).sum(), 0.1, Team()):
        assert torch.equal(idle.weight, before)


def test_passes_are_counted():
    """Per image: clean 1 + 1; PGD-3 adds 3 + 3; its weight perturbation one more of each; PPO
    with 2 passes 2 + 2; TRADES-1 has the reference, an attack step, and two images to train on."""

    def passes(**settings: Any) -> tuple[float, float]:
        row = train(
            network(DATA), DATA, watch=Watch(images=6), **fast(epochs=1, **settings)
        ).history[0]
        return row["forward_passes"], row["backward_passes"]

    pgd = PGD(radius=0.1, steps=3)
    assert passes() == (1, 1)
    assert passes(adversary=pgd) == (4, 4)
    assert passes(adversary=pgd, awp=AWP(gamma=0.01)) == (5, 5)
    assert passes(adversary=pgd, adversarial=Adversarial(mix="both")) == (5, 5)
    assert passes(objective=feedback.PPO(passes=2)) == (2, 2)
    one = PGD(radius=0.1, steps=1)
    assert passes(objective=feedback.Trades(), adversary=one) == (4, 3)
    assert passes(objective=feedback.Handover(at=0, ramp=3)) == (1, 1)


HISTORY = [
    {"epoch": 1, "validation_pgd": 0.90, "validation_clean": 0.9, "radius_share": 0.0},
    {"epoch": 2, "validation_pgd": 0.40, "validation_clean": 0.6, "radius_share": 0.5},
    {"epoch": 3, "validation_clean": 0.6, "radius_share": 1.0},
]


@pytest.mark.parametrize(
    ("pgd", "clean", "fires"),
    [
        (0.10, 0.7, True),
        (0.19, 0.6, True),
        (0.10, 0.5, True),  # clean accuracy may give way a little
        (0.20, 0.6, False),  # half of the best, and not more
        (0.10, 0.2, False),  # clean accuracy is gone too: a collapse, not this
    ],
)
def test_the_guard_knows_catastrophic_overfitting(pgd, clean, fires):
    row = {"epoch": 4, "validation_pgd": pgd, "validation_clean": clean}
    alarm = Guard().alarm(row, HISTORY)
    assert (alarm is not None) is fires
    assert alarm is None or "from 40.0%" in alarm
    assert Guard(catastrophe="ignore").alarm(row, HISTORY) is None
    assert Guard().alarm(row, []) is None
    assert Guard().alarm(row | {"validation_pgd": 0.0}, HISTORY[:1]) is None  # not yet attacked
    small = [HISTORY[1] | {"validation_pgd": 0.04}]
    assert Guard().alarm(row | {"validation_pgd": 0.0}, small) is None


@pytest.mark.parametrize(("drop", "pgd", "clean", "fires"), [
    (0.9, 0.03, 0.5, True), (0.9, 0.03, 0.05, False), (0.2, 0.3, 0.3, False), (0.2, 0.3, 0.5, True)
])  # fmt: skip
def test_a_drop_is_of_robust_accuracy_and_none_of_clean(drop, pgd, clean, fires):
    row = {"epoch": 4, "validation_pgd": pgd, "validation_clean": clean}
    assert (Guard(drop=drop).alarm(row, HISTORY) is not None) is fires


def test_where_weights_are_averaged_the_guard_looks_at_the_raw_ones():
    row = {"epoch": 4, "validation_pgd": 0.39, "validation_clean": 0.6, "raw_validation_pgd": 0.1,
           "raw_validation_clean": 0.6}  # fmt: skip
    before = [HISTORY[1] | {"raw_validation_pgd": 0.5, "raw_validation_clean": 0.6}]
    assert "from 50.0% to 10.0%" in (Guard().alarm(row, before) or "")


def test_a_guard_waits_for_the_adversary(monkeypatch):
    """Robust accuracy that is lost before it comes was luck; patience begins with it too."""
    falls(monkeypatch, at=2)
    late: Any = {"adversary": FGSM(radius=0.1), "adversarial": Adversarial(start=4)}
    for guard, epochs in ((Guard(catastrophe="stop"), 9), (Guard(patience=2), 7)):
        trained = train(network(DATA), DATA, guard=guard, **late, **fast(epochs=9))
        assert len(trained.history) == epochs, trained.stopped


def test_without_an_adversary_nothing_waits_for_one(monkeypatch):
    seen = iter([0.9, 0.5, 0.5, 0.8])
    looks = {"validation_pgd": 0.5, "validation_largest_class": 0.3}
    monkeypatch.setattr("holdfast.training.loop.watch_model",
                        lambda *_, **__: looks | {"validation_clean": next(seen)})  # fmt: skip
    trained = train(
        network(DATA), DATA, adversarial=Adversarial(start=2), best="clean", **fast(epochs=4)
    )
    assert trained.best_epoch == 1


def test_a_hardened_adversary_has_the_seed_of_the_run(monkeypatch):
    seeds = []
    real = PGD.__call__
    monkeypatch.setattr(PGD, "__call__", lambda self, *rest: seeds.append(self.seed) or real(
        self, *rest))  # fmt: skip
    for seed in (1, 2):
        falls(monkeypatch, at=2, until=3)
        train(network(DATA), DATA, adversary=FGSM(radius=0.1), seed=seed,
              guard=Guard(catastrophe="rollback"), **fast(epochs=3))  # fmt: skip
    assert len(set(seeds)) == 4  # two epochs of each run


def falls(monkeypatch, at: int, until: int = 10**9) -> None:
    """A watch that sees robustness vanish at one epoch (counted in looks, not in epochs)."""
    looks = []

    def seen(*_: Any, **__: Any) -> dict[str, float]:
        looks.append(1)
        gone = at <= len(looks) < until
        return {
            "validation_clean": 0.9, "validation_pgd": 0.1 if gone else 0.5 + len(looks) / 100,
            "validation_largest_class": 0.3,
        }  # fmt: skip

    monkeypatch.setattr("holdfast.training.loop.watch_model", seen)


def test_the_guard_rolls_back_and_hardens_the_adversary(tmp_path, monkeypatch, caplog):
    falls(monkeypatch, at=2, until=3)
    caplog.set_level(logging.WARNING)
    trained = train(
        network(DATA), DATA, adversary=FGSM(radius=0.1), guard=Guard(catastrophe="rollback"),
        out=tmp_path / "run", **fast(epochs=3),
    )  # fmt: skip
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]
    assert [row.get("rollbacks") for row in trained.history] == [None, 1, 1]
    assert [row["forward_passes"] for row in trained.history] == [2, 3, 3]  # FGSM, then PGD-2
    assert "catastrophic" in caplog.text and "2 steps" in caplog.text
    falls(monkeypatch, at=99)
    resumed = train(
        network(DATA), DATA, adversary=FGSM(radius=0.1), guard=Guard(catastrophe="rollback"),
        out=tmp_path / "run", resume=True, **fast(epochs=4),
    )  # fmt: skip
    assert resumed.history[-1]["forward_passes"] == 3  # it remembers


def test_a_rolled_back_epoch_leaves_no_trace(monkeypatch):
    """After the rollback the run is as if the harder adversary had come from that epoch on."""
    guard, settings = Guard(catastrophe="rollback"), fast(epochs=2, clip=1.0, ema=0.9)
    falls(monkeypatch, at=3, until=5)  # two looks an epoch: averaged weights, raw weights
    back = network(DATA)
    train(back, DATA, adversary=FGSM(radius=0.1), guard=guard, **settings)
    falls(monkeypatch, at=99)
    twin, hard = network(DATA), hardened(FGSM(radius=0.1), 1)

    def later(job, session):
        return hard if session.epoch else FGSM(radius=0.1)

    monkeypatch.setattr("holdfast.training.epoch.present_adversary", later)
    train(twin, DATA, adversary=FGSM(radius=0.1), **settings)
    for name, tensor in twin.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name


@pytest.mark.parametrize("catastrophe", ["warn", "stop", "ignore"])
def test_the_guard_stops_or_only_warns(catastrophe, monkeypatch, tmp_path):
    falls(monkeypatch, at=2)
    trained = train(
        network(DATA), DATA, adversary=FGSM(radius=0.1), guard=Guard(catastrophe=catastrophe),
        out=tmp_path / "run", **fast(epochs=3),
    )  # fmt: skip
    assert len(trained.history) == (2 if catastrophe == "stop" else 3)
    again = train(
        network(DATA), DATA, adversary=FGSM(radius=0.1), guard=Guard(catastrophe=catastrophe),
        out=tmp_path / "run", resume=True, **fast(epochs=4),
    )  # fmt: skip
    assert len(again.history) == (2 if catastrophe == "stop" else 4)  # what is stopped stays so
    assert ("warning" in trained.history[1]) is (catastrophe != "ignore")
    assert (trained.stopped is not None) is (catastrophe == "stop")


def test_a_rollback_that_does_not_help_ends_the_run(monkeypatch):
    falls(monkeypatch, at=2)
    trained = train(
        network(DATA), DATA, adversary=FGSM(radius=0.1), guard=Guard(catastrophe="rollback"),
        **fast(epochs=9),
    )  # fmt: skip
    assert [row.get("rollbacks") for row in trained.history] == [None, 3]
    assert trained.stopped is not None and "catastrophic" in trained.stopped


def test_patience_ends_a_run_that_gets_no_better():
    trained = train(
        network(DATA), DATA, guard=Guard(patience=2), optimizer=AdamW(lr=1e-9),
        **{k: v for k, v in fast(epochs=9).items() if k != "optimizer"},
    )  # fmt: skip
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]
    assert trained.stopped is not None and "no better epoch than 1" in trained.stopped


def test_there_must_be_something_to_perturb():
    model = nn.LayerNorm(4)
    said = "matrices or kernels to perturb, got none; drop awp"
    with (
        pytest.raises(BadInput, match=said),
        perturbed(model, lambda: model(torch.rand(2, 4)).sum(), 0.1, Team()),
    ):
        pass


def test_raw_weights_are_measured_beside_averaged_ones(tmp_path):
    train(network(DATA), DATA, ema=0.5, out=tmp_path / "run", **fast())
    row = record.rows(tmp_path / "run" / "metrics.jsonl")[-1]
    assert {"validation_clean", "raw_validation_clean", "raw_validation_entropy"} <= set(row)
    assert row["raw_validation_entropy"] != row["validation_entropy"]
    assert {name for name in row if name.startswith("raw_")} == {
        f"raw_{name}" for name in row if name.startswith("validation_")
    }


def test_hardened_adversaries():
    assert hardened(FGSM(radius=0.1, loss="margin"), 1) == PGD(
        radius=0.1, steps=2, rel_stepsize=0.625, loss="margin"
    )
    assert hardened(FGSM(norm="l2"), 1) == PGD(norm="l2", steps=2, rel_stepsize=0.625)
    assert hardened(PGD(steps=4, rel_stepsize=0.5), 2) == PGD(steps=16, rel_stepsize=0.125)
    assert hardened(FGSM(), 0) == FGSM()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Guard(drop=0),
        lambda: Guard(patience=-1),
        lambda: AWP(gamma=-1),
        lambda: AWP(start=-1),
        lambda: captured_recipe(feedback.Trades(), FGSM()),
        lambda: captured_recipe(feedback.Trades(), PGD(start="clean")),
        lambda: captured_recipe(feedback.CrossEntropy(), FGSM(), loss="kl"),
        lambda: captured_recipe(feedback.Handover(second=feedback.Trades()), FGSM()),
        lambda: hardened(lambda model, x, y: x, 1),
        lambda: captured_recipe(feedback.Trades(), PGD(), mix="both"),
        lambda: captured_recipe(feedback.Handover(second=feedback.MART()), PGD(), mix="both"),
        lambda: captured_recipe(feedback.Trades(), TransferMIM()),
        lambda: captured_recipe(feedback.CrossEntropy(), FAB(radius=None), ramp=2),
        lambda: captured_recipe(feedback.Trades(), MinMargin()),
        lambda: captured_recipe(feedback.Trades(), APGD(loss="dlr", targets=3)),
        lambda: captured_recipe(feedback.MART(), None),
        lambda: train(
            network(DATA),
            DATA,
            adversary=FGSM(),
            guard=Guard(catastrophe="rollback"),
            watch=Watch(every=2),
        ),
    ],
)
def test_bad_settings_are_one_clear_line(bad):
    with pytest.raises(BadInput, match="expected") as caught:
        bad()
    assert "\n" not in str(caught.value)


def test_patience_counts_from_measurement_to_measurement(tmp_path):
    """Measured in epochs 4, 8 and 9 alone, it stops at one of them; a stopped run stays so."""
    settings = fast(epochs=9, watch=Watch(every=4), guard=Guard(patience=2))
    trained = train(network(DATA), DATA, adversary=FGSM(radius=0.1), **settings)
    assert len(trained.history) % 4 == 0 or len(trained.history) == 9
    stopped = train(
        network(DATA), DATA, out=tmp_path / "run",
        **fast(epochs=9, optimizer=AdamW(lr=1e-9), guard=Guard(patience=1)),
    )  # fmt: skip
    again = train(
        network(DATA), DATA, out=tmp_path / "run", resume=True,
        **fast(epochs=9, optimizer=AdamW(lr=1e-9), guard=Guard(patience=1)),
    )  # fmt: skip
    assert stopped.stopped == again.stopped and len(again.history) == len(stopped.history) < 9


@pytest.mark.parametrize("scale", [1.0, 1e-24, 1e-30, 0.0])
def test_weights_move_by_a_share_of_their_length_however_small_the_gradient(scale):
    layer = nn.Linear(3, 2)
    before, x = layer.weight.detach().clone(), torch.rand(5, 3)
    with perturbed(nn.Sequential(layer), lambda: scale * layer(x).sum(), 0.1, Team()):
        moved = (layer.weight - before).norm() / before.norm()
    assert moved.item() == pytest.approx(0.1 if scale else 0.0, rel=1e-4)


@pytest.mark.parametrize("loss", ["kl", "objective"])
def test_an_attack_that_leaves_images_out_takes_all_where_the_loss_is_the_batch_s(loss):
    apgd = APGD(radius=0.3, steps=4)
    objective = feedback.Trades() if loss == "kl" else feedback.PolicyGradient(samples=2)
    settings = fast(epochs=1, objective=objective, adversary=apgd)
    train(network(DATA), DATA, adversarial=Adversarial(loss=loss), **settings)


@pytest.mark.parametrize("adversary", [PGD, APGD, MinMargin, MIM, FGSM])
def test_images_that_are_wrong_already_are_attacked_too(adversary):
    """Else training would see them clean, which at its beginning are most of all."""
    at = bench(feedback.CrossEntropy(), adversary(radius=0.05))
    x = DATA.test.x[:32]
    wrong = (at.model(x).argmax(1) + 1) % 3
    batch = Batch(x=x, y=wrong, index=torch.arange(32))
    adv = with_adversarial(at, at.model, batch, 1.0, {}).adv
    assert adv is not None
    loss = nn.functional.cross_entropy
    assert (loss(at.model(adv), wrong) > loss(at.model(x), wrong) + 0.01).item()
    assert ((adv - x).flatten(1).abs().amax(1) > 0.01).all()


@pytest.mark.parametrize("share, said", [(2 / 255, True), (0.25, False)])
def test_steps_that_cannot_cross_the_ball_are_said(share, said, caplog):
    adversary = PGD(radius=0.1, steps=4, rel_stepsize=share)
    train(network(DATA), DATA, adversary=adversary, **fast(epochs=1))
    assert ("all steps of the adversary together cross" in caplog.text) is said


def test_a_handover_that_does_not_come_is_said(caplog):
    for at, said in ((2, True), (1, False)):
        caplog.clear()
        train(network(DATA), DATA, objective=feedback.Handover(at=at), **fast(epochs=2))
        assert ("the second objective does not come in 2 epochs" in caplog.text) is said


def test_an_adversary_is_told_positions_and_has_another_seed_in_every_epoch():
    seen: list[tuple[int, int]] = []
    whole = len(DATA.train)

    @dataclass(frozen=True)
    class Noting:
        seed: int = 5

        def __call__(self, model, x, y, index):
            if len(x) == whole:  # not the two images that are tried before
                seen.append((self.seed, int(index.sum())))
            return x

    adversary = Transfer(attack=Noting(), source=network(DATA))
    train(network(DATA), DATA, adversary=adversary, **fast(epochs=3, batch_size=whole))
    assert len(seen) == 3 and len({places for _, places in seen}) == 1
    assert len({seed for seed, _ in seen}) == 3 and seen[0][0] == 5
    low = noise.reseeded(replace(PGD(), seed=5), 3).seed
    assert 0 < low < 2**32 and noise.reseeded(Noting(seed=-1), 3).seed == -1
    again = replace(PGD(), seed=5)
    assert noise.reseeded(again, 0) is again and noise.reseeded(again, 1) != again


def test_the_adversary_climbs_the_loss_with_the_state_of_its_own_part():
    """With mix=both the objective's state for adversarial images lies under `adv/`."""
    seen: list[set[str]] = []

    class Noting(feedback.CrossEntropy):
        def __call__(self, model, batch, state):
            seen.append(set(state))
            return super().__call__(model, batch, state)

    at = bench(Noting(), FGSM(radius=0.1), mix="both", loss="objective")
    batch = Batch(x=DATA.test.x[:8], y=DATA.test.y[:8], index=torch.arange(8))
    with_adversarial(
        at, at.model, batch, 1.0, {"adv/mine": torch.ones(1), "clean/x": torch.ones(1)}
    )
    assert seen == [{"mine"}]


def test_the_loss_of_pairs_is_not_climbed_while_they_are_made():
    with pytest.raises(BadInput, match="auto, kl or own for trades"):
        captured_recipe(feedback.Trades(), PGD(), loss="objective")


def test_the_gradient_s_norm_is_a_mean_over_all_updates_of_a_batch():
    ppo = feedback.PPO(passes=3, samples=2)
    norms: list[float] = []

    class Noting(torch.optim.SGD):
        def step(self, closure=None):
            grads = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(nn.utils.get_total_norm([g for g in grads if g is not None]).item())
            return super().step(closure)

    at = bench(ppo, None)
    at = replace(at, optimizer=Noting(at.model.parameters(), 0.5))
    batch = Batch(x=DATA.test.x[:8], y=DATA.test.y[:8], index=torch.arange(8))
    found = step(at, batch, 1.0, {})
    assert len(set(norms)) == 3 and found.norm.item() == pytest.approx(sum(norms) / 3)


def test_frozen_weights_with_a_gradient_of_old_change_nothing():
    """Neither the norm that is clipped, nor the weights that are trained; it stays as it was."""
    found = []
    for old in (0.0, 1e6):
        body = network(DATA)
        frozen = next(iter(body.parameters()))
        frozen.requires_grad_(False).grad = torch.full_like(frozen, old)
        trained = train(body, DATA, **fast(epochs=1, clip=0.5))
        found.append((trained.history[0]["gradient_norm"], [*body.parameters()][-1].detach()))
        assert frozen.grad is not None and (frozen.grad == old).all()
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_averaging_keeps_infinities_and_knows_what_is_not_saved():
    def made(value: float) -> Any:
        one = nn.Linear(1, 1, bias=False)
        nn.init.constant_(one.weight, value)
        one.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        one.register_buffer("mean", torch.tensor(value), persistent=False)
        return one

    kept, new = made(0.0), made(1.0)
    checkpoint.average(kept, new, 0.5, updates=100)
    assert kept.mask.tolist() == [0.0, -torch.inf]
    assert kept.mean.item() == kept.weight.item() == 0.5


def test_one_seed_is_that_of_actions_and_of_the_adversary_too(tmp_path, monkeypatch):
    """What is on disk keeps its 0: the same settings with another seed draw otherwise."""
    nested, seen = feedback.Handover(at=0, second=feedback.PolicyGradient()), []
    own = epoch.step
    monkeypatch.setattr(epoch, "step", lambda at, *rest: seen.append(at) or own(at, *rest))
    train(network(DATA), DATA, objective=nested, adversary=PGD(radius=0.05, steps=1), seed=3,
          out=tmp_path / "run", **fast(epochs=1))  # fmt: skip
    assert seen[0].adversary == PGD(radius=0.05, steps=1, seed=3)
    assert seen[0].recipe.objective == replace(nested, second=feedback.PolicyGradient(seed=3))
    config = record.read_yaml(tmp_path / "run" / "config.yaml")
    assert config["seed"] == 3 and config["adversary"]["seed"] == 0
    assert noise.seeded(PGD(seed=5), 3) == PGD(seed=5)
    assert noise.seeded((PGD(), 0), 3) == (PGD(seed=3), 0)
    assert noise.seeded(nested, 0) is nested


def test_what_is_no_frozen_setting_keeps_its_seed_and_its_state():
    @dataclass
    class Counting:
        seed: int = 0
        calls: int = field(default=0, init=False)

    @dataclass(frozen=True)
    class Made:
        seed: int = field(default=0, init=False)
        more: InitVar[int] = 0

    for one in (Counting(), Made(), nn.Linear(1, 1), PGD):
        assert noise.seeded(one, 3) is one


def test_the_best_epoch_is_one_under_attack(monkeypatch):
    """However good the ones before the adversary were: what rises after them is not stopped."""
    looks = iter([0.9, 0.8, 0.7, 0.3, 0.4, 0.5, 0.6, 0.65])

    def seen(*_: Any, **__: Any) -> dict[str, float]:
        now = next(looks)
        return {"validation_clean": now, "validation_pgd": now, "validation_largest_class": 0.3}

    monkeypatch.setattr("holdfast.training.loop.watch_model", seen)
    trained = train(
        network(DATA), DATA, adversary=FGSM(radius=0.1), adversarial=Adversarial(start=3),
        guard=Guard(patience=2), **fast(epochs=8),
    )  # fmt: skip
    assert trained.stopped is None and trained.best_epoch == 8


def test_averaging_passes_over_what_a_model_makes_on_its_way():
    class Caching(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            self.register_buffer("cache", input.detach(), persistent=False)
            return super().forward(input)

    kept = nn.Linear(1, 1)
    new = Caching(1, 1)
    new(torch.zeros(3, 1))
    before = kept.weight.detach().clone()
    checkpoint.average(kept, new, 0.5, updates=100)
    torch.testing.assert_close(kept.weight.detach(), (before + new.weight.detach()) / 2)


def test_the_table_of_epochs_tells_their_entropy():
    trained = train(network(DATA), DATA, **fast(epochs=1))
    head, row = trained.table().splitlines()
    assert head.split()[-2:] == ["validation", "entropy"]
    assert float(row.split()[-1]) == pytest.approx(
        trained.history[0]["validation_entropy"], abs=1e-4
    )


def test_an_adversary_that_leaves_its_radius_is_refused(tmp_path):
    def far(model, x, y, radius=0.1):
        return (x + 0.3).clamp(0, 1)

    with pytest.raises(BadInput, match=r"within linf 0.1, got one at 0.3"):
        train(network(DATA), DATA, adversary=far, out=tmp_path / "run", **fast())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_rounding_of_the_radius_is_no_leaving_of_it(norm):
    def full(model, x, y, radius=3.0 if norm == "linf" else 12.0, norm=norm):
        change = torch.ones_like(x)
        order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
        return x + radius * change / change.flatten(1).norm(order, 1)[:, None, None, None]

    x = torch.zeros(2, 3, 64, 64)
    change = full(None, x, None) - x
    rehearsal._require_budget(change.half().float(), own.as_settings(full, 3))
    with pytest.raises(BadInput, match=f"within {norm}"):
        rehearsal._require_budget(1.2 * change, own.as_settings(full, 3))


def test_what_is_made_from_more_than_its_fields_keeps_its_seed():
    @dataclass(frozen=True)
    class More:
        scale: InitVar[float] = 1.0
        size: float = field(init=False, default=0.0)
        seed: int = 3

        def __post_init__(self, scale: float) -> None:
            object.__setattr__(self, "size", scale)

    one = More(scale=9.0)
    assert noise.reseeded(one, 2) is one


def test_an_adversary_may_write_in_place_and_in_another_precision():
    def inplace(model, x, y, radius=0.1):
        return x.add_(0.1).clamp_(0, 1).double()

    at = bench(feedback.MART(), inplace)
    x = DATA.test.x[:8].clone()
    batch = Batch(x=x, y=DATA.test.y[:8], index=torch.arange(8))
    made = with_adversarial(at, at.model, batch, 1.0, {})
    assert made.adv is not None and made.adv.dtype == x.dtype
    assert torch.equal(made.x, DATA.test.x[:8]) and (made.adv != made.x).any()


def test_a_wrapped_adversary_has_the_radius_of_the_one_within():
    led = Targeted(attack=PGD(radius=0.2, steps=1), target=1)
    half: Any = attack.with_settings(led, radius=0.1)
    assert half.attack.radius == 0.1 and half.target == 1
    at = bench(feedback.CrossEntropy(), led)
    batch = Batch(x=DATA.test.x[:8], y=DATA.test.y[:8], index=torch.arange(8))
    for share in (0.5, 1.0):
        adv = with_adversarial(at, at.model, batch, share, {}).adv
        assert adv is not None and (adv - batch.x).abs().max() <= 0.2 * share + 1e-6
        assert (adv - batch.x).abs().max() > 0.15 * share
    assert attack.share_crossed(led) == 0.25


def test_an_adversary_may_write_into_its_labels():
    def relabelling(model, x, y):
        y.zero_()
        return x

    at = bench(feedback.CrossEntropy(), relabelling)
    batch = Batch(x=DATA.test.x[:4], y=torch.tensor([0, 1, 0, 1]), index=torch.arange(4))
    with_adversarial(at, at.model, batch, 1.0, {})
    assert batch.y.tolist() == [0, 1, 0, 1]
