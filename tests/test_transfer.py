"""Images made against one model and shown to another; what makes them fool it."""

import inspect
import json
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import digits_network
from torch import Tensor, nn
from worlds import linear_world

from holdfast import attack, record
from holdfast import data as datasets
from holdfast.attack import APGD, BIM, DDN, FGSM, MIM, PGD, DeepFool, Transfer, TransferMIM
from holdfast.attack.transfer_mim import _moved, _smoothed
from holdfast.errors import BadInput
from holdfast.evaluation import acceptable, evaluate, transfer_matrix
from holdfast.model import Metered, ensemble, predict
from holdfast.result import fraction, wilson
from holdfast.types import Attack


@dataclass(frozen=True, eq=False)
class Digits:
    models: dict[str, nn.Module]
    x: Tensor
    y: Tensor


@pytest.fixture(scope="module")
def digits() -> Digits:
    test = datasets.load("digits").test
    models = {name: digits_network(seed) for seed, name in enumerate("abc")}
    return Digits(models, test.x[:100], test.y[:100])


def refuses(x: Tensor) -> Tensor:
    raise AssertionError("the target was asked")


def test_a_transfer_attacks_the_source_and_asks_nothing_of_the_target():
    world, one = linear_world(), PGD(radius=0.01, steps=5)
    index = torch.arange(32) + 9
    moved = Transfer(attack=one, source=world.model)(refuses, world.x, world.y, index)
    assert torch.equal(moved, one(world.model, world.x, world.y, index))


def test_passes_through_the_source_are_counted_and_its_weights_left_alone():
    world = linear_world()
    meter = Metered(refuses)
    Transfer(attack=PGD(steps=5), source=world.model.train())(meter, world.x, world.y)
    assert (meter.forward, meter.backward) == (160, 160)
    assert world.model.training and all(w.grad is None for w in world.model.parameters())
    assert all(w.requires_grad for w in world.model.parameters())


def test_a_source_in_fp32_serves_a_target_in_fp64():
    world = linear_world()
    x = world.x.clone()
    adv = Transfer(attack=FGSM(radius=0.01), source=linear_world().model.float())(
        refuses, x, world.y
    )
    assert adv.dtype == torch.float64 and acceptable(x, adv, 0.01, "linf").all()


def test_a_transfer_has_the_budget_of_its_attack_and_a_short_description():
    one = Transfer(attack=DDN(), source=linear_world().model, origin="run 7")
    assert one.norm == "l2" and one.minimal and not hasattr(one, "radius")
    assert Transfer(attack=PGD(radius=0.3), source=refuses).radius == 0.3
    described = record.plain(one)
    assert described == {"name": "transfer", "attack": record.plain(DDN()), "origin": "run 7"}
    assert "Linear" not in repr(one) + json.dumps(described)


def test_the_evaluator_takes_a_transfer_like_any_attack(digits):
    a, b = digits.models["a"], digits.models["b"]
    one = Transfer(attack=MIM(radius=0.2), source=a)
    found = evaluate(b, digits.x, digits.y, attacks={"from a": one, "own": FGSM(radius=0.2)})
    assert found.attacks[0].radius == 0.2 and found.attacks[0].refused == 0
    assert found.attacks[0].forward == found.attacks[0].backward == 1000
    assert found.attacks[0].accuracy < found.clean.accuracy - 0.1


def test_without_its_extras_it_is_mim_that_takes_all_steps(digits):
    x, y, plain = digits.x[:20], digits.y[:20], MIM(radius=0.2, decay=0.8)
    one = TransferMIM(radius=0.2, decay=0.8, diversity=0.0)
    torch.testing.assert_close(one(digits.models["a"], x, y), plain(digits.models["a"], x, y))


ALL = [TransferMIM(radius=0.2, smoothing=1), TransferMIM(radius=1.0, norm="l2", diversity=1.0)]


@pytest.mark.parametrize("one", ALL, ids=repr)
def test_an_image_does_not_depend_on_its_batch_mates(one, digits):
    x, y, index = digits.x[:20], digits.y[:20], torch.arange(20) + 50
    together = attack.run(one, digits.models["a"], x, y, index)
    some = torch.tensor([17, 4])
    apart = attack.run(one, digits.models["a"], x[some], y[some], index[some])
    torch.testing.assert_close(apart, together[some], rtol=0, atol=1e-5)
    assert acceptable(x, together, one.radius, one.norm).all()
    other = replace(one, seed=1)(digits.models["a"], x, y, index)
    assert not torch.equal(other, together)
    assert torch.equal(replace(one, radius=0.0)(digits.models["a"], x, y, index), x)


def nearest(side: int, kept: int) -> list[int]:
    """The pixel of `side` in which the middle of each of `kept` pixels lies."""
    return [int((Fraction(i) + Fraction(1, 2)) * side / kept) for i in range(kept)]


def test_a_moved_image_is_the_shrunk_one_on_black():
    x, drawn = torch.rand(200, 2, 20, 30), torch.rand(200, 4)
    drawn[:, 0] = torch.arange(200) % 2
    moved = _moved(x, drawn, 0.8)
    assert torch.equal(moved[::2], x[::2])
    sizes = set()
    for image, was in zip(moved[1::2], x[1::2], strict=True):
        rows, columns = (image[0].sum(k).nonzero().flatten() for k in (1, 0))
        size = (len(rows), len(columns))
        part = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        down, across = (nearest(*sides) for sides in zip((20, 30), size, strict=True))
        assert torch.equal(part, was[:, down][:, :, across])
        sizes.add(size)
    assert {h for h, _ in sizes} == {16, 17, 18, 19, 20} and {w for _, w in sizes} == set(
        range(24, 31)
    )
    corners = moved[1::2, 0, 0, 0], moved[1::2, 0, -1, -1]
    assert all((corner == 0).any() and (corner > 0).any() for corner in corners)


def test_smoothing_is_the_mean_over_shifts_weighted_by_a_gaussian():
    slope, plain, total = torch.randn(2, 3, 9, 9), torch.zeros(2, 3, 9, 9), 0.0
    padded = F.pad(slope, (2, 2, 2, 2))
    for i in range(-2, 3):
        for j in range(-2, 3):
            weight = torch.tensor(-(i**2 + j**2) / (2 * (2 / 3) ** 2)).exp()
            plain += weight * padded[:, :, 2 + i : 11 + i, 2 + j : 11 + j]
            total += weight
    torch.testing.assert_close(_smoothed(slope, 2), plain / total)


def test_an_attack_that_takes_all_its_steps_transfers_better(digits):
    """Mean accuracy on the models that were not attacked."""

    def early(model, x, y):
        return BIM(radius=0.25)(model, x, y, stop=True)

    def elsewhere(one: Attack) -> float:
        share = transfer_matrix(digits.models, digits.x, digits.y, one).accuracy
        return (share[~torch.eye(3, dtype=torch.bool)]).mean().item()

    rested, further = elsewhere(early), elsewhere(BIM(radius=0.25))
    assert further < rested - 0.1
    assert elsewhere(TransferMIM(radius=0.25)) < rested - 0.1


def test_an_ensemble_is_the_mean_of_logits(digits):
    some = list(digits.models.values())
    mean = torch.stack([predict(one, digits.x) for one in some]).mean(0)
    torch.testing.assert_close(predict(ensemble([*some[:2], some[2].forward]), digits.x), mean)


def test_an_ensemble_is_lent_as_its_models_are(digits):
    one = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).train()
    both = ensemble([one, digits.models["a"]])
    assert torch.equal(predict(both, digits.x), predict(both, digits.x))
    assert one[1].training and not digits.models["a"].training


@pytest.mark.parametrize("classes", [[], [2, 3]])
def test_models_that_do_not_agree_make_no_ensemble(classes):
    models = [linear_world(classes=count).model for count in classes]
    with pytest.raises(BadInput, match=r"expected (at least 1 model|models of the same classes)"):
        ensemble(models)(torch.zeros(1, 1, 4, 4).double())


def test_the_matrix_is_what_one_evaluation_each_would_say(digits):
    one = TransferMIM(radius=0.2, steps=4)
    both = ensemble(list(digits.models.values()))
    targets = {"a": digits.models["a"], "b": digits.models["b"]}
    found = transfer_matrix(
        targets, digits.x, digits.y, one, sources={"b": targets["b"], "all": both}, batch_size=30
    )
    for i, source in enumerate([targets["b"], both]):
        for j, target in enumerate(targets.values()):
            told = evaluate(
                target, digits.x, digits.y, attacks={"t": Transfer(attack=one, source=source)}
            )
            assert torch.equal(found.correct[i, j], told.worst_case.correct)
            assert torch.equal(found.clean[j], told.clean.correct)
    assert [line.split()[0] for line in found.table().splitlines()] == ["made", "clean", "b", "all"]
    assert f"{found.accuracy[1, 0]:.1%}" in found.table().splitlines()[3]


def test_what_breaks_the_rules_fools_nobody():
    world = linear_world()

    def far(model, x, y):
        return torch.where(torch.arange(len(x))[:, None, None, None] < 16, 1 - x, torch.nan)

    found = transfer_matrix({"it": world.model}, world.x, world.y, far, radius=0.001)
    assert found.accuracy.item() == 1.0
    with pytest.raises(BadInput, match=r"expected models by name, .* got list"):
        inspect.unwrap(transfer_matrix)([world.model], world.x, world.y, far)
    near = transfer_matrix({"it": world.model}, world.x, world.y, DDN(first=0.1), radius=0.02)
    assert (near.correct[0, 0] >= (world.margin["l2"] > 0.02)).all()
    assert 0 < near.accuracy.item() < 1


def test_a_matrix_says_by_what_and_within_what_it_was_made():
    world = linear_world()
    of = partial(transfer_matrix, {"it": world.model}, world.x, world.y)
    found = of(PGD(radius=0.02))
    row = found.as_dict()
    assert (found.norm, found.radius, row["settings"]["name"]) == ("linf", 0.02, "pgd")
    assert repr(found).startswith(f"Transfers of {len(world.y)} images by pgd, linf radius 0.02\n")
    shown = found.as_table()
    assert shown.head == ("made on", "it") and [r[0] for r in shown.rows] == ["clean", "it"]
    small = of(PGD(radius=0.005))
    stands, near = small.correct[0, 0], wilson(int(small.correct.sum()), len(world.y))
    assert 0 < stands.sum() < len(stands)
    assert (
        small.as_table().rows[1][1] == f"{fraction(stands):.1%} ({near.low:.0%} to {near.high:.0%})"
    )
    assert torch.equal(of(PGD(radius=0.02), radius=0.02).correct, found.correct)
    others: tuple[dict[str, Any], ...] = ({"radius": 0.03}, {"norm": "l2"})
    for asked in others:
        with pytest.raises(
            BadInput, match=r"expected an attack within .*, got one within linf 0.02"
        ):
            of(PGD(radius=0.02), **asked)
    with pytest.raises(BadInput, match="expected attack to be called as"):
        of(lambda model: model)


@pytest.mark.parametrize(
    "bad",
    [lambda: TransferMIM(radius=-1), lambda: TransferMIM(steps=0), lambda: TransferMIM(decay=-1),
     lambda: TransferMIM(diversity=2), lambda: TransferMIM(smallest=0),
     lambda: TransferMIM(smoothing=-1), lambda: TransferMIM(norm="l1"),
     lambda: transfer_matrix({}, torch.rand(1, 1, 4, 4), torch.zeros(1).long(), FGSM()),
     lambda: transfer_matrix({"a": refuses}, torch.rand(1, 1, 4, 4), torch.zeros(1).long(), FGSM(),
                             batch_size=0)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(BadInput, match="expected"):
        bad()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_matrix_is_the_same_for_images_of_any_precision(dtype):
    world = linear_world()
    x = world.x.half().bfloat16().float()  # the same numbers in all of them
    model = world.model.float()
    wanted, found = (transfer_matrix({"it": model}, one, world.y, FGSM(radius=0.05), radius=0.05)
                     for one in (x, x.to(dtype)))  # fmt: skip
    assert wanted.accuracy < 1 and torch.equal(wanted.correct, found.correct)


def test_logits_that_are_no_numbers_are_no_prediction():
    world = linear_world()

    def model(x: torch.Tensor) -> torch.Tensor:
        return world.model(x) + 0 * x.log().sum((1, 2, 3))[:, None]

    x = world.x.clamp_min(0.01)

    def black(model, x, y):
        return torch.zeros_like(x)

    found = transfer_matrix({"it": model}, x, world.y, black, radius=1.0)
    assert found.clean.any() and found.accuracy.item() == 0


def test_images_in_fp64_are_judged_as_models_in_fp32_see_them():
    """Rounding of 3,072 pixels would add up to more than the slack of the l1 ball."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 3, 32, 32, generator=generator, dtype=torch.float64)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))
    one, y = (
        PGD(radius=12, norm="l1", steps=2, rel_stepsize=1.0),
        model(x.flatten(1).float()).argmax(1),
    )
    wide, narrow = (transfer_matrix({"a": model}, some, y, one) for some in (x, x.float()))
    assert wide.accuracy == narrow.accuracy < 0.6


def test_a_source_too_coarse_for_the_checks_is_refused():
    world = linear_world()
    coarse = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).bfloat16()
    with pytest.raises(BadInput, match=r"float32 or float64, got torch\.bfloat16"):
        Transfer(attack=PGD(), source=coarse)(world.model, world.x, world.y)


def test_autopgd_takes_all_its_steps_on_the_source(digits):
    x, y = digits.x[:40], digits.y[:40]
    meter = Metered(digits.models["b"])
    Transfer(attack=APGD(radius=0.2, steps=10), source=digits.models["a"])(meter, x, y)
    assert meter.backward == 10 * len(x)


def test_images_that_are_refused_are_said():
    def outside(model, x, y):
        return x + 0.5

    world = linear_world()
    found = transfer_matrix({"a": world.model}, world.x, world.y, outside)
    assert found.refused == (1.0,) and found.as_dict()["refused"] == [1.0]
    assert "warning: 100.0% of the images made on a were outside the budget" in found.table()
    honest = transfer_matrix({"a": world.model}, world.x, world.y, PGD(radius=0.01))
    assert honest.refused == (0.0,) and "warning" not in honest.table()


def test_a_minimum_norm_attack_has_no_budget_to_break():
    world, attack = linear_world(), DeepFool(norm="linf")
    found = transfer_matrix({"a": world.model}, world.x, world.y, attack, radius=0.01)
    assert found.refused == (0.0,) and "warning" not in found.table()
    assert 0 < found.correct.double().mean() < 1
