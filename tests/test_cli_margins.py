"""`holdfast margins` and `holdfast retrain` as a user meets them."""

import functools
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from holdfast import diagnosis, margin, record
from holdfast.cli import main

SMALL = ["--directions.count", "6", "--images", "20"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the digits, made once."""
    run = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--data", "digits", "--model.widths", "[4]", "--model.dense", "16",
             "--objective", "ce", "--epochs", "6", "--optimizer.lr", "1e-2",
             "--out", str(run)]  # fmt: skip
    assert main([*words, "--precision", "fp32", "--watch.images", "50"]) == 0
    return run


def test_margins_are_measured_written_and_said(trained, capsys):
    assert main(["margins", str(trained), *SMALL]) == 0
    out = capsys.readouterr().out
    assert "12 rays each" in out and "Robustness R" in out and "Audit" in out
    held = load_file(trained / "margins" / "margins.safetensors")
    assert held["distance"].shape == (20, 6, 2) and len(held["y"]) == 20
    assert {path.name for path in (trained / "margins").iterdir()} == {
        "margins.safetensors", "matrix.json", "matrix.png",
    }  # fmt: skip
    assert main(["margins", str(trained), *SMALL, "--method", "linear", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mean_margin", "none_share", "robustness"} <= set(found)
    assert found["mean_margin"] == pytest.approx(held["distance"].mean().item(), abs=0.005)
    assert record.read_json(trained / "margins" / "matrix.json")["method"] == "linear"
    earlier = record.read_json(trained / "margins-001" / "matrix.json")
    assert earlier["method"] == "traced" and earlier["reference"] == "prediction"
    assert earlier["directions"]["count"] == 6
    assert main(["margins", str(trained), *SMALL]) == 0
    assert "Earlier results are now in" in capsys.readouterr().out
    again = load_file(trained / "margins" / "margins.safetensors")
    assert torch.equal(again["distance"], held["distance"])
    assert (trained / "margins-002" / "matrix.png").exists()


def test_results_may_lie_beside_a_run_that_nobody_may_write_to(
    trained, tmp_path, capsys, monkeypatch
):
    before = sorted(trained.rglob("*"))
    locked = [trained, trained / "margins"]
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in locked)
    few = ["--images", "5", "--radius", "0.1"]
    for words in (
        ["margins", *SMALL], ["evaluate", *few], ["landscape", *few, "--size", "3"],
        ["diagnose", *few, "--quick"],
    ):  # fmt: skip
        name, *rest = words
        assert main([name, str(trained), *rest]) == 2
        assert "name another with --out" in capsys.readouterr().err
    beside = tmp_path / "beside"
    assert main(["margins", str(trained), *SMALL, "--out", str(beside)]) == 0
    assert main(["evaluate", str(trained), *few, "--out", str(beside)]) == 0
    shutil.copytree(trained, tmp_path / "twin", symlinks=True)
    two = [str(trained), str(tmp_path / "twin")]
    assert main(["transfer", *two, *few, "--out", str(beside)]) == 0
    names = {"margins", "evaluation.jsonl", "evaluation-001.safetensors", "transfer.jsonl"}
    assert names <= {path.name for path in beside.iterdir()}
    assert before == sorted(trained.rglob("*"))


def test_a_killed_search_goes_on(trained, capsys, monkeypatch):
    words = ["margins", str(trained), *SMALL, "--piece", "36", "--seed", "3", "--json"]
    assert main(words) == 0
    whole = json.loads(capsys.readouterr().out)
    module = sys.modules["holdfast.margin.search"]
    made, calls = module._piece, []

    def killed(job, finder, sample, images):
        calls.append(int(images[0]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return made(job, finder, sample, images)

    monkeypatch.setattr(module, "_piece", killed)
    assert main(words) == 130
    assert main(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert sorted(set(calls)) == calls[:2] + calls[3:] and calls[2] == calls[3]
    assert again["robustness"] == whole["robustness"] and again["forward"] == whole["forward"]
    assert not list((trained / "margins").glob("drafts"))


@pytest.mark.parametrize(
    ("command", "measure", "words"),
    [
        ("margins", (margin, "search"), ["--images", "4", "--directions.count", "2"]),
        ("landscape", (diagnosis, "landscape"), ["--size", "3"]),
    ],
)
def test_two_commands_at_once_do_not_mix_their_files(
    trained, monkeypatch, capsys, command, measure, words
):
    measured, written = threading.Event(), threading.Event()
    original, set_aside = getattr(*measure), record.set_aside

    @functools.wraps(original)
    def measures(*given, **more):
        found = original(*given, **more)
        measured.set()
        return found

    def sets_aside(*given):
        written.set()
        return set_aside(*given)

    monkeypatch.setattr(*measure, measures)
    monkeypatch.setattr(record, "set_aside", sets_aside)
    other = threading.Thread(target=main, args=([command, str(trained), *words],))
    with record.locked(trained / command):
        other.start()
        assert measured.wait(60) and not written.wait(0.5)
    other.join()
    assert written.is_set()


def test_a_run_is_retrained_into_a_run(trained, tmp_path, capsys, caplog):
    out = tmp_path / "feedback"
    words = ["retrain", str(trained), "--out", str(out), "--epochs", "1", "--max-drop", "1",
             "--probe.images", "40", "--probe.directions.count", "8", "--probe.reach", "1",
             "--feedback.rays", "3", "--feedback.low", "4", "--judge.images", "20",
             "--precision", "fp32", "--objective", "reward", "--watch.images", "20"]  # fmt: skip
    code = main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert "trained with the objective ce and is retrained with reward" in caplog.text
    assert "adversary" not in caplog.text
    row = record.rows(out / "retraining.jsonl")[0]
    assert row["start"].endswith("checkpoints/best")
    assert row["max_drop"] == 1 and row["reuse"] is False and row["judge"]["images"] == 20
    assert code == (not found["rounds"][0]["kept"])
    assert record.read_yaml(out / "round-1" / "config.yaml")["objective"]["name"] == "reward"
    assert max(found["rounds"][0]["examples"]) > 0
    assert main(words) == 2 and "new folder" in capsys.readouterr().err
    assert main([*words, "--force", "--optimizer.lr", "1"]) == 1
    assert (
        f"No round was kept, so {out} is no run: the mean margin did not grow"
        in capsys.readouterr().out
    )
    assert main([*words, "--force", "--feedback.nearest", "1"]) == 2
    assert "1 < nearest <= furthest" in capsys.readouterr().err
    assert main([*words, "--force", "--probe.step", "0"]) == 2
    assert (out / "retraining.jsonl").exists(), "refused options must not cost what is there"
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "letters").write_text("mine")
    assert main([*words, "--force", "--out", str(strange)]) == 2 and (strange / "letters").exists()


BAD = {
    "no run": (["margins", "nowhere"], "nowhere"),
    "too many directions": (["margins", "RUN", "--directions.count", "65"], "1 to 64"),
    "no step": (["margins", "RUN", "--step", "0"], "step"),
    "no such method": (["margins", "RUN", "--method", "tracd"], "did you mean 'traced'"),
    "no place": (["retrain", "RUN"], "out"),
    "no rounds": (
        ["retrain", "RUN", "--out", "new", "--rounds", "0"],
        "rounds as a whole number",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, trained, tmp_path, monkeypatch, capsys):
    words, said = BAD[case]
    monkeypatch.chdir(tmp_path)
    assert main([str(trained) if word == "RUN" else word for word in words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not Path("new").exists() and torch.get_num_threads() >= 1
