"""`holdfast evaluate` beyond its first use: kills, warnings, the reference."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy
import pytest
import torch

from holdfast import attack, evaluation, record
from holdfast import data as datasets
from holdfast import model as models
from holdfast.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the digits, made once."""
    run = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--data", "digits", "--model.widths", "[4]", "--model.dense", "16",
             "--objective", "ce", "--epochs", "4", "--out", str(run)]  # fmt: skip
    assert main([*words, "--precision", "fp32", "--watch.images", "50"]) == 0
    return run


@pytest.fixture
def run(trained, tmp_path, capsys):
    """A copy of the run for each test, nothing printed yet."""
    copy = tmp_path / "run"
    (copy / "checkpoints").mkdir(parents=True)
    (copy / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    best = (trained / "checkpoints" / "best").resolve()
    (copy / "checkpoints" / "best").mkdir()
    for name in ("model.safetensors", "card.json"):
        (copy / "checkpoints" / "best" / name).write_bytes((best / name).read_bytes())
    capsys.readouterr()
    return copy


def found(run: Path, capsys, *words: str):
    assert (
        main(["evaluate", str(run), "--images", "30", "--json", *(words or ["--radius", "0.05"])])
        == 0
    )
    return json.loads(capsys.readouterr().out)


def test_a_killed_evaluation_goes_on_and_leaves_no_draft(run, capsys, monkeypatch):
    whole = found(run, capsys)
    calls: list[str] = []
    step, climb = attack.FGSM.__call__, attack.PGD.__call__

    @functools.wraps(step)
    def stepped(self, *words, **more):
        calls.append("fgsm")
        return step(self, *words, **more)

    @functools.wraps(climb)
    def killed(self, *words, **more):
        if self.loss == "margin" and len(calls) == 1:
            calls.append("killed")
            raise KeyboardInterrupt
        return climb(self, *words, **more)

    monkeypatch.setattr(attack.FGSM, "__call__", stepped)
    monkeypatch.setattr(attack.PGD, "__call__", killed)
    assert main(["evaluate", str(run), "--images", "30", "--radius", "0.05"]) != 0
    assert (
        list((run / "drafts").rglob("*.safetensors"))
        and len(record.rows(run / "evaluation.jsonl")) == 3
    )
    capsys.readouterr()
    again = found(run, capsys)
    assert calls == ["fgsm", "killed"] and not (run / "drafts").exists()
    for one, other in zip(whole["attacks"], again["attacks"], strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}


def test_the_reference_stands_beside_the_suite(run, capsys):
    pytest.importorskip("pyautoattack")
    both = found(run, capsys, "--attack", "uniform-noise", "--reference", "--radius", "0.5")
    assert both["reference"]["attacks"][0]["name"] == "autoattack-reference"
    assert both["reference"]["worst_case_accuracy"] <= both["worst_case_accuracy"]
    assert both["reference"]["attacks"][0]["refused"] == 0
    apart = both["worst_case_accuracy"] - both["reference"]["worst_case_accuracy"]
    assert both["against_reference"]["worst case"]["difference"] == pytest.approx(apart)
    assert apart > 0


def test_a_saturated_network_is_warned_of_by_its_cause(run, capsys):
    assert not found(run, capsys)["findings"]
    best = run / "checkpoints" / "best"
    model = models.load(best)
    with torch.no_grad():
        *_, weight, bias = model.parameters()
        weight.mul_(1e4)
        bias.mul_(1e4)
    models.save(model, best, model.card)
    assert found(run, capsys)["findings"][0]["name"] == "saturated cross-entropy"
    assert main(["evaluate", str(run), "--images", "30"]) == 0
    assert "warning: saturated cross-entropy" in capsys.readouterr().out


def test_a_run_is_compared_with_the_newest_evaluation_of_the_same_kind(run, capsys):
    words = ["--images", "30", "--radius", "0.1"]
    assert main(["evaluate", str(run), "--attack", "fgsm", *words]) == 0
    assert main(["evaluate", str(run), "--attack", "uniform-noise", *words]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--attack", "fgsm", *words, "--against", str(run)]) == 0
    assert "fgsm: +0.0 points" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused_before_it_is_attacked(run, capsys):
    words = ["evaluate", str(run), "--attack", "fgsm", "--images", "30"]
    assert main([*words, "--split", "validation"]) == 0
    files = sorted(path.name for path in run.iterdir())
    assert main([*words, "--against", str(run)]) == 2
    assert "expected images in common" in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == files


def test_a_run_is_judged_by_images_of_ones_own(run, tmp_path, capsys):
    """Of fewer classes than the model has, with none to train on."""
    few = datasets.load("digits").test.only(torch.arange(30))
    some = few.y < 4
    x, y = few.pixels[some].numpy(), few.y[some].numpy()
    numpy.savez(tmp_path / "own.npz", test_x=x, test_y=y)
    own = f"npz:{tmp_path / 'own.npz'}"
    words = ["evaluate", str(run), "--attack", "fgsm", "--data", own]
    assert main([*words, "--json", "--images", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == int(some.sum())
    assert main([*words, "--split", "validation"]) == 2
    assert "expected" in capsys.readouterr().err
    assert main(["train", "--data", own, "--out", str(tmp_path / "x")]) == 2
    assert "expected images to train on" in capsys.readouterr().err


def test_an_evaluation_of_an_earlier_epoch_is_said_to_be_one(run, capsys, caplog):
    row = found(run, capsys)
    assert row["run"] == str(run) and row["battery"] == "quick" and row["checkpoint"] == "best"
    assert (row["norm"], row["radius"]) == ("linf", 0.05)
    assert main(["table", str(run)]) == 0 and "repeat it" not in caplog.text
    best = run / "checkpoints" / "best"
    card = models.read_card(best)
    later = dataclasses.replace(card, provenance={**card.provenance, "epoch": 99})
    models.save(models.load(best), best, later)
    assert main(["table", str(run)]) == 0
    said = f"{run} is of epoch {card.provenance['epoch']}, its best is now of epoch 99"
    assert caplog.text.count(said) == 1
    assert main(["evaluate", str(run), "--images", "20", "--against", str(run)]) == 0
    assert caplog.text.count(said) == 2


def attacks_in(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


def test_a_file_names_the_attacks_each_with_its_options(run, capsys, tmp_path):
    text = "fgsm:\npgd-short: {name: pgd, steps: 2, seed: 7}\nmine: {name: pgd, radius: 8/255}\n"
    suite = attacks_in(tmp_path / "attacks.yaml", text)
    row = found(run, capsys, "--suite", suite, "--radius", "0.05")
    assert row["battery"] == "attacks.yaml"
    assert [one["name"] for one in row["attacks"]] == ["fgsm", "pgd-short", "mine"]
    settings = [one["settings"] for one in row["attacks"]]
    assert [one["name"] for one in settings] == ["fgsm", "pgd", "pgd"]
    assert (settings[1]["steps"], settings[1]["seed"], settings[2]["seed"]) == (2, 7, 0)
    assert [one["radius"] for one in settings] == [0.05, 0.05, 8 / 255]
    alone = found(run, capsys, "--attack", "fgsm", "--radius", "0.05")["attacks"][0]
    assert alone | {"seconds": 0} == row["attacks"][0] | {"seconds": 0}


def test_images_are_kept_drawn_and_read_back(run, capsys):
    row = found(run, capsys, "--suite", "quick", "--radius", "0.1", "--keep-images")
    again = evaluation.load(run)
    assert again.as_dict() == {key: row[key] for key in again.as_dict()}
    split = datasets.load("digits").test.sample(30)
    made = [one.adv for one in again.attacks if one.adv is not None]
    for adv in made:
        assert adv.shape == split.x.shape and (adv - split.x).abs().max() <= 0.1 + 1e-6
    model = models.load(run / "checkpoints" / "best")
    assert torch.equal(model(made[0]).argmax(1), again.attacks[0].prediction)
    assert len(made) == 3 and not torch.equal(made[0], made[1])
    assert (run / "evaluation-001.png").read_bytes().startswith(b"\x89PNG")
    assert main(["report", str(run)]) == 0
    capsys.readouterr()
    assert "evaluation-001" in (run / "report.html").read_text()
    found(run, capsys, "--attack", "fgsm", "--radius", "0.1")
    assert evaluation.load(run).attacks[0].adv is None
    assert not (run / "evaluation-002.png").exists()
    file = run / "evaluation-001.safetensors"
    assert evaluation.load(file).attacks[0].name == "fgsm"
    assert len(evaluation.load(run, "quick").attacks) == 3
    same = evaluation.compare(run, file)
    assert same.keys() == {"clean", "fgsm", "worst case"} and same["fgsm"].difference == 0


def test_two_attacks_are_pointed_to_a_file(run, capsys):
    assert main(["evaluate", str(run), "--attack", "pgd", "--attack=mim"]) == 2
    said = capsys.readouterr().err
    assert "--attack once, got pgd and mim; list them in a file for --suite FILE.yaml" in said
    assert found(run, capsys, "--attack", "fgsm", "--attack", "fgsm")["battery"] == "fgsm"


def test_a_curve_takes_the_attacks_of_a_file(run, capsys, tmp_path):
    suite = attacks_in(tmp_path / "attacks.yaml", "fgsm:\n")
    words = ["curve", str(run), "--radii", "0,0.05", "--images", "30", "--json"]
    assert main([*words, "--suite", suite]) == 0
    clean, last = json.loads(capsys.readouterr().out)[str(run)]["points"]
    alone = found(run, capsys, "--attack", "fgsm", "--radius", "0.05")["attacks"][0]
    assert last["accuracy"] == alone["accuracy"] < clean["accuracy"]
    suite = attacks_in(tmp_path / "attacks.yaml", "pgd: {radius: 0.1}\n")
    assert main([*words, "--suite", suite]) == 2
    assert "expected pgd without radius, which the curve gives it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("pgd: {step: 3}", "pgd: expected an option of attack pgd, got attack.step; did you mean"),
        ("pgdx:", "got 'pgdx'; did you mean 'pgd'?"),
        ("none:", "pgd, mim"),
        ("a: [1]", "a as an attack's name or a mapping, got [1]"),
        ("{}", "expected attacks by name in"),
        ("a: {name: pgd, steps: 0}", "a: expected steps of 1 or more, got 0"),
        ("a: {name: pgd, norm: l2}", "a: expected a radius beside the norm l2 of pgd, got none"),
        ("a: {attack: pgd}", "a with a name, got an attack; say name: pgd"),
        ("fgsm:\nfgsm:", "'fgsm' stands there twice"),
        ("'': fgsm", "expected attacks by names that can be printed, got ''"),
        ("pgd: {radius: eight}", "attacks.yaml: expected a budget such as"),
        ("cw:", "cw: expected --norm l2 for cw, which knows no other, got linf"),
    ],
)
def test_a_file_of_attacks_that_makes_none_is_refused_in_one_line(
    run, capsys, tmp_path, text, line
):
    suite = attacks_in(tmp_path / "attacks.yaml", text)
    assert main(["evaluate", str(run), "--suite", suite]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1
    assert not (run / "evaluation.jsonl").exists()


def test_what_was_found_before_further_training_is_marked_on_the_page(run, capsys):
    few = ["--images", "20", "--radius", "0.05"]
    assert main(["diagnose", str(run), *few, "--quick"]) == 0
    assert main(["curve", str(run), "--images", "20", "--radii", "0.05"]) == 0
    assert (
        main(
            [
                "margins",
                str(run),
                "--images",
                "20",
                "--step",
                "2",
                "--reach",
                "20",
                "--directions.count=3",
            ]
        )
        == 0
    )
    assert main(["evaluate", str(run), *few]) == 0
    word = record.read_json(run / "findings.json")["word"]

    def page() -> str:
        assert main(["report", str(run)]) == 0
        return (run / "report.html").read_text()

    assert '<span class="word' in page() and f">{word}</span>" in page()
    assert "repeat it" not in page()
    best = run / "checkpoints" / "best"
    card = models.read_card(best)
    later = dataclasses.replace(card, provenance={**card.provenance, "epoch": 99})
    models.save(models.load(best), best, later)
    epoch = card.provenance["epoch"]
    assert f">diagnosed at epoch {epoch}</span>" in page() and f">{word}</span>" not in page()
    for what in ("evaluation", "diagnosis", "curve", "search"):
        assert f"The {what} of {run} is of epoch {epoch}, its best is now of epoch 99" in page()


def test_an_attack_of_ones_own_that_fails_is_named(run, capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing.py").write_text("def it(model, x, y):\n    raise RuntimeError('no way')\n")
    suite = attacks_in(tmp_path / "attacks.yaml", "fgsm:\nmine: failing:it\n")
    assert main(["evaluate", str(run), "--suite", suite, "--images", "10"]) == 1
    assert "failed: RuntimeError: no way; in the attack mine (" in capsys.readouterr().err
