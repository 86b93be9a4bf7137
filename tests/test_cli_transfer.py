"""Images made on one run and shown to another, and towards a class, from the command line."""

import json
from pathlib import Path

import pytest
import torch

from holdfast import attack, evaluation, record
from holdfast import data as datasets
from holdfast import model as models
from holdfast.cli import main
from holdfast.types import Attack

COMMON = ["--images", "40", "--radius", "0.15", "--json"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs `a`, `b` and `c` on the digits; `few` of fewer classes, `large` on larger images."""
    root = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("abc"):
        words = ["train", "--data", "digits", "--model.widths", "[4]", "--model.dense", "16",
                 "--objective", "ce", "--epochs", "3", "--seed", str(seed)]  # fmt: skip
        more = ["--precision", "fp32", "--watch.images", "20", "--out", str(root / name), "--json"]
        assert main([*words, *more]) == 0
    for name, image, classes in (("few", (1, 8, 8), 3), ("large", (1, 16, 16), 10)):
        network = models.create("gupta_cnn", image=image, classes=classes, seed=0, widths=(4,))
        models.save(network, root / name / "checkpoints" / "best", network.card)
    return root


@pytest.fixture
def say(place, monkeypatch, capsys):
    """Run a command where the runs are: exit code, standard output, standard error."""
    monkeypatch.chdir(place)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        return code, *capsys.readouterr()

    return run


def loaded(*names: str):
    return [models.load(Path(name) / "checkpoints" / "best") for name in names]


def expected(one: Attack, target: str = "a"):
    split = datasets.load("digits").test.sample(40)
    (network,) = loaded(target)
    return evaluation.evaluate(
        network, split.x, split.y, attacks={"it": one}, radius=0.15, index=split.index
    )


@pytest.mark.parametrize("sources", ["b", "bc"])
def test_images_are_made_on_the_sources_and_judged_on_the_run(say, sources):
    flags = [word for name in sources for word in ("--source", name)]
    code, out, err = say("evaluate", "a", "--attack", "pgd", "--attack.steps", "5", *flags, *COMMON)
    assert code == 0, err
    (found,) = json.loads(out)["attacks"]
    source = models.ensemble(loaded(*sources))
    sent = attack.Transfer(attack=attack.PGD(radius=0.15, steps=5), source=source)
    wanted = expected(sent)
    assert found["accuracy"] == wanted.attacks[0].accuracy < wanted.clean.accuracy
    names = " + ".join(sources)
    assert found["name"] == f"pgd from {names}" and found["settings"]["origin"] == names
    assert record.rows(Path("a/evaluation.jsonl"))[-1]["name"] == f"pgd from {names}"
    assert not Path("a/drafts").exists()


def test_a_targeted_attack_leads_to_a_class(say):
    words = ("evaluate", "a", "--attack", "bim", *COMMON)
    least, most, three = (
        json.loads(say(*words, *more)[1])["attacks"][0]
        for more in (["--targeted"], ["--target", "most"], ["--target=3", "--targeted"])
    )
    plain = attack.BIM(radius=0.15)
    for found, led in (
        (least, attack.Targeted(attack=plain)),
        (most, attack.Targeted(attack=plain, target="most")),
        (three, attack.Targeted(attack=plain, target=3)),
    ):
        assert found["accuracy"] == expected(led).attacks[0].accuracy
        assert found["name"] == "targeted bim" and found["settings"]["target"] == led.target
    assert most["accuracy"] < least["accuracy"]


def test_the_matrix_of_all_runs(say):
    words = ("transfer", "a", "b", "c", "--attack", "fgsm")
    code, out, err = say(*words, *COMMON)
    assert code == 0, err
    found = json.loads(out)
    split = datasets.load("digits").test.sample(40)
    wanted = evaluation.transfer_matrix(
        dict(zip("abc", loaded(*"abc"), strict=True)), split.x, split.y,
        attack.FGSM(radius=0.15), index=split.index,
    )  # fmt: skip
    assert found["accuracy"] == wanted.accuracy.tolist()
    assert found["clean_accuracy"] == wanted.clean.double().mean(1).tolist()
    assert found["sources"] == found["targets"] == ["a", "b", "c"] and found["images"] == 40
    (row,) = record.rows(Path("a/transfer.jsonl"))
    assert row == found and row["settings"]["name"] == "fgsm" and row["radius"] == 0.15
    _, out, _ = say(*words, *COMMON[:-1])
    assert wanted.table() in out and "upper bound" in out


def test_a_switch_of_the_attack_takes_no_value(say):
    words = ("--attack", "pgd", "--attack.steps", "1", "--attack.best")
    code, out, err = say("transfer", *words, "a", "--images", "10", "b", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["settings"]["best"] is True and found["images"] == 10
    assert found["sources"] == ["a", "b"]


WRONG = {
    "a source of fewer classes": (
        ["evaluate", "a", "--attack", "mim", "--source", "few"], "and 3 in few",
    ),
    "a source on larger images": (
        ["evaluate", "a", "--attack", "mim", "--source", "b", "--source", "large"], "16) and 10",
    ),
    "a source that is no run": (["evaluate", "a", "--attack", "mim", "--source", "d"], "d"),
    "a source without a name": (["evaluate", "a", "--source", "--json"], "after --source"),
    "a source for a suite": (["evaluate", "a", "--source", "b"], "--attack with --source"),
    "a class for a suite": (["evaluate", "a", "--targeted"], "--attack with --targeted"),
    "a class for an attack without a loss": (
        ["evaluate", "a", "--attack", "square", "--targeted"], "take fgsm, bim, pgd",
    ),
    "no such class": (
        ["evaluate", "a", "--attack", "pgd", "--target", "10"], "a target from 0 to 9",
    ),
    "a class by another word": (
        ["evaluate", "a", "--attack", "pgd", "--target", "lest"], "'lest'",
    ),
    "a matrix of no run": (["transfer"], "runs"),
    "a matrix of a file without runs": (["transfer", "--config", "none.yaml"], "two runs or more"),
    "a matrix of one run": (["transfer", "a", "a"], "two runs or more, got a"),
    "a matrix with another image size": (["transfer", "a", "large"], "name runs on the same data"),
    "a matrix with what is no run": (["transfer", "a", "d", "--images", "10"], "d"),
    "a matrix without an attack": (["transfer", "a", "b", "--attack", "none"], "none"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_line_and_exit_code_2(say, mistake):
    words, said = WRONG[mistake]
    Path("none.yaml").write_text("runs: []")
    code, _, err = say(*words)
    assert code == 2 and said in err, err
    assert len(err.strip().splitlines()) == 1 and "expected" in err


def test_a_draft_belongs_to_the_weights_of_its_source(place, tmp_path):
    """A source that was trained further makes other images."""
    calls = []

    def counted(model, x, y):
        calls.append(len(x))
        return x

    split = datasets.load("digits").test.sample(10)
    a, b = (models.load(place / name / "checkpoints" / "best") for name in "ab")
    sent = attack.Transfer(attack=counted, source=b, origin="b")
    for _ in range(2):
        evaluation.evaluate(a, split.x, split.y, attacks={"it": sent}, folder=tmp_path)
    assert calls == [10]
    with torch.no_grad():
        next(b.parameters()).mul_(1.01)
    evaluation.evaluate(a, split.x, split.y, attacks={"it": sent}, folder=tmp_path)
    assert calls == [10, 10]


def test_runs_of_several_models_of_one_s_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from torch import nn\n\n\n"
        "def build(image, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))"
        "\n\n\ndef wide(image, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8),"
        " nn.Linear(8, classes))\n"
    )
    for name in ("build", "wide"):
        network = models.create(f"mine:{name}", image=(1, 8, 8), classes=10, seed=0)
        models.save_run(network, name, data="digits")
    words = ["transfer", "build", "wide", "--radius", "0.1", "--images", "10", "--attack", "fgsm"]
    assert main([*words, "--model", "mine:build,mine:wide"]) == 0
    assert "wide" in capsys.readouterr().out
    assert main([*words, "--model", "mine:build,mine:other"]) == 2
    assert "to run that code say so: --model mine:wide" in capsys.readouterr().err
