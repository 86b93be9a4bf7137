"""A killed evaluation goes on where it was, on the same images only; shares make the whole."""

import copy
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from worlds import linear_world

from holdfast import evaluation, kept
from holdfast.attack import PGD, Transfer
from holdfast.diagnosis.adaptive import Adaptive
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.evaluation.shares import joined, share
from holdfast.team import Team

WORLD = linear_world()
MODEL, X, Y = WORLD.model.float(), WORLD.x.float(), WORLD.y


class Killed(Exception):
    pass


class Counted:
    """PGD that notes each call and may be killed at one."""

    def __init__(self, calls: list[str], name: str, dies: bool = False) -> None:
        self.calls, self.name, self.dies = calls, name, dies

    def __repr__(self) -> str:
        return self.name

    def __call__(self, model, x, y, index):
        self.calls.append(self.name)
        if self.dies:
            raise Killed
        return PGD(radius=0.01, steps=3, seed=len(self.name))(model, x, y, index)


def battle(folder: Path, calls: list[str], dies: bool = False, model=MODEL, **settings):
    attacks = {name: Counted(calls, name, dies and name == "third") for name in
               ("one", "second", "third")}  # fmt: skip
    chosen = {"attacks": attacks, "radius": 0.01, "cascade": True, "folder": folder}
    return evaluate(model, X, Y, **chosen | settings)


def same(one, other) -> bool:
    return torch.equal(one.adv, other.adv) and all(
        torch.equal(a.correct, b.correct)
        and torch.equal(a.distance.nan_to_num(-1), b.distance.nan_to_num(-1))
        and (a.passes, a.seconds > 0, a.settings) == (b.passes, b.seconds > 0, b.settings)
        for a, b in zip(one.attacks, other.attacks, strict=True)
    )


def test_a_killed_evaluation_repeats_no_attack_that_had_finished(tmp_path):
    whole, calls = battle(tmp_path / "whole", []), []
    with pytest.raises(Killed):
        battle(tmp_path, calls, dies=True)
    again = battle(tmp_path, calls)
    assert calls == ["one", "second", "third", "third"] and same(whole, again)


@pytest.mark.parametrize(
    "changed", [{"radius": 0.02}, {"cascade": False}, {"index": Y * 0 + 7}, {"seed": 1}]
)
def test_a_draft_belongs_to_one_evaluation(tmp_path, changed):
    calls: list[str] = []
    battle(tmp_path, calls)
    battle(tmp_path, calls)
    assert len(calls) == 3
    battle(tmp_path, calls, **changed)
    assert len(calls) == 6


def test_a_draft_belongs_to_its_weights(tmp_path):
    calls: list[str] = []
    battle(tmp_path, calls)
    twin = copy.deepcopy(MODEL)
    with torch.no_grad():
        next(twin.parameters()).mul_(1.001)
    battle(tmp_path, calls, model=twin)
    assert len(calls) == 6


@dataclass(frozen=True)
class Asking:
    """A model that is no module, around one that is."""

    within: nn.Module

    def __call__(self, x):
        return self.within(x)


def test_a_draft_belongs_to_the_weights_wherever_they_are(tmp_path):
    """In a model that is a dataclass, and in a source that an attempt of an attack starts from."""

    def judged(model, source):
        attempts = (Transfer(attack=PGD(radius=0.05, steps=3), source=source),)
        found = evaluate(
            model, X, Y, attacks={"it": Adaptive(radius=0.05, attempts=attempts)}, radius=0.05,
            folder=tmp_path,
        )  # fmt: skip
        return found.worst_case.accuracy, len(list(tmp_path.iterdir()))

    other = copy.deepcopy(MODEL)
    with torch.no_grad():
        for weight in other.parameters():
            weight.neg_()
    strong, weak = judged(MODEL, MODEL), judged(MODEL, other)
    assert strong[0] < weak[0] and (strong[1], weak[1]) == (1, 2)
    assert judged(Asking(MODEL), MODEL) == (strong[0], 3)

    def named(x: torch.Tensor) -> torch.Tensor:
        return MODEL(x)

    def other_name(x: torch.Tensor) -> torch.Tensor:
        return -MODEL(x)

    assert (judged(MODEL, named)[0], judged(MODEL, other_name)[0]) == (strong[0], weak[0])
    assert judged(Asking(other), MODEL)[1] == 6 and judged(Asking(MODEL), MODEL)[1] == 6


def test_a_damaged_draft_is_made_again_with_a_notice(tmp_path, caplog):
    calls: list[str] = []
    whole = battle(tmp_path, calls)
    (file,) = tmp_path.glob("*/01-second.safetensors")
    file.write_bytes(file.read_bytes()[:-40])
    assert same(battle(tmp_path, calls), whole)
    assert calls[3:] == ["second"] and "01-second.safetensors is damaged" in caplog.text


def test_an_attack_sets_out_from_the_best_image_so_far():
    def half_way(model, x, y):
        return x + 0.004

    def back(model, x, y):
        return x - 0.004

    def noted(model, x, y, start):
        seen.append(start)
        return start

    seen: list[torch.Tensor] = []
    attacks = {"up": half_way, "down": back, "noted": noted}
    found = evaluate(MODEL, X.clamp(0.1, 0.9), Y, attacks=attacks, cascade=True, radius=0.005)
    rows = found.attacks[1].correct.nonzero().flatten()
    x = X.clamp(0.1, 0.9)[rows]
    with torch.no_grad():
        logits = [MODEL(image) for image in (x, x + 0.004, x - 0.004)]
    gap = torch.stack([(one[:, 1] - one[:, 0]) * (1 - 2 * Y[rows]) for one in logits])
    wanted = torch.stack([x, x + 0.004, x - 0.004])[gap.argmax(0), torch.arange(len(rows))]
    assert torch.equal(seen[0], wanted) and len(set(gap.argmax(0).tolist())) > 1


def test_the_nearest_image_of_another_class_is_kept(tmp_path):
    attacks = {"far": lambda m, x, y: moved(x, 0.05), "near": lambda m, x, y: moved(x, 0.02)}
    found = evaluate(MODEL, X, Y, attacks=attacks, radius=0.05)
    fooled = torch.stack([~attack.correct for attack in found.attacks])
    for row in range(32):
        wanted = moved(X, 0.02 if fooled[1, row] else 0.05)[row] if fooled[:, row].any() else X[row]
        assert torch.equal(found.adv[row], wanted)
    file = evaluation.save(found, tmp_path, Y)
    assert torch.equal(load_file(file)["adv"], found.adv)


def moved(x: torch.Tensor, far: float) -> torch.Tensor:
    normal = (MODEL.state_dict()["1.weight"][1] - MODEL.state_dict()["1.weight"][0]).view_as(x[0])
    side = (2 * (Y == 0).float() - 1)[: len(x), None, None, None]
    return (x + far * side * normal.sign()).clamp(0, 1)


def test_one_number_out_of_a_table_is_kept(tmp_path):
    """A tensor of one element counts as contiguous with any stride."""
    one = torch.arange(10.0).view(1, 10)[:, 3]
    assert one.stride() == (10,)
    kept.write(tmp_path / "piece", {"one": one})
    held = kept.read(tmp_path / "piece") or pytest.fail("it is damaged")
    assert held["one"].tolist() == [3.0]


def test_shares_of_the_images_make_the_whole():
    attacks = {"pgd": PGD(radius=0.01, steps=3)}
    whole = evaluate(MODEL, X, Y, radius=0.01, attacks=attacks)
    parts = []
    for rank in range(3):
        x, y, index = (share(t, Team(rank=rank, size=3)) for t in (X, Y, torch.arange(32)))
        parts.append(evaluate(MODEL, x, y, radius=0.01, attacks=attacks, index=index))
    found = joined(parts)
    assert found.entropy == pytest.approx(whole.entropy)
    torch.testing.assert_close(found.adv, whole.adv)
    for one, other in zip(found.attacks, whole.attacks, strict=True):
        assert torch.equal(one.correct, other.correct) and one.passes == other.passes
        torch.testing.assert_close(one.distance, other.distance)


class Shifted:
    """An attack of one's own, known by what it holds; its `repr` is an address, soon another's."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, model, x, y):
        return (x + self.by).clamp(0, 1)


def test_an_attack_with_another_setting_is_run_anew(tmp_path):
    moved = []
    for by in (0.0, 0.001, 0.002, 0.003):
        found = evaluate(
            MODEL, X, Y, radius=1.0, attacks={"mine": Shifted(by)}, folder=tmp_path
        )  # fmt: skip
        moved.append(found.adv.sum().item())
    wanted = [
        evaluate(MODEL, X, Y, radius=1.0, attacks={"mine": Shifted(by)}).adv.sum().item()
        for by in (0.0, 0.001, 0.002, 0.003)
    ]
    assert moved == wanted


def test_warnings_of_every_attack_survive_the_joining():
    bad = {name: lambda model, x, y: x - 3 for name in ("one", "two")}
    found = evaluate(MODEL, X, Y, radius=0.01, attacks=bad)
    assert [f.evidence["attack"] for f in found.findings if f.name == "images refused"] == [
        "one", "two"]  # fmt: skip


def test_bad_input_that_one_process_meets_is_raised_in_all(monkeypatch):
    team = Team(rank=1, size=2)
    monkeypatch.setattr(Team, "gather", lambda self, value: [BadInput("theirs"), value])
    with pytest.raises(BadInput, match="theirs"):
        team.gather_or_raise(lambda: "mine")


def test_a_partial_and_a_bound_method_are_known_by_what_they_hold(tmp_path):
    """Their words hold addresses; so would a draft that is never found again."""
    calls: list[float] = []

    def shift(by: float, model, x, y):
        calls.append(by)
        return (x + by).clamp(0, 1)

    class Shift:
        def __init__(self, by: float) -> None:
            self.by = by

        def attack(self, model, x, y):
            return shift(self.by, model, x, y)

    for made in (lambda by: functools.partial(shift, by), lambda by: Shift(by).attack):
        calls.clear()
        for by in (0.01, 0.01, 0.02):
            evaluate(MODEL, X, Y, attacks={"mine": made(by)}, radius=0.1, folder=tmp_path)
        assert calls == [0.01, 0.02]


class Rounds(nn.Module):
    """Rounds its images, with or without a gradient: the same logits."""

    def __init__(self, through: bool) -> None:
        super().__init__()
        self.net, self.through = MODEL, through

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = (255 * x).round() / 255
        return self.net(x + (low - x).detach() if self.through else low)


def test_functions_that_hold_each_other_are_known(tmp_path):
    def one(x):
        return other(x) if len(x) > 1000 else MODEL(x)

    def other(x):
        return one(x[:1000])

    named = [kept.folder_of(tmp_path, "it", one, {"x": X}, []) for _ in range(2)]
    assert named[0] == named[1] != kept.folder_of(tmp_path, "it", other, {"x": X}, [])


def claim(radius: float):
    return lambda model, x, y: PGD(radius=radius)(model, x, y)


def masked(mask: np.ndarray):
    return lambda model, x, y: PGD(radius=0.2 * float(mask[1000]))(model, x, y)


def test_what_is_told_apart_by_code_or_settings_has_a_draft_of_its_own(tmp_path):
    """Weights and clean logits are the same in all."""

    def left(model: nn.Module | object, attack: object) -> float:
        settings = {"attacks": {"it": attack}, "radius": 0.2, "folder": tmp_path}
        return evaluate(model, X, Y, **settings).attacks[0].accuracy  # pyright: ignore

    pgd = PGD(radius=0.2)
    assert left(Rounds(False), pgd) > 0.5 > left(Rounds(True), pgd)
    assert left(MODEL, claim(0.0)) == 1 and left(MODEL, claim(0.2)) < 0.5
    assert left(MODEL, masked(np.zeros(2000))) == 1 and left(MODEL, masked(np.ones(2000))) < 0.5
    before = len(list(tmp_path.iterdir()))
    assert left(Rounds(True), pgd) < 0.5 and left(MODEL, claim(0.2)) < 0.5
    assert len(list(tmp_path.iterdir())) == before  # both went on behind what was kept
