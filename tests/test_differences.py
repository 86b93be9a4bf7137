"""`holdfast table --against`: how much more one line has than another, over seeds."""

import json
import math

import pytest
from evaluated import REWARD, run
from scipy import stats

from holdfast import report
from holdfast.cli import main
from holdfast.errors import BadInput
from holdfast.report import intervals

OURS, THEIRS = [8, 6, 7, 9], [5, 4, 6, 5]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def runs(ours: list[int], theirs: list[int], shift: int = 0) -> list[str]:
    """Runs by reward that left so many of ten, and by cross-entropy with seeds from `shift`."""
    rewarded = [run(f"r{n}", s, objective=REWARD, seed=n) for n, s in enumerate(ours)]
    return [*rewarded, *(run(f"c{n}", s, seed=n + shift) for n, s in enumerate(theirs))]


def test_runs_of_the_same_seeds_are_paired():
    found = report.differences(runs(OURS, THEIRS), "c2")
    apart = stats.ttest_rel([s / 10 for s in OURS], [s / 10 for s in THEIRS]).confidence_interval()
    base, row = found.rows
    assert row["paired"] and row["runs"] == 4 and row["objective"] == "reward"
    assert row["pgd difference"] == pytest.approx(0.25) and row["pgd"] == pytest.approx(0.75)
    assert base["pgd"] == 0.5 and base["paired"] is None and "pgd difference" not in base
    assert (row["pgd low"], row["pgd high"]) == pytest.approx((apart.low, apart.high))
    assert row["clean difference"] == row["clean low"] == row["clean high"] == 0
    assert found.lines[0] == ("4", "ce", "-", "90.0", "50.0", "50.0")
    said = f"+25.0 ({100 * apart.low:+.1f} to {100 * apart.high:+.1f})"
    assert found.lines[1] == ("4", "reward", "yes", "+0.0 (+0.0 to +0.0)", said, said)
    assert "same seeds" in found.text() and "10 images" in found.about


@pytest.mark.parametrize(("theirs", "shift"), [(THEIRS, 1), (THEIRS[:3], 0), ([6, 5], 0)])
def test_runs_of_other_seeds_are_not(theirs, shift):
    found = report.differences(runs(OURS, theirs, shift), "c0")
    row = found.rows[1]
    told = stats.ttest_ind([s / 10 for s in OURS], [s / 10 for s in theirs], equal_var=False)
    apart = told.confidence_interval()
    assert row["paired"] is False and found.lines[1][2] == "no"
    assert (row["pgd low"], row["pgd high"]) == pytest.approx((apart.low, apart.high))


def test_a_seed_that_comes_twice_is_no_pair(caplog):
    names = runs(OURS[:2], THEIRS[:2])
    _, row = report.differences([*names, run("again", 7, objective=REWARD, seed=1)], "c0").rows
    assert not row["paired"] and row["runs"] == 3 and "again has the seeds of r1" in caplog.text


@pytest.mark.parametrize(("ours", "theirs"), [([8], [5]), ([8, 6], [5])])
def test_one_run_has_no_interval(ours, theirs):
    found = report.differences(runs(ours, theirs), "c0")
    assert found.rows[1]["pgd low"] is None and "(" not in found.lines[1][-1]


def test_an_attack_that_a_line_was_spared_is_a_dash():
    names = [*runs([8], [5]), run("other", 3, attack={"name": "fgsm", "seed": 0}, ema=0.9, seed=5)]
    found = report.differences(names, "c0")
    fgsm = found.head.index("fgsm")
    assert [line[fgsm] for line in found.lines] == ["-", "-", "-"]
    assert found.rows[0]["fgsm"] is None


def test_equal_runs_differ_by_nothing():
    assert intervals.of_difference([0.5, 0.5], [0.25, 0.25]) == (0.25, 0.25)
    assert math.isnan(intervals.of_mean([0.5])[0])


def test_the_command_line_prints_them(capsys):
    names = runs(OURS, THEIRS)
    assert main(["table", *names, "--over-seeds", "--against", "c1", "--json"]) == 0
    _, row = json.loads(capsys.readouterr().out)
    assert row["pgd difference"] == pytest.approx(0.25)
    assert main(["table", *names, "--over-seeds", "--against", "c1", "--form", "latex"]) == 0
    assert "+25.0" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "said"), [
    (["--against", "c0"], "expected --against with --over-seeds"),
    (["--against", "c0", "--over-seeds", "--interval"], "and without --every and --interval"),
    (["--over-seeds", "--against", "none"], "got none: no such folder"),
])  # fmt: skip
def test_what_cannot_be_compared_is_one_line(words, said, capsys):
    assert main(["table", *runs([8, 7], [5, 4]), *words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1]


def test_runs_of_one_kind_have_nothing_to_be_compared_with():
    names = [run(f"c{n}", 5, seed=n) for n in range(3)]
    with pytest.raises(BadInput, match="runs of one kind alone"):
        report.differences(names, "c0")
    with pytest.raises(BadInput, match="expected a list of runs, got 'c0'"):
        report.differences("c0", "c1")
