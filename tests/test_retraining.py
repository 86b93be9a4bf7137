"""Boundary feedback: which examples, where they lie, and whether a round was worth it."""

import copy
import dataclasses
import importlib
import inspect
from typing import Any

import pytest
import torch
from small import blobs, network
from torch import nn

from holdfast import margin, record, training
from holdfast import model as models
from holdfast.data import Augment
from holdfast.errors import BadInput
from holdfast.feedback import Boundary, CrossEntropy
from holdfast.margin import Gradient, Orthonormal
from holdfast.result import Trained
from holdfast.retraining import Probe, examples, mixed, retrain
from holdfast.retraining.rounds import Round

FEW = Boundary(low=6, medium=4, high=2, rays=5)
PROBE = Probe(images=60, directions=Orthonormal(count=12), reach=1.0, step=0.05, method="linear")


@pytest.fixture(scope="module")
def trained():
    """A network that knows its blobs, and those."""
    data = blobs()
    model = network(data)
    training.train(
        model, data, objective=CrossEntropy(), epochs=6, batch_size=30, precision="fp32",
        optimizer=training.AdamW(lr=1e-2), watch=training.Watch(images=30, every=6),
    )  # fmt: skip
    return model.eval(), data


def margins_by_hand():
    """Three classes of two images each; image 1 is wrong already, image 5 has no crossing."""
    distance = torch.tensor([[3.0, 1, 2, 9], [0, 0, 0, 0], [4, 9, 9, 2], [5, 6, 7, 8],
                             [1, 2, 3, 4], [9, 9, 9, 9]])  # fmt: skip
    entered = torch.tensor([[1, 1, 2, -1], [1, 1, 1, 1], [0, -1, -1, 0], [0, 0, 2, 2],
                            [0, 0, 1, 1], [-1, -1, -1, -1]])  # fmt: skip
    return distance, entered, torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(10, 16)


def test_examples_lie_beyond_the_smallest_margins_of_the_images_that_their_class_gives(caplog):
    levels = ["high", "low", "medium"]
    chosen = Boundary(high=1, low=5, medium=1, rays=3)(*margins_by_hand(), levels)
    distance, entered, *_ = margins_by_hand()
    rays: dict[int, list[int]] = {}
    for image, ray, far in zip(chosen.image, chosen.ray, chosen.distance, strict=True):
        rays.setdefault(int(image), []).append(int(ray))
        ratio = far / distance[image, ray]
        assert 1.5 <= ratio <= 2.0 and entered[image, ray] >= 0
    assert rays == {0: [1, 2, 0], 2: [3, 0], 3: [0, 1, 2], 4: [0, 1, 2]}
    assert "class 1 gives 2 of 5 (2 were searched)" in caplog.text
    assert "1 images have fewer than 3 rays" in caplog.text
    Boundary(high=1, low=5, medium=1, rays=5)(*margins_by_hand(), levels)
    assert "4 images have fewer than 5 rays" in caplog.text


def test_reduced_feedback_does_not_look_at_levels():
    reduced = Boundary(high=1, low=1, medium=2, rays=1, weighted=False)
    chosen = reduced(*margins_by_hand(), ["high", "low", "low"])
    assert chosen.image.tolist() == [0, 2, 3, 4] or sorted(chosen.image.tolist()) == [0, 2, 3, 4]
    fewer = dataclasses.replace(reduced, medium=1)(*margins_by_hand(), ["high", "low", "low"])
    assert sorted(fewer.image.tolist())[0] == 0 and len(fewer.image) == 3


def test_the_draw_is_a_function_of_the_seed_and_the_images_positions():
    distance, entered, origin, index = margins_by_hand()
    one = Boundary(low=1, medium=1, high=1, rays=2)
    levels = ["low", "low", "low"]
    first, again = (one(distance, entered, origin, index, levels) for _ in range(2))
    other = dataclasses.replace(one, seed=1)(distance, entered, origin, index, levels)
    back = torch.arange(5, -1, -1)
    turned = one(distance[back], entered[back], origin[back], index[back], levels)
    assert torch.equal(first.distance, again.distance)
    assert not torch.equal(first.distance, other.distance)
    torch.testing.assert_close(turned.distance, first.distance)
    assert torch.equal(back[turned.image], first.image)


@pytest.mark.parametrize(
    "wrong", [{"low": -1}, {"low": 0, "medium": 0, "high": 0}, {"rays": 0}, {"nearest": 1.0},
              {"nearest": 2.0, "furthest": 1.5}, {"furthest": float("inf")}]
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadInput, match="expected"):
        Boundary(**wrong)


def test_no_crossing_at_all_is_said():
    distance, entered, origin, index = margins_by_hand()
    with pytest.raises(BadInput, match="cross a boundary, got none; search with more reach"):
        Boundary()(distance, entered * 0 - 1, origin, index, ["low"] * 3)
    with pytest.raises(BadInput, match="ask for more of the levels low"):
        Boundary(low=0)(distance, entered, origin, index, ["low"] * 3)


def test_examples_are_points_of_their_rays_that_the_model_gets_wrong(trained):
    model, data = trained
    images = PROBE.sample(data.train)
    measured = PROBE(model, images, seed=5)
    made = examples(model, images, measured, PROBE.directions, FEW, seed=5)
    levels = measured.levels()
    for label, count in enumerate(made.counts(3)):
        assert count <= getattr(FEW, levels[label]) * FEW.rays
    assert len(made) > 20 and made.pixels.dtype == torch.uint8
    wrong = models.predict(model, made.x).argmax(1) != made.y
    assert wrong.float().mean() > 0.9  # some classes come back beyond their boundary
    far = margin.drawn(PROBE.directions, model, images.x, images.y, images.index, 5)
    nearest = (made.x[:, None] - images.x[None]).flatten(2).norm(dim=2).argmin(1)
    way = (made.x - images.x[nearest]).flatten(1)
    inside = (made.pixels > 0).flatten(1).all(1) & (made.pixels < 255).flatten(1).all(1)
    along = (way @ far.flatten(1).T).abs().amax(1) / way.norm(dim=1)
    assert (along[inside] > 0.99).all() and (along > 0.6).all()


def mean_image(model, x, y, index, seed):
    return x.mean(0, keepdim=True)


def test_examples_lie_on_the_rays_that_were_searched(trained):
    model, data = trained
    images = PROBE.sample(data.train)
    probe = dataclasses.replace(PROBE, directions=mean_image)
    measured = probe(model, images, seed=5)
    just = dataclasses.replace(FEW, low=20, medium=20, high=20, nearest=1.01, furthest=1.01)
    made = examples(model, images, measured, probe.directions, just, seed=5)
    wrong = models.predict(model, made.x).argmax(1) != made.y
    assert len(wrong) > 10 and wrong.float().mean() > 0.95


def test_a_judge_without_directions_of_its_own_is_said(trained, caplog):
    model = copy.deepcopy(trained[0])
    some = dataclasses.replace(PROBE, images=6, directions=margin.LowFrequency(count=5))
    for judge, said in ((some, True), (dataclasses.replace(PROBE, images=20), False)):
        caplog.clear()
        retrain(model, trained[1], **SETTINGS | {"probe": PROBE if not said else some,
                "judge": judge, "epochs": 1})  # fmt: skip
        assert ("directions that examples come from" in caplog.text) is said


def test_of_rays_of_one_length_each_image_gives_others():
    distance, entered = torch.full((400, 50), 0.1), torch.ones(400, 50).long()
    distance[:, 25:] = 0.2
    given = distance, entered, torch.zeros(400).long(), torch.arange(400), ["medium"]
    chosen = Boundary(medium=400, rays=5)(*given)
    counts = torch.bincount(chosen.ray, minlength=50)
    assert counts.sum() == 2000 and (counts[:25] > 0).all() and not counts[25:].any()
    assert torch.equal(chosen.ray, Boundary(medium=400, rays=5)(*given).ray)


def test_a_mixed_set_holds_every_training_image_and_every_example_once():
    data = blobs()
    some = data.train.only(torch.arange(7))
    both = mixed(data, dataclasses.replace(some, index=torch.arange(7)))
    assert len(both.train) == len(data.train) + 7
    assert torch.equal(both.train.pixels[-7:], some.pixels)
    assert len(both.train.index.unique()) == len(both.train)
    assert torch.equal(both.validation.pixels, data.validation.pixels)


SETTINGS: dict[str, Any] = {
    "feedback": FEW, "probe": PROBE, "epochs": 2, "batch_size": 30, "precision": "fp32",
    "judge": dataclasses.replace(PROBE, images=20), "optimizer": training.AdamW(lr=2e-3),
    "watch": training.Watch(images=20, every=2),
}  # fmt: skip


def test_rounds_are_judged_recorded_and_left_as_a_run(trained, tmp_path):
    model, data = trained
    model = models.create("gupta_cnn", image=data.image, classes=3, widths=(4,), dense=16,
                          mean=data.mean, std=data.std)  # fmt: skip
    model.load_state_dict(trained[0].state_dict())
    found = retrain(model, data, rounds=2, max_drop=1.0, out=tmp_path / "run", **SETTINGS)
    rows = record.rows(tmp_path / "run" / "retraining.jsonl")
    assert len(found.rounds) == len(rows) and rows[0]["examples"] == found.rounds[0].examples
    first = found.rounds[0]
    change = first.after.mean_margin() - first.before.mean_margin()
    assert first.gain.value == pytest.approx(change) and first.gain.low < change < first.gain.high
    assert dataclasses.replace(first, after=first.before).kept is False
    kept = [number for number, one in enumerate(found.rounds, 1) if one.kept]
    assert kept and f"{first.gain.value:+.4f}" in found.table()
    left = models.load(tmp_path / "run" / "checkpoints" / "last")
    again = models.load(tmp_path / "run" / f"round-{kept[-1]}" / "checkpoints" / "last")
    for one, other, own in zip(
        left.parameters(), again.parameters(), model.parameters(), strict=True
    ):
        assert torch.equal(one, other) and torch.equal(one, own)
    with pytest.raises(BadInput, match="new folder"):
        retrain(model, data, out=tmp_path / "run", **SETTINGS)


@pytest.mark.parametrize("killed", [1, 2, 3])
def test_a_killed_call_goes_on_and_ends_as_one_that_was_not(trained, tmp_path, monkeypatch, killed):
    data, begun = trained[1], []
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)

    def tick(epoch: int, done: int, steps: int) -> None:
        if done == 1:
            begun.append(epoch)
            if len(begun) == killed:
                raise KeyboardInterrupt

    probe = dataclasses.replace(PROBE, images=15, directions=Orthonormal(count=6), step=0.1)
    settings: dict[str, Any] = SETTINGS | {
        "epochs": 2,
        "rounds": 2,
        "max_drop": 1.0,
        "on_step": tick,
    }
    settings |= {"probe": probe, "judge": probe}
    again, whole = copy.deepcopy(trained[0]), copy.deepcopy(trained[0])
    with pytest.raises(KeyboardInterrupt):
        retrain(again, data, out=tmp_path / "run", **settings)
    again = copy.deepcopy(trained[0])
    found = retrain(again, data, out=tmp_path / "run", **settings)
    assert len(begun) == 5 and len(found.rounds) == 2
    retrain(whole, data, out=tmp_path / "whole", **settings)
    for one, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)
    same = ("round", "examples", "gain", "clean_after")
    rows = [record.rows(tmp_path / name / "retraining.jsonl") for name in ("run", "whole")]
    assert [[row[key] for key in same] for row in rows[0]] == [
        [row[key] for key in same] for row in rows[1]
    ]
    with pytest.raises(BadInput, match="new folder"):
        retrain(again, data, out=tmp_path / "run", **settings)


def test_a_round_that_costs_too_much_is_undone_and_is_the_last(trained):
    model, data = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ruin: dict[str, Any] = SETTINGS | {"optimizer": training.AdamW(lr=1.0)}
    found = retrain(model, data, rounds=3, **ruin)
    assert len(found.rounds) == 1 and not found.rounds[0].kept
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_margins_may_be_reused(trained, monkeypatch):
    model, data = trained
    model = copy.deepcopy(model)
    gentle: dict[str, Any] = SETTINGS | {"max_drop": 1.0, "epochs": 1}
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    reused = retrain(model, data, rounds=2, reuse=True, **gentle)
    assert reused.rounds[0].measured is reused.rounds[1].measured
    fresh = retrain(model, data, rounds=2, **gentle)
    assert fresh.rounds[0].measured is not fresh.rounds[1].measured
    assert not torch.equal(fresh.rounds[0].measured.distance, fresh.rounds[1].measured.distance)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"max_drop": -0.1}, {"max_drop": 2.0}])
def test_rounds_that_make_no_sense_are_refused(trained, wrong):
    with pytest.raises(BadInput, match=r"expected (rounds|max_drop) (as|from) .*, got"):
        retrain(*trained, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": CrossEntropy(weights=(1.0, 2.0))}, {"augment": Augment(crop=9)},
        {"judge": dataclasses.replace(PROBE, step=0.0)},
        {"judge": dataclasses.replace(PROBE, method="tracd")},
    ],
)  # fmt: skip
def test_settings_are_refused_before_anything_is_searched(trained, tmp_path, wrong):
    with pytest.raises(BadInput):
        retrain(*copy.deepcopy(trained), out=tmp_path / "run", **SETTINGS | wrong)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong", [{"adversary": "pgd"}, {"objective": CrossEntropy}, {"augment": None}]
)
def test_words_in_the_place_of_values_are_one_line(trained, wrong):
    with pytest.raises(BadInput, match="as a value such as holdfast"):
        inspect.unwrap(retrain)(*copy.deepcopy(trained), **SETTINGS | wrong)


def test_what_can_be_trained_with_the_examples_is_not_refused_without_them(trained):
    """One image would be left over for the last batch, which batch normalisation cannot take."""
    data = trained[1]
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))
    size = len(data.train) - 1
    with pytest.raises(BadInput, match="2 images or more for batch normalisation"):
        training.train(copy.deepcopy(body), data, epochs=1, batch_size=size)
    few = SETTINGS | {"batch_size": size, "epochs": 1, "judge": PROBE}
    assert retrain(body, data, **few).rounds


def test_what_cannot_be_retrained_replaces_nothing(trained, tmp_path):
    model, data = copy.deepcopy(trained[0]), trained[1]
    run = tmp_path / "run"
    quick: dict[str, Any] = SETTINGS | {"epochs": 1, "max_drop": 1.0}
    retrain(model, data, out=run, **quick)
    before = sorted(str(path) for path in run.rglob("*"))
    for said, settings in {
        "epochs of 1 or more": {"epochs": 0},
        "weights": {"objective": CrossEntropy(weights=(1.0, 2.0))},
        "rays that cross": {"probe": dataclasses.replace(PROBE, reach=0.05)},
    }.items():
        with pytest.raises(BadInput, match=said):
            retrain(model, data, out=run, force=True, **quick | settings)
        assert set(before) <= {str(path) for path in run.rglob("*")}
    retrain(model, data, out=run, force=True, **quick)
    assert len(record.rows(run / "retraining.jsonl")) == 1


def test_a_retrained_run_is_not_resumed_without_its_examples(trained, tmp_path, monkeypatch):
    model, data = copy.deepcopy(trained[0]), trained[1]
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    settings: dict[str, Any] = SETTINGS | {"epochs": 1}
    retrain(model, data, out=tmp_path / "run", **settings)
    for run in (tmp_path / "run", tmp_path / "run" / "round-1"):
        with pytest.raises(BadInput, match="the data that"):
            training.train(
                model,
                data,
                out=run,
                resume=True,
                epochs=2,
                batch_size=30,
                precision="fp32",
                optimizer=SETTINGS["optimizer"],
                watch=SETTINGS["watch"],
            )


def test_averaged_weights_are_what_is_judged_and_left(trained, tmp_path, monkeypatch):
    model, data = copy.deepcopy(trained[0]), trained[1]
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    settings: dict[str, Any] = SETTINGS | {"epochs": 1, "ema": 0.99}
    retrain(model, data, out=tmp_path / "run", **settings)
    left = models.load(tmp_path / "run" / "checkpoints" / "last")
    for one, other in zip(left.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_directions_that_follow_the_model_are_not_reused(trained):
    steep = dataclasses.replace(PROBE, directions=Gradient(count=3))
    with pytest.raises(BadInput, match="got gradient"):
        retrain(*trained, rounds=2, reuse=True, **SETTINGS | {"probe": steep})
    with pytest.raises(BadInput, match="a probe with clip"):
        retrain(*trained, **SETTINGS | {"probe": dataclasses.replace(PROBE, clip=False)})


def test_a_module_of_ones_own_gets_the_averaged_weights(trained, monkeypatch):
    body, data = copy.deepcopy(trained[0].body), trained[1]
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    settings: dict[str, Any] = SETTINGS | {"epochs": 1, "ema": 0.99}
    (only,) = retrain(body, data, **settings).rounds
    assert only.trained.averaged is not None
    left = only.trained.averaged.state_dict()
    for name, weight in body.state_dict().items():
        assert torch.equal(weight, left[f"body.{name}"])


def test_what_was_judged_is_what_other_commands_take(trained, tmp_path, monkeypatch):
    model, data = copy.deepcopy(trained[0]), trained[1]
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    settings: dict[str, Any] = SETTINGS | {"epochs": 3, "watch": training.Watch(images=30, every=1)}
    found = retrain(model, data, out=tmp_path / "run", **settings)
    assert found.rounds[0].trained.best_epoch == 3
    best, last = (models.load(tmp_path / "run" / "checkpoints" / name) for name in ("best", "last"))
    for one, other in zip(best.parameters(), last.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_round_that_diverges_leaves_the_weights_as_they_were(trained):
    model, data = copy.deepcopy(trained[0]), trained[1]
    wild: dict[str, Any] = SETTINGS | {"optimizer": training.SGD(lr=1e30)}
    with pytest.raises(training.Diverged):
        retrain(model, data, **wild)
    for one, other in zip(model.parameters(), trained[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_as_large_as_allowed_is_allowed(trained):
    measured = PROBE(trained[0], PROBE.sample(trained[1].train), seed=1)
    more = dataclasses.replace(measured, distance=measured.distance + 0.1)
    done = Trained(history=(), best_epoch=1, criterion="", precision="", averaged=None, folder=None)
    found = Round(
        examples=[], measured=measured, before=measured, after=more, clean=(14 / 200, 12 / 200),
        trained=done, max_drop=0.01,
    )  # fmt: skip
    assert found.kept and not found.fault
    strict = dataclasses.replace(found, max_drop=0.009)
    assert not strict.kept and strict.fault == "clean accuracy fell by 1.0 points, of 0.9 allowed"
    assert "did not grow (-0.1" in dataclasses.replace(found, before=more, after=measured).fault


def test_examples_along_the_gradients_of_a_model_in_double_precision(trained):
    model, images = copy.deepcopy(trained[0]).double(), PROBE.sample(trained[1].train)
    steep = dataclasses.replace(PROBE, directions=Gradient(count=6))
    measured = steep(model, images, seed=5)
    assert len(examples(model, images, measured, steep.directions, FEW, seed=5)) > 0


def test_rounds_end_where_nothing_crosses_any_more(trained, monkeypatch):
    found, searches = PROBE(trained[0], PROBE.sample(trained[1].train), seed=1), []

    def measured(*rest, **more):
        searches.append(1)  # the first tries the judge
        nowhere = torch.full_like(found.entered, -1)
        return found if len(searches) < 3 else dataclasses.replace(found, entered=nowhere)

    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    settings: dict[str, Any] = SETTINGS | {"epochs": 1, "judge": PROBE}
    monkeypatch.setattr(Probe, "__call__", measured)
    assert len(retrain(copy.deepcopy(trained[0]), trained[1], rounds=3, **settings).rounds) == 1


def test_examples_made_few_at_once_are_the_same(trained, monkeypatch):
    model, images = trained[0], PROBE.sample(trained[1].train)
    measured = PROBE(model, images, seed=5)
    made = [examples(model, images, measured, PROBE.directions, FEW, seed=5)]
    module = importlib.import_module("holdfast.retraining.examples")  # a function has its name too
    monkeypatch.setattr(module, "AT_ONCE", 7)
    made.append(examples(model, images, measured, PROBE.directions, FEW, seed=5))
    assert len(made[0]) > 7 and torch.equal(made[0].pixels, made[1].pixels)


def test_no_image_to_judge_by_is_said(trained):
    data = dataclasses.replace(trained[1], validation=trained[1].validation.only(torch.arange(0)))
    with pytest.raises(BadInput, match="expected validation images"):
        retrain(trained[0], data, **SETTINGS)


def test_directions_that_the_judging_images_do_not_have_are_said_before_the_search(trained):
    said: list[tuple[str, int, int]] = []
    judge = dataclasses.replace(PROBE, directions=Orthonormal(count=65))
    with pytest.raises(BadInput, match="expected 1 to 64"):
        retrain(
            trained[0],
            trained[1],
            **SETTINGS | {"judge": judge, "progress": lambda *told: said.append(told)},
        )
    assert not said


def test_clean_accuracy_is_that_of_the_whole_validation_split(trained):
    """Not of the few images whose margins judge a round: here those alone are labelled right."""
    model, data = copy.deepcopy(trained[0]), trained[1]
    judge = dataclasses.replace(PROBE, images=6)
    shown = torch.isin(data.validation.index, judge.sample(data.validation).index)
    y = torch.where(shown, data.validation.y, (data.validation.y + 1) % 3)
    known = dataclasses.replace(data, validation=dataclasses.replace(data.validation, y=y))
    right = (models.predict(model, known.validation.x).argmax(1) == y).double().mean().item()
    settings: dict[str, Any] = SETTINGS | {"judge": judge}
    (only,) = retrain(model, known, **settings).rounds
    assert only.clean[0] == right < 0.6
