import logging
import math
import threading
from dataclasses import make_dataclass, replace
from typing import Any

import pytest
import torch
from small import blobs, network
from torch import nn

from holdfast import attack, engine, feedback, record, training
from holdfast import data as datasets
from holdfast.attack import FGSM, PGD
from holdfast.errors import BadInput, require_field_types
from holdfast.loss import resolve_loss
from holdfast.model import predict
from holdfast.training import (
    SGD,
    AdamW,
    Adversarial,
    Constant,
    Cosine,
    Decay,
    Diverged,
    OneCycle,
    RMSprop,
    Steps,
    Watch,
    train,
)
from holdfast.training.watching import collapse

DATA = blobs()


def fast(**changes: Any) -> dict[str, Any]:
    """Settings of a run that takes a moment, measured in its last epoch."""
    usual = {"epochs": 8, "batch_size": 32, "optimizer": AdamW(lr=1e-2), "precision": "fp32"}
    settings = {**usual, **changes}
    return {"watch": Watch(every=settings["epochs"]), **settings}


def test_rmsprop_takes_keras_steps():
    """mean = 0.9 mean + 0.1 g^2; w -= rate / (1 + 1e-6 updates) g / (sqrt(mean) + 1e-7)."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = RMSprop(lr=0.01).build([weight])
    by_hand, mean = weight.detach().clone(), torch.zeros(2)
    for update in range(5):
        factor = Decay(decay=1e-6)(update, 10, 100)
        for group in optimizer.param_groups:
            group["lr"] = factor * 0.01
        slope = 2 * weight.detach() + update
        weight.grad = slope.clone()
        optimizer.step()
        mean = 0.9 * mean + 0.1 * slope**2
        by_hand -= 0.01 / (1 + 1e-6 * update) * slope / (mean.sqrt() + 1e-7)
        torch.testing.assert_close(weight.detach(), by_hand)


def test_schedules_at_points_known_by_hand():
    def at(schedule, *updates: int) -> list[float]:
        return [round(schedule(u, 10, 100), 6) for u in updates]

    assert at(Constant(), 0, 99) == [1, 1]
    assert at(Constant(warmup=1), 0, 4, 9, 50) == [0.1, 0.5, 1, 1]
    assert at(Decay(decay=0.01), 0, 100) == [1, 0.5]
    assert at(Cosine(final=0.2), 0, 50, 100) == [1, 0.6, 0.2]
    assert at(OneCycle(peak=0.5), 0, 100) == [round(2 / 101, 6), 0]
    assert max(OneCycle(peak=0.4)(u, 10, 100) for u in range(100)) > 0.97
    assert at(Steps(), 0, 49, 50, 74, 75, 99) == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert at(Steps(at=(0.2,), factor=0.5, warmup=1), 4, 19, 20) == [0.5, 1, 0.5]
    assert [Steps(at=(0.55,))(update, 10, 200) for update in (109, 110)] == [1, 0.1]  # 110 + 1e-14


@pytest.mark.parametrize(
    "objective",
    [
        feedback.CrossEntropy(),
        feedback.PolicyGradient(samples=4, baseline="leave_one_out"),
        feedback.PolicyGradient(baseline="running"),
        feedback.Expected(),
        feedback.Mixed(),
    ],
    ids=lambda o: o.name,
)
def test_every_objective_learns(objective):
    model = network(DATA)
    trained = train(model, DATA, objective=objective, **fast())
    assert trained.history[-1]["validation_clean"] > 0.9
    right = predict(model, DATA.test.x).argmax(1) == DATA.test.y
    assert right.float().mean() > 0.9


def test_adversarial_training_makes_robust():
    robust = {}
    for name, adversary in {
        "plain": None,
        "pgd": PGD(radius=0.12, steps=3, rel_stepsize=0.5),
    }.items():
        model = network(DATA)
        train(model, DATA, adversary=adversary, **fast(epochs=20))
        adv = PGD(radius=0.12, steps=20)(model.eval(), DATA.test.x, DATA.test.y)
        robust[name] = (predict(model, adv).argmax(1) == DATA.test.y).float().mean().item()
    assert robust["pgd"] > robust["plain"] + 0.1


def test_the_radius_ramps_up_after_the_start():
    entry = Adversarial(start=2, ramp=4)
    assert [entry.share(p) for p in (0, 1.9, 2, 4, 6, 9)] == [0, 0, 0, 0.5, 1, 1]
    assert [Adversarial(start=1).share(p) for p in (0, 1)] == [0, 1]


def spy(seen: list[float]):
    """An attack that changes nothing and notes how it was called."""

    def nothing(model, x, y, index):
        seen.append(index.double().mean().item())
        return x

    return nothing


def test_an_attack_of_the_users_own_is_an_adversary_and_sees_positions_in_the_data_set():
    seen: list[float] = []
    train(network(DATA), DATA, adversary=spy(seen), **fast(epochs=2, batch_size=999))
    assert len(seen) == 3  # two images first, before anything is written
    assert seen[2] == seen[1]


def test_both_adds_the_adversarial_loss_at_its_rate():
    """An adversary that returns its input: clean + 0.5 x the same = 1.5 x clean."""
    losses = {}
    runs: dict[str, dict[str, Any]] = {
        "clean": {},
        "both": {
            "adversary": lambda model, x, y: x,
            "adversarial": Adversarial(mix="both", weight=0.5),
        },
    }
    for name, settings in runs.items():
        model = network(DATA, dropout=(0.0, 0.0))  # it would differ between the two passes
        still: dict[str, Any] = {"optimizer": SGD(lr=1e-30), "epochs": 1, "precision": "fp32"}
        losses[name] = train(model, DATA, **settings, **still).history[0]["loss"]
    assert losses["both"] == pytest.approx(1.5 * losses["clean"], rel=1e-5)


@pytest.mark.parametrize("loss", ["own", "objective"])
def test_the_adversary_may_climb_the_trained_objective(loss):
    seen = []

    class Noting(FGSM):
        def __call__(self, model, x, y):
            p_y = model(x).softmax(1).gather(1, y[:, None])[:, 0]
            climbed = resolve_loss(self.loss)(model(x), y)
            seen.append(
                torch.allclose(climbed, 2 * (1 - p_y) if loss == "objective" else -p_y.log())
            )
            return super().__call__(model, x, y)

    train(
        network(DATA),
        DATA,
        objective=feedback.Expected(),
        adversary=Noting(radius=0.1),
        adversarial=Adversarial(loss=loss),
        **fast(epochs=1),
    )
    assert seen and all(seen)


def test_one_class_alone_is_no_collapse():
    one = DATA.train.only((DATA.train.y == 0).nonzero().flatten())
    assert collapse(1.0, one, 3) is None and collapse(1.0, DATA.train, 3)


def test_a_collapse_is_noticed_and_said(caplog):
    collapsed = network(DATA)
    with torch.no_grad():
        list(collapsed.parameters())[-1].copy_(torch.tensor([9.0, 0.0, 0.0]))
    with caplog.at_level(logging.WARNING, "holdfast"):
        trained = train(collapsed, DATA, optimizer=SGD(lr=1e-30), epochs=1, precision="fp32")
    assert "collapsed" in caplog.text and "100%" in trained.history[0]["warning"]
    healthy = train(network(DATA), DATA, **fast())
    assert "warning" not in healthy.history[-1]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    def broken(model, batch, state):
        loss, _ = feedback.CrossEntropy()(model, batch, state)
        return loss * (math.nan if batch.epoch == 1 else 1), state

    run = tmp_path / "run"
    with pytest.raises(Diverged, match="epoch 2"):
        train(network(DATA), DATA, objective=broken, out=run, **fast())
    assert len(record.rows(run / "metrics.jsonl")) == 1
    assert (run / "checkpoints" / "last" / "model.safetensors").exists()


def test_averaged_weights_are_what_is_measured_and_kept(tmp_path):
    model = network(DATA)
    trained = train(model, DATA, ema=0.9, out=tmp_path / "run", **fast())
    assert trained.averaged is not None
    raw, averaged = model.state_dict(), trained.averaged.state_dict()
    assert any(not torch.equal(raw[k], averaged[k]) for k in raw)
    from holdfast import model as models

    kept = models.load(tmp_path / "run" / "checkpoints" / "last")
    for name, value in kept.state_dict().items():
        assert torch.equal(value, averaged[name])


def test_the_average_follows_its_formula():
    from holdfast.training.checkpoint import average

    kept, new = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        kept.weight.fill_(1.0)
        new.weight.fill_(2.0)
    assert new.num_batches_tracked is not None
    new.num_batches_tracked += 5
    average(kept, new, 0.9, updates=1000)
    torch.testing.assert_close(kept.weight.detach(), torch.full((2,), 1.1))
    average(kept, new, 0.9, updates=2)  # 3 / 12: the first weights are soon left
    torch.testing.assert_close(kept.weight.detach(), torch.full((2,), 1.775))
    assert int(kept.num_batches_tracked or 0) == 5


def test_best_is_chosen_on_validation_by_what_was_asked_for(tmp_path):
    adversary = FGSM(radius=0.1)
    choices: list[tuple[Any, str]] = [("auto", "validation_pgd"), ("clean", "validation_clean")]
    for best, criterion in choices:
        run = tmp_path / best
        settings = fast(watch=Watch())
        trained = train(network(DATA), DATA, adversary=adversary, best=best, out=run, **settings)
        assert trained.criterion == criterion
        reached = [row[criterion] for row in trained.history]
        assert trained.best_epoch == 1 + reached.index(max(reached))
        linked = (run / "checkpoints" / "best").resolve().name
        assert linked == f"epoch-{trained.best_epoch:03d}"


def test_only_last_best_and_every_kth_checkpoint_stay(tmp_path):
    run = tmp_path / "run"
    trained = train(network(DATA), DATA, keep_every=3, out=run, **fast())
    kept = {int(p.name[6:]) for p in (run / "checkpoints").glob("epoch-*")}
    assert kept == {3, 6, 8, trained.best_epoch}


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    train(network(DATA), DATA, **fast(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_clipping_bounds_the_step():
    model = network(DATA)
    before = [weight.detach().clone() for weight in model.parameters()]
    settings: dict[str, Any] = {
        "optimizer": SGD(lr=1.0, momentum=0.0, weight_decay=0.0),
        "clip": 1e-3,
    }
    train(model, DATA, epochs=1, batch_size=999, precision="fp32", **settings)
    moved = [(w.detach() - b).norm() for w, b in zip(model.parameters(), before, strict=True)]
    assert 0.9e-3 < torch.stack(moved).norm() <= 1e-3 * 1.001


def test_metrics_are_what_they_say():
    model = network(DATA)
    rows = train(model, DATA, adversary=FGSM(radius=0.1), **fast(epochs=1)).history
    split, row = DATA.validation, rows[0]
    logits = predict(model, split.x)
    policy = logits.softmax(1)
    assert row["validation_clean"] == (logits.argmax(1) == split.y).double().mean().item()
    bits = -(policy * policy.log2()).sum(1).mean().item()
    assert row["validation_entropy"] == pytest.approx(bits, rel=1e-5)
    p_y = policy.gather(1, split.y[:, None]).mean().item()
    assert row["validation_reward"] == pytest.approx(2 * p_y - 1, abs=1e-5)
    assert row["gap"] == row["train_clean"] - row["validation_clean"]
    model.eval()
    adv = attack.run(FGSM(radius=0.1), model, split.x, split.y, split.index)
    assert (
        row["validation_fgsm"] == (predict(model, adv).argmax(1) == split.y).double().mean().item()
    )


def test_any_torch_module_can_be_trained():
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    trained = train(own, DATA, **fast())
    assert trained.history[-1]["validation_clean"] > 0.9
    assert (predict(own, DATA.test.x).argmax(1) == DATA.test.y).float().mean() > 0.9


REFUSED: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": 0},
    "batch_size": {"batch_size": 0},
    "ema": {"ema": 1.5},
    "clip": {"clip": 0.0},
    "best": {"best": "robust"},
    "out": {"resume": True},
    "device": {"device": "quantum"},
    "keep_every": {"keep_every": -1},
    "seed": {"seed": -1},
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_make_no_sense_are_refused(name):
    with pytest.raises(BadInput, match=name):
        train(network(DATA), DATA, **REFUSED[name])


def test_a_model_for_other_images_is_refused():
    with pytest.raises(BadInput, match="expected a model for images"):
        train(network(blobs(classes=2)), DATA)


class Stumbles(nn.Module):
    """A model whose own code fails."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        raise KeyError("mine")


NO_WEIGHTS = nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3))


@pytest.mark.parametrize(
    ("model", "said"), [(Stumbles(), "KeyError: 'mine'"), (NO_WEIGHTS, "with weights to train")]
)
def test_a_model_that_cannot_be_trained_is_refused_in_one_line(model, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        train(model, DATA, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_watch_and_entry_settings_are_checked():
    for make in (lambda: Watch(images=0), lambda: Adversarial(ramp=-1), lambda: Watch(steps=0),
                 lambda: Adversarial(ramp=math.inf), lambda: Adversarial(weight=math.nan),
                 lambda: training.AWP(gamma=math.inf), lambda: training.AWP(start=-1)):  # fmt: skip
        with pytest.raises(BadInput, match=r"expected .* of [01] or more, got"):
            make()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adversary": FGSM(radius=8)}, "is it 8/255"),
        ({"adversary": FGSM(radius=0.1), "adversarial": Adversarial(start=2)}, "would never come"),
    ],
)
def test_an_adversary_that_makes_no_sense_is_refused(settings, said):
    with pytest.raises(BadInput, match=said):
        train(network(DATA), DATA, epochs=2, **settings)
    train(network(DATA), DATA, epochs=3, **settings | {"adversary": FGSM(radius=1.0)})


def test_words_in_the_place_of_numbers_are_refused():
    typed = make_dataclass("Typed", [("radius", float, "8/255")])
    with pytest.raises(BadInput, match="expected radius as a number, got '8/255'"):
        require_field_types(typed())


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [([[1.0, 1.0, 1.0], [0.5, 0.5, 0.7]], "bf16"), ([[1.0, 9.0, 1.0], [0.5, 0.5, 0.8]], "fp32")],
)
def test_bf16_must_win_every_round(monkeypatch, seconds, wanted):
    monkeypatch.setattr(engine, "multiplies_bf16", lambda device: True)
    monkeypatch.setattr(engine, "rounds_of", lambda steps, rounds: seconds)
    assert engine.fastest(network(DATA), DATA.image, torch.device("cpu")).precision == wanted


def test_weights_of_one_channel_are_laid_out_too():
    placed = engine.Engine(device=torch.device("cpu")).place(nn.Conv2d(1, 4, 3))
    assert isinstance(placed.weight, nn.Parameter) and placed.weight.stride() == (9, 1, 3, 1)


def test_precision_is_measured_and_stored(tmp_path):
    trained = train(network(DATA), DATA, epochs=1, out=tmp_path / "run")
    assert trained.precision in ("fp32", "bf16")
    config = record.read_yaml(tmp_path / "run" / "config.yaml")
    assert config["precision"] == trained.precision


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_precisions_train(precision):
    model = network(DATA)
    settings = fast(precision=precision, epochs=3)
    trained = train(model, DATA, adversary=FGSM(radius=0.05), **settings)
    assert trained.history[-1]["validation_clean"] > 0.6
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_augmentation_is_part_of_the_recipe():
    settings = fast(epochs=1)
    plain = train(network(DATA), DATA, **settings).history[0]["loss"]
    moved = datasets.Augment(crop=2)
    assert train(network(DATA), DATA, augment=moved, **settings).history[0]["loss"] != plain


def test_the_public_names_are_complete():
    assert set(training.OPTIMIZERS) == {"adamw", "rmsprop", "sgd"}
    assert set(training.SCHEDULES) == {"constant", "cosine", "decay", "one_cycle", "steps"}


def test_a_model_that_cannot_run_in_bf16_is_trained_in_fp32(monkeypatch, caplog):
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(9, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.zeros(len(x), 3)
            out[:] = self.body(x.flatten(1))
            rows = torch.arange(len(x))
            out[rows] = self.body(x.flatten(1))
            return out

    monkeypatch.setattr(engine, "multiplies_bf16", lambda device: True)
    found = engine.choose_engine(Strict(), (1, 3, 3))
    assert found.precision == "fp32" and "a trial failed" in caplog.text


def test_a_model_that_cannot_be_copied_trains_in_fp32_and_without_an_average(monkeypatch, caplog):
    monkeypatch.setattr(engine, "multiplies_bf16", lambda device: True)
    model = network(DATA)
    model.lock = threading.Lock()  # pyright: ignore
    assert train(model, DATA, **fast(epochs=1, precision="auto")).precision == "fp32"
    assert "a trial failed: TypeError: cannot pickle" in caplog.text
    with pytest.raises(BadInput, match="can be copied for ema"):
        train(model, DATA, **fast(epochs=1, ema=0.9))


def test_a_weight_of_five_axes_may_be_part_of_a_model():
    model = network(DATA)
    model.body.extra = nn.Parameter(torch.ones(1, 1, 1, 1, 3))
    train(model, DATA, **fast(epochs=1))


def test_the_reward_that_is_measured_is_the_one_at_work():
    """0 or 1 in the first epoch, +1 or -1 in the second, whose objective has no reward."""
    first = feedback.PolicyGradient(reward=feedback.Signed(correct=1, wrong=0), samples=4)
    both = feedback.Handover(first=first, second=feedback.CrossEntropy(), at=1)
    still = fast(epochs=2, objective=both, optimizer=SGD(lr=1e-30))
    rows = train(network(DATA), DATA, **still).history
    share = rows[0]["validation_reward"]
    assert 0 < share < 1 and rows[1]["validation_reward"] == pytest.approx(2 * share - 1, abs=1e-4)


def test_every_objective_of_a_handover_is_tried_before_training():
    later = feedback.PolicyGradient(reward=feedback.Matrix(values=((1.0, 0.0), (0.0, 1.0))))
    steps: list[int] = []
    settings = fast(objective=feedback.Handover(second=later, at=1))
    with pytest.raises(BadInput, match="3 classes, got one for 2"):
        train(network(DATA), DATA, on_step=lambda epoch, done, of: steps.append(done), **settings)
    assert not steps


def test_a_split_without_images_is_named():
    empty = replace(DATA, validation=DATA.validation.only(torch.arange(0)))
    with pytest.raises(BadInput, match="images in the validation split, got none"):
        train(network(DATA), empty, **fast(epochs=1))


def test_a_schedule_of_the_epoch_is_refused_in_one_line():
    with pytest.raises(BadInput, match=r"schedule .*update, per_epoch, total"):
        training.train(network(DATA), DATA, epochs=1, schedule=lambda epoch: 1.0)  # type: ignore


def test_a_guard_undoes_what_an_objective_wrote_into_its_state():
    from holdfast.training.checkpoint import Session, roll_back, snapshot

    model = network(blobs())
    session = Session(model, None, torch.optim.SGD(model.parameters(), 0.1), {"n": torch.zeros(1)})
    past = snapshot(session)
    session.state["n"].add_(5)
    roll_back(session, past)
    assert session.state["n"] == 0


def test_classes_that_are_never_predicted_are_said(caplog):
    model = network(DATA)
    with torch.no_grad():
        list(model.parameters())[-1].copy_(torch.tensor([0.0, 0.0, -9.0]))
    trained = train(model, DATA, optimizer=SGD(lr=1e-30), epochs=1, precision="fp32")
    assert trained.history[0]["validation_missed_classes"] == 1
    assert "1 of 3 classes are never predicted" in caplog.text


def test_a_softmax_at_the_end_is_said(caplog):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    train(model, DATA, epochs=1, precision="fp32")
    assert "softmax" not in caplog.text
    train(nn.Sequential(model, nn.Softmax(1)), DATA, epochs=1, precision="fp32")
    assert "leave out its last softmax" in caplog.text
