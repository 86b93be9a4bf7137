"""`holdfast table`: which settings differ, what is averaged, in which form."""

import csv
import json
from pathlib import Path

import pytest
from evaluated import PGD, REWARD, run

from holdfast import record, report
from holdfast.cli import main
from holdfast.errors import BadInput


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_columns_are_what_differs_and_what_was_left():
    one, two = run("a", 5, seed=0), run("b", 3, seed=1, objective=REWARD)
    found = report.summary([one, two])
    assert found.head == (
        "run", "objective", "seed", "clean", "pgd", "worst case", "95 % interval"
    )  # fmt: skip
    assert found.lines[0] == ("a", "ce", "0", "90.0", "50.0", "50.0", "23.7 to 76.3")
    assert found.lines[1][:6] == ("b", "reward", "1", "90.0", "30.0", "30.0")


def test_options_of_a_choice_differ_among_those_that_chose_alike():
    runs = [
        run("a", 5),
        run("b", 5, objective=REWARD),
        run("c", 5, objective=REWARD | {"samples": 4}),
    ]
    found = report.summary(runs)
    assert found.head[1:3] == ("objective", "objective.samples")
    assert [line[1:3] for line in found.lines] == [("ce", "-"), ("reward", "8"), ("reward", "4")]
    gone = report.summary([run("d", 5, objective=REWARD, ema=None), run("e", 5, ema=0.9)])
    assert gone.head[1:3] == ("objective", "ema") and gone.lines[0][2] == "-"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"accuracy": 5.0}, "an accuracy of 5.0 under pgd"), ({"accuracy": None}, "TypeError"),
        ({"accuracy": "high"}, "TypeError"), ({"name": 3}, "under 3"),
        ({"settings": [1]}, "cannot be read"),
        ({"worst_case_accuracy": float("nan")}, "an accuracy of nan under worst case"),
    ],
)  # fmt: skip
def test_a_row_of_what_no_evaluation_writes_is_one_line(damage, said):
    run("a", 5)
    (row,) = record.rows(Path("a/evaluation.jsonl"))
    Path("a/evaluation.jsonl").write_text(json.dumps(row | damage) + "\n")
    with pytest.raises(BadInput, match=rf"whole rows in a/evaluation.jsonl.*{said}"):
        report.summary(["a"])


def test_a_damaged_row_is_one_line():
    record.append(Path(run("a", 5)) / "evaluation.jsonl", {"per_image": "x"})
    with pytest.raises(BadInput, match=r"whole rows in a/evaluation.jsonl.*remove that line"):
        report.summary(["a"])


@pytest.mark.parametrize("damage", [{"budget": None}, {"budget": {}}, {"per_image": 5}])
def test_a_run_whose_rows_are_damaged_is_compared_in_one_line(damage, capsys):
    run("a", 7)
    run("b", 4)
    rows = record.rows(Path("b/evaluation.jsonl"))
    Path("b/evaluation.jsonl").unlink()
    for row in rows:
        record.append(Path("b/evaluation.jsonl"), row | damage)
    for words in (["a", "b", "--radius", "0.1"], ["b", "a"], ["a", "b"]):
        assert main(["compare", *words]) in (0, 2)
        assert "failed" not in capsys.readouterr().err


def test_settings_of_an_adversary_that_is_not_there_are_none():
    runs = [
        run("a", 5, adversary=None, adversarial={"name": "Adversarial", "start": 3}),
        run("b", 5, adversary={"name": "fgsm"}, adversarial={"name": "Adversarial", "start": 1}),
        run("c", 5, adversary={"name": "fgsm"}, adversarial={"name": "Adversarial", "start": 2}),
    ]
    found = report.summary(runs[:2])
    assert found.head[1:2] == ("adversary",) and "adversarial.start" not in found.head
    assert "adversarial" not in found.head
    found = report.summary(runs)
    assert found.head[1:3] == ("adversary", "adversarial.start")
    assert [line[1:3] for line in found.lines] == [("-", "-"), ("fgsm", "1"), ("fgsm", "2")]


def test_runs_that_differ_in_seeds_alone_become_one_line():
    for seed, standing in enumerate((2, 4, 6)):
        run(f"ce-{seed}", standing, seed=seed)
    run("reward", 5, objective=REWARD | {"seed": 7}, seed=7)
    found = report.summary(sorted(Path().iterdir()), over_seeds=True)
    assert found.head == ("runs", "objective", "clean", "pgd", "worst case")
    assert found.lines == (
        ("3", "ce", "90.0 ± 0.0", "40.0 ± 20.0", "40.0 ± 20.0"),
        ("1", "reward", "90.0", "50.0", "50.0"),
    )


def test_every_evaluation_may_have_a_line(capsys, caplog):
    for seed, name in enumerate(("a", "b")):
        for radius, standing in ((0.1, 6), (0.2, 5), (0.1, 4 + 2 * seed), (0.3, 1)):
            run(name, standing, PGD | {"radius": radius}, radius=radius, seed=seed)
    run("a", 3, battery="mine", radius=0.3)
    found = report.summary(["a"], every=True)
    assert found.head == ("run", "battery", "radius", "clean", "pgd", "worst case", "95 % interval")
    assert [line[1:5] for line in found.lines] == [
        ("quick", "0.2", "90.0", "50.0"), ("quick", "0.1", "90.0", "40.0"),
        ("quick", "0.3", "90.0", "10.0"), ("mine", "0.3", "90.0", "30.0"),
    ]  # fmt: skip
    assert not caplog.text  # that the radius was another is in the table
    assert len(report.summary(["a", "b"], every=True, suite="quick").lines) == 6
    over = report.summary(["a", "b"], every=True, over_seeds=True, suite="quick")
    assert [line[:2] for line in over.lines] == [("2", "0.2"), ("2", "0.1"), ("2", "0.3")]
    assert over.lines[1][3] == "50.0 ± 14.1"
    assert main(["table", "a", "--every", "--form", "csv"]) == 0
    assert len(list(csv.DictReader(capsys.readouterr().out.splitlines()))) == 4
    assert main(["table", "a", "b", "--every", "--over-seeds", "--against", "a"]) == 2


def test_runs_that_were_attacked_otherwise_stay_apart():
    for name, standing, steps in (("a", 6, 20), ("b", 1, 1000), ("c", 4, 20)):
        run(name, standing, attack=PGD | {"steps": steps, "seed": standing}, seed=standing)
    found = report.summary(["a", "b", "c"], over_seeds=True)
    assert [line[0] for line in found.lines] == ["2", "1"]
    assert found.lines[0][-1] == "50.0 ± 14.1"


def test_where_a_run_was_made_is_no_setting():
    run("a", 6, seed=0, device="cpu", processes=1)
    run("b", 4, seed=1, device="auto", processes=2)
    (line,) = report.summary(["a", "b"], over_seeds=True).lines
    assert line[0] == "2"


def test_attacks_in_another_order_are_the_same():
    for name, order in (("a", ("steps", "seed")), ("b", ("seed", "steps"))):
        run(name, 6, attack={"name": "pgd"} | {key: PGD[key] for key in order})
    (line,) = report.summary(["a", "b"], over_seeds=True).lines
    assert line[0] == "2"


def test_a_checkpoint_that_does_not_say_its_epoch_is_no_reason_for_no_table():
    run("a", 6)
    rows = record.rows(Path("a/evaluation.jsonl"))
    record.append(Path("a/evaluation.jsonl"), rows[0] | {"epoch": 2})
    Path("a/checkpoints/best").mkdir(parents=True)
    assert len(report.summary(["a"]).lines) == 1


def test_rows_keep_the_budget_of_their_attack():
    run("a", 6)
    (row,) = record.rows(Path("a/evaluation.jsonl"))
    assert (row["radius"], row["norm"], row["images"]) == (0.1, "linf", 10)


def test_words_with_signs_of_the_form_are_escaped():
    found = report.Summary(head=("run", "a|b"), lines=(("x^2~\\y", "1"),))
    assert r"| run | a\|b |" in found.markdown()
    assert r"x\textasciicircum{}2\textasciitilde{}\textbackslash{}y & 1" in found.latex()


def test_the_newest_evaluation_counts_or_that_by_a_battery():
    run("a", 5)
    run("a", 2, battery="standard")
    run("a", 4)
    assert report.summary(["a"]).lines[0][2] == "40.0"
    assert report.summary(["a"], suite="standard").lines[0][2] == "20.0"


def test_an_evaluation_that_python_saved_names_no_battery():
    found = report.summary([run("a", 5), run("b", 3, battery=None)])
    assert found.head[:4] == ("run", "battery", "checkpoint", "split")
    assert found.lines[1][:4] == ("b", "-", "-", "-") and found.lines[1][5] == "30.0"


def test_other_evaluations_and_attacks_are_said(caplog):
    run("a", 5)
    run("b", 5, attack=PGD | {"steps": 50, "seed": 3}, battery="standard")
    Path("none").mkdir()
    found = report.summary(["a", "b", "none"])
    assert found.head[1] == "battery" and [line[1] for line in found.lines] == ["quick", "standard"]
    assert caplog.messages == [
        "none has no evaluation: left out",
        "pgd was not the same attack in all runs: other steps",
    ]


def test_an_attack_that_a_run_was_spared_is_a_dash():
    run("a", 5)
    run("b", 4, attack={"name": "fgsm_1"})
    found = report.summary(["a", "b"])
    assert found.head[2:5] == ("pgd", "fgsm_1", "worst case")
    assert [line[2:5] for line in found.lines] == [("50.0", "-", "50.0"), ("-", "40.0", "40.0")]
    assert r"pgd & fgsm\_1 & worst case" in found.latex()


def test_every_form_says_the_same(capsys):
    names = [run("a", 5, seed=0), run("b, c", 3, seed=1)]
    found = report.summary(names)

    def said(*words: str) -> str:
        assert main(["table", *names, *words]) == 0
        return capsys.readouterr().out

    told = list(csv.DictReader(said("--form", "csv").splitlines()))
    assert [row["run"] for row in told] == names and [row["seed"] for row in told] == ["0", "1"]
    assert [float(row["pgd"]) for row in told] == [0.5, 0.3]
    assert [f"{100 * float(row['low']):.1f}" for row in told] == ["23.7", "10.8"]
    common = ("Accuracy in per cent: 10 images, test split, data digits, norm linf, radius 0.1, "
              "by quick, checkpoint best.")  # fmt: skip
    assert found.about == common == said("--form", "markdown").splitlines()[-1]
    assert found.text().splitlines()[-1] == common
    assert said("--form", "markdown").splitlines()[3] == f"| {' | '.join(found.lines[1])} |"
    about, *latex = said("--form", "latex").splitlines()
    assert about == f"% {common}"
    assert latex[0] == r"\begin{tabular}{lrrrrr}" and latex[2].endswith(r"95 \% interval \\")
    assert latex[4] == " & ".join(found.lines[0]) + r" \\" and latex[-1] == r"\end{tabular}"
    assert said().splitlines()[0].split()[:3] == ["run", "seed", "clean"]
    rows = json.loads(said("--json"))
    assert [row["accuracy"]["pgd"] for row in rows] == [0.5, 0.3]
    assert rows[0]["settings"]["objective.smoothing"] == 0.0 and len(rows[0]["interval"]) == 2


def test_means_over_seeds_are_numbers_for_machines(capsys):
    names = [run(f"ce-{n}", n, seed=n) for n in (2, 4, 6)] + [run("other", 5, data="mnist")]
    assert main(["table", *names, "--over-seeds", "--json"]) == 0
    three, one = json.loads(capsys.readouterr().out)
    assert (three["runs"], one["runs"], three["data"], one["data"]) == (3, 1, "digits", "mnist")
    assert (three["pgd"], three["pgd sd"]) == pytest.approx((0.4, 0.2))
    half = 4.302653 * 0.2 / 3**0.5  # Student's t, two degrees of freedom
    assert (three["pgd low"], three["pgd high"]) == pytest.approx((0.0, 0.4 + half), rel=1e-5)
    assert (one["pgd"], one["pgd sd"], one["pgd low"]) == (0.5, None, None)
    assert main(["table", *names, "--over-seeds", "--form", "csv"]) == 0
    (row, _) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert float(row["worst case high"]) == pytest.approx(0.4 + half, rel=1e-5)


def test_an_interval_of_shares_stays_among_them():
    (row,) = report.summary([run("a", 9, seed=0), run("b", 8, seed=1)], over_seeds=True).rows
    assert row["runs"] == 2 and row["pgd high"] == 1.0 and row["pgd low"] > 0


def test_warm_starts_from_runs_of_other_settings_are_other_runs():
    """From runs that differ in seeds alone they are not."""
    for name, config in {"x": {"seed": 0}, "y": {"seed": 1}, "z": {"objective": REWARD}}.items():
        run(name, 5, **config)
    starts = {name: f"{name}/checkpoints/best" for name in "xyz"} | {"?": "gone/checkpoints/best"}
    names = [run(f"from-{n}", 5, seed=i, weights=w) for i, (n, w) in enumerate(starts.items())]
    found = report.summary([*names, run("alone", 5, seed=9)], over_seeds=True)
    assert [line[0] for line in found.lines] == ["2", "1", "1", "1"]
    assert found.head[1] == "weights" and found.lines[1][1] == starts["z"]
    assert report.summary(names[:2], over_seeds=True).head[1] != "weights"


def test_rounds_of_retraining_are_settings():
    names = [run("a", 5, seed=0), run("b", 4, seed=1), run("c", 4, seed=2)]
    for name, low in zip(names, (20, 20, 3), strict=True):
        row = {"feedback": {"name": "boundary", "low": low}, "seed": 0, "round": 1}
        record.append(Path(name) / "retraining.jsonl", row)
    found = report.summary(names, over_seeds=True)
    assert [line[:2] for line in found.lines] == [("2", "20"), ("1", "3")]


def test_a_run_that_began_with_itself_or_nowhere_is_shown():
    for name, start in (("a", "a/checkpoints/best"), ("b", "best"), ("c", "/weights")):
        run(name, 5, weights=start)
    assert len(report.summary(["a", "b", "c"]).lines) == 3


def test_where_a_first_run_was_made_is_no_setting_of_the_second(caplog):
    for name, device in (("x", "cpu"), ("y", "cuda")):
        run(name, 5, device=device, seed=len(device))
    for name in "xy":
        run(f"from-{name}", 5, seed=0, weights=f"{name}/checkpoints/best")
    (line,) = report.summary(["from-x", "from-y"], over_seeds=True).lines
    assert line[0] == "2" and not caplog.messages  # the first runs have seeds of their own
    chain = [run(f"then-{n}", 5, seed=i, weights=f"from-{n}/checkpoints/best")
             for i, n in enumerate("xy")]  # fmt: skip
    assert report.summary(chain, over_seeds=True).lines[0][0] == "2"
    run("from-y", 5, seed=0, weights=run("z", 5, objective=REWARD) + "/checkpoints/best")
    assert [line[0] for line in report.summary(chain, over_seeds=True).lines] == ["1", "1"]


def test_a_run_counts_once_and_a_seed_that_comes_twice_is_said(caplog):
    names = [run("a", 5, seed=0), run("b", 4, seed=1), run("c", 4, seed=1)]
    (line,) = report.summary([*names, "../" + Path.cwd().name + "/a"], over_seeds=True).lines
    assert line[0] == "3"
    assert caplog.messages == ["c has the seeds of b and counts as a run of its own"]


def test_one_run_is_no_list_of_letters():
    with pytest.raises(BadInput, match="a list of runs, got 'runs/a'; put it into brackets"):
        report.summary("runs/a")


def test_plus_minus_is_latex_too():
    run("a", 5, seed=0)
    run("b", 3, seed=1)
    assert r"40.0 $\pm$ 14.1" in report.summary(["a", "b"], over_seeds=True).latex()


def test_no_evaluation_is_one_line(capsys):
    Path("none").mkdir()
    assert main(["table", "none"]) == 2
    assert main(["table"]) == 2
    run("a", 5)
    assert main(["table", "a", "--suite", "standard"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("holdfast: expected") for line in lines) == 3
    assert "expected an evaluation by standard in a, got quick within 0.1; run" in lines[-1]


def test_evaluations_on_other_data_are_other_lines():
    names = [run("a", 5, seed=0), run("b", 4, seed=1)]
    for name, data in zip(names, ("digits", "npz:noisy.npz"), strict=True):
        rows = record.rows(Path(name) / "evaluation.jsonl")
        Path(name, "evaluation.jsonl").unlink()
        for row in rows:
            record.append(Path(name) / "evaluation.jsonl", row | {"data": data})
    found = report.summary(names, over_seeds=True)
    assert found.head[1] == "evaluated on" and [line[0] for line in found.lines] == ["1", "1"]


def test_a_weaker_evaluation_that_came_later_is_said(caplog):
    run("a", 2, battery="reliable")
    run("a", 8, battery="uniform-noise")
    report.summary(["a"])
    assert "by uniform-noise, left 80.0 %, an earlier one by reliable 20.0 %" in caplog.text
    caplog.clear()
    run("a", 9, battery="uniform-noise")
    report.summary(["a"], suite="uniform-noise")
    assert caplog.messages and "--suite" not in caplog.text
    caplog.clear()
    run("a", 1, battery="full")
    report.summary(["a"])
    assert not caplog.messages


def test_an_attack_whose_images_were_refused_is_no_newest_evaluation(caplog):
    run("a", 5)
    run("a", 9, battery="mine:sloppy", refused=3)
    found = report.summary(["a"])
    assert found.lines[0][1:4] == ("90.0", "50.0", "50.0") and "were refused" in caplog.text
    assert report.summary(["a"], suite="mine:sloppy").lines[0][2] == "90.0"
    run("b", 9, battery="mine:sloppy", refused=3)
    assert report.summary(["b"]).lines[0][2] == "90.0", "there is no other"


def test_a_network_of_elsewhere_adds_no_columns():
    run("a", 5, batch_size=32)
    run("b", 4)
    Path("b/config.yaml").unlink()
    assert report.summary(["a", "b"]).head[:2] == ("run", "clean")


def test_runs_are_compared_within_one_radius(capsys, caplog):
    for name, left in (("a", 7), ("b", 4)):
        run(name, left, PGD | {"radius": 0.1}, radius=0.1)
        run(name, left - 3, PGD | {"radius": 0.2}, radius=0.2)
    run("b", 2, PGD | {"radius": 0.4}, radius=0.4)

    def apart(*words: str) -> float:
        assert main(["compare", "a", "b", "--json", *words]) == 0 and not caplog.text
        return json.loads(capsys.readouterr().out)["against"]["b"]["worst case"]["difference"]

    assert apart() == pytest.approx(0.3)  # of 0.2, within which a was last attacked
    run("a", 1, PGD | {"radius": 0.4}, radius=0.4)
    assert apart() == pytest.approx(-0.1)
    assert apart("--radius", "0.1") == pytest.approx(0.3)
    assert main(["compare", "a", "b", "--radius", "8/255"]) == 2
    assert "expected an evaluation by quick within 0.0313" in capsys.readouterr().err


def test_evaluated_runs_are_compared_without_an_attack(capsys):
    run("a", 7, battery="reliable")
    run("a", 2, battery="quick")
    for name, left in (("b", 4), ("c", 1)):
        run(name, left, battery="reliable")
    run("c", 2, battery="quick")
    assert main(["compare", "a", "b", "c", "--suite", "reliable", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["suite"] == "reliable" and set(found["against"]) == {"b", "c"}
    worst = found["against"]["b"]["worst case"]
    assert (worst["difference"], worst["only_first"], worst["only_second"]) == (0.3, 3, 0)
    assert found["against"]["c"]["pgd"]["difference"] == pytest.approx(0.6)
    assert main(["compare", "a", "c"]) == 0  # by quick, as a was last
    said = capsys.readouterr().out
    assert "a against c, evaluated by quick" in said and "+0.0" in said


@pytest.mark.parametrize("words", [
    "--json a b", "a --json b", "a b --json", "--suite quick a b --json",
    "--suite=quick --json a b", "--json --suite quick -- a b", "--json true a b",
    "--no-json --json a b",
])  # fmt: skip
def test_runs_may_stand_before_options_and_behind_them(words, capsys):
    run("a", 7)
    run("b", 4)
    assert main(["compare", *words.split()]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Path(found["run"]).name == "a" and list(found["against"]) == ["b"]


def test_a_suite_that_no_run_was_evaluated_by_is_said_with_those_that_were(capsys):
    run("a", 7)
    assert main(["table", "a", "--suite", "quik"]) == 2
    assert "by quik in a, got quick within 0.1; did you mean 'quick'?" in capsys.readouterr().err


def test_runs_behind_two_dashes_may_begin_with_one(capsys):
    run("a", 7)
    run("-b", 4)
    assert main(["compare", "--json", "--", "a", "-b"]) == 0
    assert list(json.loads(capsys.readouterr().out)["against"]) == ["-b"]
    assert main(["compare", "--json", '["a", "-b"]']) == 0


@pytest.mark.parametrize(("words", "said"), [
    (["a"], "expected two runs or more, got a"), (["a", "a"], "expected two runs or more"),
    (["a", "none"], "by quick in none, got no such folder"), ([], "a value for runs"),
    (["a", "b", "--suite", "full"], "an evaluation by full in a, got quick within 0.1; run"),
    (["a", "b", "--suite", "quik"], "got quick within 0.1; did you mean 'quick'?; run holdfast"),
])  # fmt: skip
def test_what_cannot_be_compared_is_one_line(words, said, capsys):
    run("a", 5)
    run("b", 4)
    assert main(["compare", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.strip().splitlines()) == 1


def test_an_interval_over_seeds_may_stand_in_the_table(capsys):
    names = [run(f"ce-{n}", n, seed=n) for n in (4, 5, 6)]
    assert main(["table", *names, "--over-seeds", "--interval", "--form", "latex"]) == 0
    said = capsys.readouterr().out
    half = 4.302653 * 10 / 3**0.5
    assert f"50.0 ({50 - half:.1f} to {50 + half:.1f})" in said and "Student's t" in said
    assert "standard deviation" in report.summary(names, over_seeds=True).about
    assert main(["table", *names, "--interval"]) == 2
    assert "expected --interval with --over-seeds" in capsys.readouterr().err


def test_columns_of_a_cascade_are_said_to_add_up():
    run("a", 5)
    rows = record.rows(Path("a/evaluation.jsonl"))
    Path("a/evaluation.jsonl").unlink()
    record.append(Path("a/evaluation.jsonl"), rows[0] | {"attacked": 4})
    assert "was shown what those before it had left" in report.summary(["a"]).about
    assert "shown" not in report.summary([run("b", 5)]).about
