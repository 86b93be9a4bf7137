"""Accuracy over budgets: attacks run anew at each radius."""

import inspect
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from worlds import linear_world

from holdfast import evaluation, record, report
from holdfast.attack import DDN, PGD, UniformNoise
from holdfast.cli import main
from holdfast.errors import BadInput
from holdfast.evaluation import evaluate
from holdfast.result import Evaluation

WORLD = linear_world()
RADII = [0.002, 0.004, 0.006, 0.008]
SMALL = ["train", "--data", "digits", "--model.widths", "[4]", "--model.dense", "16", "--precision",
         "fp32", "--epochs", "2", "--watch.images", "20"]  # fmt: skip


def exact(norm: str = "linf") -> list[float]:
    """Shares of images whose margin is known to be larger than each radius."""
    return [(WORLD.margin[norm] > radius).double().mean().item() for radius in RADII]


@pytest.mark.parametrize("battery", ["quick", lambda radius: {"pgd": PGD(radius=radius)}])
def test_it_is_the_share_of_margins_beyond_each_radius(battery):
    found = evaluation.curve(WORLD.model, WORLD.x, WORLD.y, RADII[::-1], battery)
    assert found.radii == tuple(RADII) and found.clean.accuracy == 1
    assert [one.accuracy for one in found.standings] == exact()
    assert len(set(exact())) > 3 and f"{exact()[1]:.1%}" in found.table()
    row = found.as_dict()
    assert [point["accuracy"] for point in row["points"]] == exact()
    assert row["points"][0]["low"] < exact()[0] < row["points"][0]["high"]


def test_what_has_fallen_is_not_attacked_again_and_the_wrong_never():
    shown = []

    def asked(x: torch.Tensor) -> torch.Tensor:
        shown.append(len(x))
        return WORLD.model(x)

    y = WORLD.y.clone()
    y[:5] = 1 - y[:5]
    count = 0

    def battery(radius: float):
        nonlocal count
        count += 1
        return {"pgd": PGD(radius=radius, steps=3)}

    found = evaluation.curve(asked, WORLD.x, y, [0.0, 0.003, 1.0, 0.5], battery)
    assert count == 2  # nothing to do within 0, nothing left within 1
    assert not found.correct[:, :5].any() and found.correct[0].sum() == len(y) - 5
    assert (found.correct[1:] <= found.correct[:-1]).all() and not found.correct[2:].any()


def test_the_curve_of_one_evaluation_says_where_it_is_too_high(caplog):
    found = evaluate(WORLD.model, WORLD.x, WORLD.y, radius=0.008)
    assert found.curve(RADII)[0] == 1 > exact()[0]
    assert "below radius 0.008" in caplog.text and "evaluation.curve" in caplog.text
    caplog.clear()
    near = {"ddn": DDN(steps=50)}
    nearest = evaluate(WORLD.model, WORLD.x, WORLD.y, attacks=near, radius=0.1, norm="l2")
    nearest.curve(torch.tensor([0.01, 0.02]).double().numpy())
    found.curve([0.008, 0.1])
    assert caplog.text == ""


@pytest.mark.parametrize("radii", [[], [-1.0], [float("nan")], 0.1, ["a"], [float("inf")]])
def test_radii_that_are_none_are_refused(radii):
    with pytest.raises(BadInput, match=r"radi.*got"):
        inspect.unwrap(evaluation.curve)(WORLD.model, WORLD.x, WORLD.y, radii)


def test_attacks_may_have_curves_of_their_own():
    """Each that of the attack run alone, and none worse than the worst case."""
    radii = [0.0, *RADII]
    both = {"pgd": PGD, "noise": partial(UniformNoise, repeats=3)}
    found = evaluation.curve(
        WORLD.model, WORLD.x, WORLD.y, radii, apart=True,
        battery=lambda radius: {name: made(radius=radius) for name, made in both.items()},
    )  # fmt: skip
    assert [*found.attacks] == ["pgd", "noise"]
    for name, made in both.items():
        alone = evaluation.curve(
            WORLD.model,
            WORLD.x,
            WORLD.y,
            radii,
            lambda radius, made=made: {"it": made(radius=radius)},
        )
        assert torch.equal(found.attacks[name], alone.correct) and not alone.attacks
    assert (found.attacks["noise"] & ~found.attacks["pgd"]).any()
    assert torch.equal(found.correct, found.attacks["pgd"] & found.attacks["noise"])
    shown = found.as_table()
    assert shown.head == ("radius", "pgd", "noise", "worst case", "95 % interval")
    assert shown.rows[-1][1:4] == [
        f"{one[-1].double().mean():.1%}" for one in (*found.attacks.values(), found.correct)
    ]
    assert len(shown.rows) == 1 + len(RADII)  # radius 0 is that of the clean images
    points = found.as_dict()["attacks"]["noise"]
    assert [one["accuracy"] for one in points] == found.attacks["noise"].double().mean(1).tolist()


def test_a_cascade_and_changing_names_are_not_taken_apart():
    taken = partial(evaluation.curve, WORLD.model, WORLD.x, WORLD.y, [0.001, 0.002], apart=True)
    with pytest.raises(BadInput, match=r"all see every image, .*, got reliable, a cascade"):
        taken("reliable")
    with pytest.raises(BadInput, match="got standard, a cascade"):  # before anything is attacked
        evaluation.curve(lambda x: pytest.fail("asked"), WORLD.x, WORLD.y, [0.1], "standard",
                         apart=True)  # fmt: skip
    with pytest.raises(
        BadInput, match=r"expected the attacks pgd0.001 at every radius.*got pgd0.002"
    ):
        taken(lambda radius: {f"pgd{radius}": PGD(radius=radius)})


def test_curves_are_drawn_from_their_rows(tmp_path):
    found = evaluation.curve(WORLD.model, WORLD.x, WORLD.y, RADII, apart=True)
    report.budgets(tmp_path / "curve.png", {"it": found.as_dict()}, "")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match=r"expected curves as {name: found.as_dict\(\)}, got Curve"):
        inspect.unwrap(report.budgets)(tmp_path / "curve.png", {"it": found}, "")


@pytest.mark.parametrize("battery", [PGD(radius=0.1), lambda: {}])
def test_what_makes_no_attacks_of_a_radius_is_refused(battery):
    with pytest.raises(BadInput, match=r"expected battery to be called as \(radius\), got"):
        evaluation.curve(WORLD.model, WORLD.x, WORLD.y, [0.1], battery)


@pytest.mark.parametrize("radii", [[-1.0], [float("nan")], 0.1])
def test_nor_does_a_curve_of_one_evaluation_take_them(radii):
    found = evaluate(WORLD.model, WORLD.x, WORLD.y, radius=0.008)
    with pytest.raises(BadInput, match=r"expected radii .*got"):
        inspect.unwrap(Evaluation.curve)(found, radii)


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """Two small runs, and a way to run a command beside them."""
    monkeypatch.chdir(tmp_path)
    for seed in ("0", "1"):
        assert main([*SMALL, "--seed", seed, "--out", f"r{seed}", "--json"]) == 0

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(words), *capsys.readouterr()

    return run


def test_runs_are_drawn_together_and_each_keeps_its_row(say):
    words = ("curve", "r0", "r1", "--radii", "0.02,0.1", "--radii", "8px", "--images", "30")
    code, out, err = say(*words, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert set(told) == {"r0", "r1"} and Path("r0/curve.png").exists()
    for name, row in told.items():
        (kept,) = record.rows(Path(name) / "curve.jsonl")
        assert kept["points"] == row["points"] and kept["suite"] == "quick" and kept["run"] == name
        assert [point["radius"] for point in row["points"]] == [0.02, 8 / 255, 0.1]
        assert not list(Path(name).glob("drafts/*"))
    code, out, _ = say("curve", "r0", "--radius", "0.1", "--images", "10")
    assert code == 0 and "0.025" in out and "0.15" in out and "upper bound" in out


def test_no_radius_is_asked_for_where_there_are_radii_and_any_name_is_drawn(say):
    Path("r0").rename("a$\\q$b")
    Path("r1").rename("_u")
    words = ("curve", "a$\\q$b", "_u", "--images", "10", "--norm", "l1", "--radii", "1,3")
    code, out, err = say(*words)
    assert code == 0 and "_u" in out, err
    assert [len(record.rows(Path(name) / "curve.jsonl")) for name in ("a$\\q$b", "_u")] == [1, 1]


def test_every_line_has_its_name(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    row = evaluation.curve(WORLD.model, WORLD.x, WORLD.y, RADII).as_dict()
    report.budgets(tmp_path / "a.png", {"_u": row, "r": row}, "title")
    assert [one.get_text().strip() for one in drawn[0].axes[0].get_legend().get_texts()] == [
        "_u",
        "r",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("curve",), "a value for runs"),
        (("curve", "r0", "--radii", "0.1,x"), "a budget such as 8/255"),
        (("curve", "r0", "--radii=-0.1"), "radii of 0 or more"),
        (("curve", "r0", "--suite", "quik"), "did you mean 'quick'"),
        (("curve", "nowhere"), "expected a run folder, got nowhere"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(say, words, said):
    code, _, err = say(*words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1
