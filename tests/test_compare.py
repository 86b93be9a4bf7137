"""Two runs on the same images: which stands more often, and what may be compared at all."""

import itertools
import math
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from worlds import linear_world

from holdfast import evaluation, record
from holdfast.attack import BIM, DDN, PGD, Square
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.result import wilson

WORLD = linear_world()
MODEL, X, Y = WORLD.model.float(), WORLD.x.float(), WORLD.y


def test_a_paired_comparison_by_hand():
    first = torch.tensor([True] * 30 + [False] * 20)  # right together 21, alone 9
    second = torch.tensor([True] * 21 + [False] * 9 + [True] * 2 + [False] * 18)
    found = evaluation.paired(first, second)
    assert (found.only_first, found.only_second) == (9, 2)
    assert found.difference == pytest.approx(0.14)
    assert found.p == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    one, two = wilson(30, 50), wilson(23, 50)
    phi = (21 * 18 - 9 * 2 - 25) / math.sqrt(30 * 20 * 23 * 27)  # less half the images
    for end, a, b in (
        (found.low, 0.6 - one.low, two.high - 0.46),
        (found.high, one.high - 0.6, 0.46 - two.low),
    ):
        assert abs(end - 0.14) == pytest.approx(math.sqrt(a * a - 2 * phi * a * b + b * b))
    assert 0 < found.low < 0.14 < found.high
    same = evaluation.paired(first, first)
    assert (same.difference, same.p) == (0, 1) and same.low < 0 < same.high


def test_the_exact_test_is_exact_and_quick_on_many_images():
    for one, other in itertools.product(range(12), repeat=2):
        tail = sum(math.comb(one + other, k) for k in range(min(one, other) + 1))
        by_hand = min(1, 2 * tail / 2 ** (one + other))
        held = torch.zeros(40, dtype=torch.bool)
        first, second = held.clone(), held.clone()
        first[:one], second[one : one + other] = True, True
        assert evaluation.paired(first, second).p == pytest.approx(by_hand, rel=1e-12)
    first = torch.arange(50_000) % 2 == 0
    start = time.process_time()
    assert evaluation.paired(first, ~first).p == 1
    assert time.process_time() - start < 20  # it took minutes


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says():
    """Pairs that agree more often than chance would have it, 1,500 times."""
    generator = torch.Generator().manual_seed(0)
    covered = narrow = 0
    for _ in range(1500):
        shared = torch.rand(120, generator=generator)
        own = torch.rand(2, 120, generator=generator)
        first = torch.where(own[0] < 0.5, shared, own[0] * 2 - 1) < 0.75
        second = torch.where(own[0] < 0.5, shared, own[1]) < 0.6
        found = evaluation.paired(first, second)
        covered += found.low <= 0.15 <= found.high
        narrow += found.high - found.low < 0.25
    assert 0.93 <= covered / 1500 <= 0.985 and narrow > 1000


def test_two_evaluations_are_compared_image_by_image(tmp_path, caplog):
    def masked(x: torch.Tensor) -> torch.Tensor:
        return MODEL(x.detach())

    same = PGD(radius=0.03)
    attacks = {
        "a": same,
        "b": replace(same, seed=1),
        "c": PGD(radius=0.02),
        "d": replace(same, steps=3),
    }
    orders = dict.fromkeys(attacks, torch.arange(32)) | {"b": torch.arange(20).flip(0)}
    found, files = {}, {}
    for name, order in orders.items():
        (tmp_path / name).mkdir()
        model, pgd = masked if name == "a" else MODEL, {"pgd": attacks[name]}
        found[name] = evaluate(model, X[order], Y[order], attacks=pgd, radius=0.03)
        files[name] = evaluation.save(found[name], tmp_path / name, Y[order], index=order)
    compared = evaluation.compare(files["a"], files["b"])
    assert set(compared) == {"clean", "pgd", "worst case"}
    worst, weak, strong = compared["worst case"], found["a"], found["b"]
    wanted = weak.worst_case.correct[:20].sum() - strong.worst_case.correct.sum()
    assert worst.images == 20 and wanted > 0
    assert worst.difference == pytest.approx(int(wanted) / 20)
    assert "points" in str(worst)
    with pytest.raises(BadInput, match="per-image results"):
        evaluation.compare(files["a"], tmp_path / "none")
    other = evaluation.save(weak, tmp_path / "b", 1 - Y)
    with pytest.raises(BadInput, match="same data and split"):
        evaluation.compare(files["a"], other)
    assert set(evaluation.compare(files["a"], files["c"])) == {"clean"}
    assert "pgd is not compared: its budgets are linf 0.03 and linf 0.02" in caplog.text
    assert "only clean images are compared" in caplog.text
    caplog.clear()
    assert set(evaluation.compare(files["a"], files["d"])) == {"clean"}
    assert "pgd is not compared: its settings" in caplog.text


def test_what_a_cascade_left_is_not_compared_with_what_was_attacked_alone(tmp_path, caplog):
    attacks = {"one": BIM(radius=0.02), "two": PGD(radius=0.03)}
    files = []
    for cascade in (False, True):
        found = evaluate(MODEL, X, Y, attacks=attacks, radius=0.03, cascade=cascade)
        run = tmp_path / str(cascade)
        run.mkdir()
        files.append(evaluation.save(found, run, Y))
    assert set(evaluation.compare(*files)) == {"clean", "one", "worst case"}
    assert "two is not compared: its settings, or those of the attacks before it" in caplog.text


def test_other_images_of_the_same_labels_are_not_compared(tmp_path):
    attacks = {"pgd": PGD(radius=0.03)}
    noisy = (X + 0.1 * torch.rand_like(X)).clamp(0, 1)
    files = [evaluation.save(evaluate(MODEL, x, Y, attacks=attacks), tmp_path / name, Y)
             for name, x in {"clean": X, "same": X.clone(), "noisy": noisy}.items()]  # fmt: skip
    assert "pgd" in evaluation.compare(*files[:2])
    with pytest.raises(BadInput, match=f"got others at {len(X)} of {len(X)} positions"):
        evaluation.compare(files[0], files[2])


def test_the_newest_evaluation_is_that_of_a_suite_where_one_is_named(tmp_path):
    for suite in ("quick", "standard", "quick"):
        found = evaluate(MODEL, X, Y, attacks={"pgd": PGD(radius=0.03)})
        evaluation.save(found, tmp_path, Y, about={"battery": suite})
    assert evaluation.latest(tmp_path).name == "evaluation-003.safetensors"
    assert evaluation.latest(tmp_path, "standard").name == "evaluation-002.safetensors"
    with pytest.raises(BadInput, match="an evaluation by full in"):
        evaluation.latest(tmp_path, "full")


def test_an_evaluation_is_read_back_as_it_was_saved(tmp_path):
    settings: dict[str, Any] = {"cascade": True, "keep": True, "radius": 0.02}
    attacks = {"a": PGD(radius=0.001), "b": DDN(), "c": Square(radius=0.02, queries=20)}
    found = evaluate(MODEL, X, Y, attacks=attacks, norm="linf", **settings)
    file = evaluation.save(found, tmp_path, Y)
    again = evaluation.load(tmp_path)
    assert again.as_dict() == found.as_dict() and again.table() == found.table()
    assert torch.equal(again.adv, found.adv) and again.marks is not None
    assert again.marks.tolist() == found.marks.tolist()  # pyright: ignore
    for one, other in zip(found.attacks, again.attacks, strict=True):
        assert vars(one).keys() == vars(other).keys()
        for name, value in vars(one).items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value.nan_to_num(-7), vars(other)[name].nan_to_num(-7)), name
            else:
                assert value == vars(other)[name], name
    assert evaluation.paired(found, again).difference == 0
    rows = record.rows(tmp_path / "evaluation.jsonl")
    for bad in (rows[:2], [*rows, rows[0]], [*rows[:2], rows[2] | {"settings": None}],
                [*rows[:2], {k: v for k, v in rows[2].items() if k != "seconds"}],
                [*rows[:2], rows[2] | {"norm": "l_inf"}], [*rows[:2], rows[2] | {"norm": "l2"}],
                [rows[0] | {"budget": {"norm": "linf", "radius": 0.05}}, *rows[1:]]):  # fmt: skip
        (tmp_path / "evaluation.jsonl").unlink()
        record.append(tmp_path / "evaluation.jsonl", *bad)
        with pytest.raises(BadInput, match=r"expected (a row in|an evaluation as it is saved in) "):
            evaluation.load(tmp_path)
    whole = load_file(file)
    damaged = {
        "clean.correct": whole["a.correct"].float(), "marks": whole["y"][:3].clone(),
        "b.correct": whole["b.correct"][:5].clone(),
    }  # fmt: skip
    for name, value in damaged.items():
        save_file(whole | {name: value}, tmp_path / "cut.safetensors")
        with pytest.raises(BadInput, match=f"{name}"):
            evaluation.compare(tmp_path / "cut.safetensors", file)
    (tmp_path / "evaluation.jsonl").write_text("")
    with pytest.raises(BadInput, match=r"a row in .* for each attack of .*, got none; eval"):
        evaluation.load(file)
    with pytest.raises(BadInput, match="expected an evaluation by other in"):
        evaluation.load(tmp_path, "other")


def test_what_is_paired_may_come_as_it_is():
    found, other = (
        evaluate(MODEL, X, Y, attacks={"a": PGD(radius=r)}, radius=0.02) for r in (0.001, 0.02)
    )
    wanted = evaluation.paired(found.worst_case.correct, other.worst_case.correct)
    assert wanted.difference > 0.5
    assert evaluation.paired(found, other) == wanted
    assert evaluation.paired(found.attacks[0], other.worst_case) == wanted
    flags = found.worst_case.correct.numpy()
    assert evaluation.paired(flags, other.worst_case.correct.numpy()) == wanted


def test_worst_cases_of_other_images_or_budgets_are_not_paired():
    found, wider = (evaluate(MODEL, X, Y, attacks={"a": PGD(radius=r)}) for r in (0.001, 0.02))
    with pytest.raises(
        BadInput, match=r"within one budget, got linf 0.001 and linf 0.02; .*worst_c"
    ):
        evaluation.paired(found, wider)
    turned = evaluate(MODEL, X.flip(0), Y.flip(0), attacks={"a": PGD(radius=0.001)})
    with pytest.raises(BadInput, match=r"the same images in the same order, got others at \d+ of"):
        evaluation.paired(found, turned)
    assert evaluation.paired(found.worst_case, turned.worst_case)


def test_other_budgets_have_no_worst_case_to_compare(tmp_path, caplog):
    attacks = {"pgd": PGD(radius=0.1), "l2": PGD(norm="l2", radius=1.0)}
    same: dict = {"attacks": attacks, "norm": "linf"}
    files = []
    for radius in (0.1, 0.001):
        found = evaluate(MODEL, X, Y, radius=radius, **same)
        files.append(evaluation.save(found, tmp_path / str(radius), Y))
    assert evaluation.compare(files[0], files[0])["worst case"].difference == 0
    assert not caplog.messages
    assert "worst case" not in evaluation.compare(*files)
    assert "of other budgets" in caplog.text
    other = tmp_path / "other.safetensors"
    save_file({k: v for k, v in load_file(files[0]).items() if k != "budget"}, other)
    with pytest.raises(BadInput, match="no budget in it"):
        evaluation.compare(files[0], other)
    save_file({k: v for k, v in load_file(files[0]).items() if k != "pgd.settings"}, other)
    with pytest.raises(BadInput, match=r"no pgd\.settings in it"):
        evaluation.compare(files[0], other)
