"""The command line as a user meets it. Most tests call `main` in this process."""

import errno
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from holdfast import data as datasets
from holdfast import model as models
from holdfast import record, training
from holdfast.cli import COMMANDS, main, show
from holdfast.cli.words import budget
from holdfast.errors import BadInput
from holdfast.study import demo

SMALL = ["--data", "digits", "--model.widths", "[4]", "--model.dense", "16", "--epochs", "1",
         "--precision", "fp32", "--watch.images", "50"]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def say(capsys):
    """Run a command: exit code, standard output, standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_reward_run_from_the_command_line(say):
    code, out, _ = say(
        "train", *SMALL, "--objective", "reward", "--objective.samples", "4",
        "--objective.baseline", "leave_one_out", "--adversary", "pgd", "--adversary.radius", "8px",
        "--adversary.steps=2", "--adversarial.ramp", "2", "--optimizer", "rmsprop",
        "--optimizer.lr", "1e-3", "--schedule", "cosine",
    )  # fmt: skip
    assert code == 0 and "runs/digits-gupta_cnn-reward-pgd" in out
    run = Path("runs/digits-gupta_cnn-reward-pgd")
    config = record.read_yaml(run / "config.yaml")
    assert config["objective"]["samples"] == 4
    assert config["adversary"]["radius"] == 8 / 255 and config["adversary"]["steps"] == 2
    assert config["optimizer"]["name"] == "rmsprop"
    assert {"config.yaml", "provenance.json", "metrics.jsonl", "checkpoints"} == {
        path.name for path in run.iterdir()
    }
    code, out, _ = say("evaluate", str(run), "--images", "40", "--json")
    found = json.loads(out)
    assert code == 0 and found["images"] == 40
    assert {"clean_accuracy", "worst_case_accuracy", "attacks"} <= set(found)
    assert [a["name"] for a in found["attacks"]] == ["fgsm", "pgd", "pgd-margin"]
    assert found["attacks"][0]["radius"] == 8 / 255  # the run's own
    rows = record.rows(run / "evaluation.jsonl")
    assert len(rows) == 3 and {row["data"] for row in rows} == {"digits"}
    code, out, _ = say("evaluate", str(run), "--attack", "pgd", "--attack.steps", "2",
                       "--radius", "0.1", "--images", "40", "--checkpoint", "last")  # fmt: skip
    assert code == 0 and "upper bound" in out
    code, out, _ = say("evaluate", str(run), "--attack", "pgd", "--attack.steps", "2", "--radius",
                       "0.1", "--images", "30", "--against", str(run))  # fmt: skip
    assert code == 0 and "worst case: " in out and "on 30 images against" in out
    code, out, _ = say("evaluate", str(run), "--images", "10", "--attack", "ddn", "--norm", "l2",
                       "--radius", "0.5", "--attack.steps", "5", "--json")  # fmt: skip
    assert code == 0 and json.loads(out)["attacks"][0]["norm"] == "l2"
    code, _, err = say("evaluate", str(run), "--attack", "ddn")
    assert code == 2 and "expected --norm l2 for ddn" in err
    Path("empty").mkdir()
    code, _, err = say("evaluate", str(run), "--against", "empty")
    assert code == 2 and "expected an evaluation in empty" in err


def test_a_run_is_repeated_from_its_own_configuration(say):
    first = say("train", *SMALL, "--objective", "reward", "--objective.reward.wrong", "0",
                "--objective.exploration.epsilon", "0.1", "--objective.exploration.coin", "batch",
                "--adversary", "fgsm", "--out", "one")  # fmt: skip
    again = say("train", "--config", "one/config.yaml", "--out", "two")
    assert first[0] == again[0] == 0, again[2]
    one, two = (Path(n) / "checkpoints/last/model.safetensors" for n in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    other = say("train", "--config", "one/config.yaml", "--out", "three", "--objective", "ce")
    assert other[0] == 0
    assert record.read_yaml(Path("three/config.yaml"))["objective"]["name"] == "ce"


def test_a_configuration_file_with_overrides(say):
    Path("my.yaml").write_text(
        "data: digits\nmodel: {name: gupta_cnn, widths: [4], dense: 16}\nepochs: 3\n"
        "objective: expected\nadversary: {name: fgsm, radius: 8/255}\nprecision: fp32\n"
    )
    code, out, err = say("train", "--config", "my.yaml", "--epochs", "1", "--out", "run", "--json")
    assert code == 0, err
    config = record.read_yaml(Path("run/config.yaml"))
    assert (config["epochs"], config["objective"]["name"]) == (1, "expected")
    assert config["adversary"]["radius"] == 8 / 255
    assert json.loads(out)["epoch"] == 1


def test_a_run_is_resumed_and_lengthened(say):
    steps = ("--schedule", "steps", "--schedule.at", "[0.25,0.5]")
    assert say("train", *SMALL, *steps, "--out", "run")[0] == 0
    assert record.read_yaml(Path("run/config.yaml"))["schedule"]["at"] == [0.25, 0.5]
    code, _, err = say("train", "--resume", "run", "--epochs", "2")
    assert code == 0, err
    assert [row["epoch"] for row in record.rows(Path("run/metrics.jsonl"))] == [1, 2]


def test_a_run_on_arrays_of_python_is_answered_with_where_to_go(say):
    digits = datasets.load("digits")
    few = [(part.x, part.y) for part in (digits.train.sample(60), digits.test.sample(20))]
    data = datasets.from_arrays(train=few[0], test=few[1], name="mine")
    network = models.create("gupta_cnn", image=data.image, classes=10, widths=(4,), dense=8)
    training.train(network, data, epochs=1, out="run", precision="fp32")
    code, _, err = say("train", "--resume", "run", "--epochs", "2")
    assert code == 2 and "'mine', arrays that Python was given; go on there" in err
    code, _, err = say("evaluate", "run", "--images", "5")
    assert code == 2 and "--data npz:PATH" in err and "digits" not in err
    assert say("evaluate", "run", "--images", "5", "--data", "digits")[0] == 0


UNTYPED = """
from torch import nn


def net(width, image, classes, act=nn.ReLU):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), act(), nn.Linear(width, classes))
"""


def test_options_of_code_without_types_are_taken(say):
    Path("untyped.py").write_text(UNTYPED)
    words = ("--data", "digits", "--model", "untyped:net", "--epochs", "1", "--watch.images", "20")
    code, _, err = say("train", *words, "--model.width", "12", "--out", "run")
    assert code == 0, err
    assert record.read_yaml(Path("run/config.yaml"))["model"]["width"] == 12
    assert say("train", "--resume", "run", "--epochs", "2")[0] == 0
    code, _, err = say("train", *words, "--out", "other")
    assert code == 2 and "untyped:net" in err and len(err.strip().splitlines()) == 1


def test_a_warm_start_takes_the_weights_of_another_run(say):
    assert say("train", *SMALL, "--out", "first")[0] == 0
    code, *_ = say("train", *SMALL, "--weights", "first/checkpoints/last",
                   "--optimizer.lr", "1e-60",
                   "--optimizer.weight-decay", "0", "--out", "second")  # fmt: skip
    assert code == 0
    one, two = (Path(n) / "checkpoints/last/model.safetensors" for n in ("first", "second"))
    assert one.read_bytes() == two.read_bytes()
    assert record.read_yaml(Path("second/config.yaml"))["weights"] == str(
        Path("first/checkpoints/last").absolute()
    )
    for part in ("checkpoints", "metrics.jsonl"):  # as if it had been stopped in its first epoch
        record.remove(Path("second") / part)
    assert say("report", "second")[0] == 0  # whose page is no result
    assert say("train", "--resume", "second")[0] == 0
    assert one.read_bytes() == two.read_bytes()
    config = record.read_yaml(Path("second/config.yaml"))
    record.write_yaml(
        Path("third/config.yaml"), {k: v for k, v in config.items() if k != "weights"}
    )
    code, _, err = say("train", "--resume", "third")  # of Python: from what, nobody knows
    assert code == 2 and "expected a checkpoint at third" in err
    assert say("train", "--resume", "second", "--epochs", "2")[0] == 0
    record.remove(Path("second/checkpoints"))
    Path("second/evaluation.jsonl").touch()
    code, _, err = say("train", "--resume", "second")
    assert code == 2 and "expected a checkpoint at second" in err


OWN = """
from torch import nn
def tiny(*, image, classes, hidden: int = 6):
    return nn.Sequential(nn.Flatten(), nn.Linear(image[1] * image[2], hidden), nn.ReLU(),
                         nn.Linear(hidden, classes))
def nine(*, image, classes):
    return tiny(image=image, classes=classes, hidden=9)
def large(*, image, classes):
    return tiny(image=image, classes=classes, hidden=90)
"""
LISTED = """
from torch import nn
def tiny(*, image, classes, hidden: list[int]):
    sizes = [64] + hidden
    return nn.Sequential(nn.Flatten(), nn.Linear(64, sizes[1]), nn.ReLU(),
                         nn.Linear(sizes[1], classes))
"""


def test_a_model_of_the_users_own(say):
    Path("tinynets.py").write_text(OWN)
    own = ["--model", "tinynets:tiny", "--model.hidden", "9", "--data", "digits", "--epochs", "1"]
    code, _, err = say("train", *own, "--out", "run", "--precision", "fp32")
    assert code == 0, err
    code, _, err = say("evaluate", "run", "--images", "20")
    assert code == 2 and "--model tinynets:tiny" in err
    assert say("evaluate", "run", "--model", "tinynets:tiny", "--images", "20", "--json")[0] == 0
    code, _, err = say("evaluate", "run", "--model", "tinynets:nine", "--images", "20", "--json")
    assert code == 0, err
    assert say("evaluate", "run", "--model", "tinynets:large", "--images", "20", "--json")[0] == 2


def test_a_tuple_that_is_a_default_stays_one(say):
    Path("tupled.py").write_text(LISTED.replace("list[int]", "tuple[int, ...] = (9,)").replace(
        "[64] +", "(64,) +"))  # fmt: skip
    own = ["--model", "tupled:tiny", "--data", "digits", "--epochs", "1", "--precision", "fp32"]
    assert say("train", *own, "--out", "run")[0] == 0
    assert say("evaluate", "run", "--model", "tupled:tiny", "--images", "20", "--json")[0] == 0


def test_lists_among_the_options_of_a_model_stay_lists(say):
    Path("listed.py").write_text(LISTED)
    own = ["--model", "listed:tiny", "--model.hidden", "[9]", "--data", "digits", "--epochs", "1"]
    code, _, err = say("train", *own, "--out", "run", "--precision", "fp32")
    assert code == 0, err
    assert say("evaluate", "run", "--model", "listed:tiny", "--images", "20", "--json")[0] == 0


def arrays(**changes: np.ndarray) -> None:
    """`mine.npz` in the current folder."""
    y = np.arange(60) % 3
    x = np.random.default_rng(0).random((60, 1, 8, 8), dtype=np.float32)
    usual = {"train_x": x, "train_y": y, "test_x": x, "test_y": y}
    np.savez("mine.npz", allow_pickle=False, **{**usual, **changes})


def test_data_of_the_users_own(say):
    arrays()
    own = ["--data", "npz:mine.npz", *SMALL[2:]]
    code, out, err = say("train", *own)
    assert code == 0, err
    assert "runs/mine-gupta_cnn-ce" in out
    assert say("evaluate", "runs/mine-gupta_cnn-ce", "--images", "0", "--json")[0] == 0


def bad_pixels() -> None:
    x = np.zeros((60, 1, 8, 8), dtype=np.float32)
    x[7, 0, 1, 1] = np.nan
    arrays(train_x=x)


def bad_label() -> None:
    arrays(test_y=np.full(60, 9))


def cut_file() -> None:
    folder = Path("root/MNIST/raw")
    folder.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{part}-ubyte.gz").write_bytes(b"\x1f\x8b too short")


def other_architecture() -> None:
    assert main(["train", *SMALL, "--out", "other", "--json"]) == 0


WRONG = {
    "no command": ([], "usage"),
    "an unknown command": (["trian"], "did you mean 'train'"),
    "an unknown option": (["train", "--epoch", "3"], "did you mean '--epochs'"),
    "an option of another choice": (["train", "--objective.samples", "2"], "objective ce"),
    "an unknown objective": (["train", "--objective", "rewrad"], "did you mean 'reward'"),
    "an unknown value": (["train", "--best", "robus"], "did you mean 'robust'"),
    "an unknown data set": (["train", "--data", "minst"], "did you mean 'mnist'"),
    "an unknown model": (["train", "--model", "gupta"], "did you mean 'gupta_cnn'"),
    "no number": (["train", "--epochs", "many"], "got 'many'"),
    "no budget": (["train", "--adversary", "fgsm", "--adversary.radius", "8:255"], "8/255"),
    "a negative radius": (["train", "--adversary", "fgsm", "--adversary.radius=-1"], "radius"),
    "a choice without a name": (["train", "--objective"], "after --objective"),
    "no epochs": (["train", "--epochs", "0"], "epochs of 1 or more"),
    "divergence": (
        ["train", "--objective", "reward", "--objective.exploration.epsilon", "0.1"],
        "importance",
    ),
    "no configuration": (["train", "--config", "none.yaml"], "check the path"),
    "nothing to resume": (["train", "--resume", "nowhere"], "nowhere"),
    "nothing to evaluate": (["evaluate", "nowhere"], "nowhere"),
    "no run": (["evaluate"], "run"),
    "an unknown suite": (["evaluate", "other", "--suite", "quikc"], "did you mean 'quick'"),
    "an attack as suite": (
        ["evaluate", "other", "--suite", "apgd"],
        "did you mean '--attack apgd'",
    ),
    "a suite as attack": (["evaluate", "o", "--attack", "AutoAttack"], "mean '--suite standard'"),
    "options of no attack": (["evaluate", "o", "--attack.steps", "9"], "--attack by name beside"),
    "an unknown device": (["train", "--device", "abacus"], "abacus"),
    "pixels that are no numbers": (["train", "--data", "npz:mine.npz"], "image 7"),
    "a label outside the range": (["train", "--data", "npz:mine.npz"], "label"),
    "a truncated data file": (
        ["train", "--data", "mnist", "--data-root", "root"],
        "delete the file",
    ),
    "a checkpoint of another architecture": (
        ["train", *SMALL, "--model", "madry_mnist", "--weights", "other/checkpoints/last"],
        "architecture",
    ),
    "a resume with other settings": (["train", "--resume", "other", "--force"], "without --force"),
    "data of another shape": (["evaluate", "other", "--data", "npz:mine.npz"], "expected data"),
    "no batch": (["evaluate", "other", "--batch-size", "0"], "batch_size"),
    "no data root": (["data", "--data-root", "nowhere"], "nowhere"),
}
PREPARED = {
    "pixels that are no numbers": bad_pixels,
    "a label outside the range": bad_label,
    "a truncated data file": cut_file,
    "a checkpoint of another architecture": other_architecture,
    "an unknown suite": other_architecture,
    "an attack as suite": other_architecture,
    "a resume with other settings": other_architecture,
    "data of another shape": lambda: (other_architecture(), arrays()),
    "no batch": other_architecture,
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_line_and_exit_code_2(say, mistake):
    words, said = WRONG[mistake]
    PREPARED.get(mistake, lambda: None)()
    words = [w for w in words if w not in SMALL[2:6]] if "--model" in words else words
    code, out, err = say(*words)
    assert code == 2, (out, err)
    assert said.lower() in (err if words else out).lower()
    assert not words or len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err
    assert {p.name for p in Path().iterdir()} <= {"other", "root", "mine.npz"}  # nothing was begun


def test_a_full_disk_is_one_line_and_loses_nothing(say, monkeypatch):
    assert say("train", *SMALL, "--out", "run")[0] == 0
    before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = say("train", "--resume", "run", "--epochs", "2")
    assert code == 1 and "make room" in err and len(err.strip().splitlines()) == 1
    assert before == {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}


def test_an_existing_run_is_kept_unless_forced(say):
    assert say("train", *SMALL, "--out", "run")[0] == 0
    code, _, err = say("train", *SMALL, "--out", "run")
    assert code == 2 and "--force" in err and "--resume" in err
    assert say("train", *SMALL, "--out", "run", "--force")[0] == 0
    assert say("train", *SMALL)[0] == say("train", *SMALL)[0] == 0
    assert {p.name for p in Path("runs").iterdir()} == {
        "digits-gupta_cnn-ce", "digits-gupta_cnn-ce-2",
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(say, command):
    code, out, _ = say(command, "--help")
    assert code == 0 and out.startswith("usage: holdfast " + command)
    assert "Path to a configuration" not in out


def test_help_shows_the_options_of_a_choice(say):
    _, out, _ = say("train", "--objective", "reward", "--model", "resnet18", "--help")
    assert "--objective.samples" in out and "leave_one_out" in out and "--batch-size" in out
    told = " ".join(out.partition("\nmodel resnet18:")[2].partition("--model NAME")[0].split())
    assert told.startswith("ResNet-18") and told.endswith(".")  # whole sentences, not lines


def test_help_says_in_words_what_an_option_takes(say):
    for words in (*((name,) for name in COMMANDS), ("train", "--adversary", "pgd")):
        out = say(*words, "--help")[1]
        assert not re.search(r"type:|null|typing|Union|Optional|Literal|CLASS_PATH", out), out
        assert ".help" not in out  # jsonargparse's own, of types that nobody can name
        assert out.index("\noptions:") < out.index("\nof every command:")
    _, out, _ = say("train", "--adversary", "pgd", "--help")
    assert re.search(r"--adversary.loss NAME\s+one of ce, margin, dlr, reward, MODULE:NAME", out)
    assert "--adversarial.loss auto|own|objective|kl" in out
    _, out, _ = say("margins", "--help")
    for told in ("--split train|validation|test", "--images N", "--reach X", "--[no-]clip"):
        assert told in out, told
    assert re.search(r"--json +print", out) and re.search(r"\(default:\s+0\.02\)", out)


def test_the_list_of_data_sets(say, tmp_path):
    (tmp_path / "root").mkdir()
    code, out, _ = say("data", "--data-root", "root", "--json")
    states = {row["name"]: row["state"] for row in json.loads(out)}
    assert code == 0 and states["digits"] == "bundled" and states["cifar10"] == "missing"
    assert "digits" in say("data", "--data-root", "root")[1]


@pytest.mark.parametrize(
    "name",
    ["reward/mine.txt", "config.yaml", "demo.json", "demo.png", "margins.png", "report.html"],
)
def test_the_demo_replaces_nothing_that_is_not_its_own(say, name):
    mine = Path("runs") / name
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    code, _, err = say("demo", "--epochs", "1", "--out", "runs")
    assert code == 2 and f"holds {Path(name).parts[0]}" in err and "--out" in err
    assert mine.read_text() == "{}" and len(list(Path("runs").iterdir())) == 1


def test_the_demo_compares_five_classifiers(say, monkeypatch):
    few = partial(
        replace, feeding=replace(demo.PROBE, images=40), judging=replace(demo.FRESH, images=40)
    )
    run = demo.run
    monkeypatch.setattr(demo, "run", lambda plan, *rest: run(few(plan), *rest))
    code, out, err = say("demo", "--epochs", "1", "--out", "demo", "--json", "--processes", "2")
    assert code == 0, err
    found = json.loads(out)
    assert [c["name"] for c in found["classifiers"]] == [
        "supervised", "reward", "supervised + adversary", "reward + adversary",
        "boundary feedback",
    ]  # fmt: skip
    assert Path(found["figure"]).read_bytes().startswith(b"\x89PNG")
    assert Path(found["page"]).read_text().count("<h2 id=") == 5
    assert len(list(Path("demo").glob("*/checkpoints/last/model.safetensors"))) >= 4
    (row,) = record.rows(Path("demo") / "boundary-feedback" / "retraining.jsonl")
    assert row["kept"] == (Path("demo") / "boundary-feedback" / "checkpoints").exists()
    assert Path("demo/margins.png").read_bytes().startswith(b"\x89PNG")
    assert "upper bounds" in found["verdict"] and "Boundary feedback" in found["verdict"]
    alone = run(few(demo.Plan(out=Path("alone"), epochs=1)))
    assert demo.verdict(alone) == found["verdict"]
    plain = alone[1].evaluation
    whole = tuple(replace(one, correct=one.correct | True) for one in plain.attacks)
    lucky = replace(alone[1], evaluation=replace(plain, attacks=whole))
    said = demo.verdict([alone[0], lucky, *alone[2:]])
    assert "Reward alone leaves 100%" in said and "leaves up to 100%" not in said


def test_the_module_runs_as_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["holdfast", "train", "--objectiv", "x"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("holdfast", run_name="__main__")
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "--objective" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("8px", 8 / 255), ("0.031", 0.031)]
)
def test_budgets(text, value):
    assert budget(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "8:255", "1/0", "px", "a"])
def test_no_budgets(text):
    with pytest.raises(BadInput, match="8/255"):
        budget(text)


def test_the_configuration_that_is_printed_can_be_read(say):
    within = ["--objective.reward.correct", "3", "--adversary.loss", "margin"]
    words = ["train", *SMALL, "--objective", "reward", "--adversary", "pgd", *within]
    words.append("--print-config")
    code, printed, _ = say(*words)
    assert code == 0 and not Path("runs").exists()
    Path("c.yaml").write_text(printed)
    assert say("train", "--config", "c.yaml", "--print-config")[1] == printed
    assert say("train", "--config", "c.yaml", "--out", "run")[0] == 0
    held = record.read_yaml(Path("run/config.yaml"))
    assert (held["adversary"]["name"], held["adversary"]["loss"]) == ("pgd", "margin")
    assert held["objective"]["reward"]["correct"] == 3.0


def test_a_model_of_ones_own_with_a_default_for_classes_is_not_normalised_and_loads(say):
    Path("ownnet.py").write_text(
        "from torch import nn\n"
        "def net(image=None, classes=10, width=16, **kw):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, classes))\n"
    )
    own = ["--model", "ownnet:net"]
    small = ["--data", "digits", "--epochs", "1", "--precision", "fp32"]
    code, out, err = say("train", *small, *own, "--out", "run")
    assert code == 0 and "next: holdfast evaluate run --model ownnet:net" in out, err
    assert say("evaluate", "run", *own, "--images", "10", "--json")[0] == 0
    assert record.read_yaml(Path("run/config.yaml"))["normalize"] is False
    assert say("train", *small, *own, "--normalize", "--out", "two")[0] == 0
    assert record.read_yaml(Path("two/config.yaml"))["normalize"] is True


@pytest.mark.parametrize(
    ("command", "hint"),
    [("train", "interrupted\n"), ("retrain", "the same words again"), ("data", "interrupted\n")],
)
def test_an_interrupted_command_says_how_to_go_on(capsys, monkeypatch, command, hint):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, command, (interrupted, ""))
    assert main([command]) == 130
    assert hint in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_terminated_command_says_how_to_go_on():
    words = ["train", *SMALL, "--epochs", "500", "--out", "run"]
    command = [sys.executable, "-c", "import sys; from holdfast.cli import main; sys.exit(main())"]
    with subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        process.stderr.readline()  # of the first epoch
        process.terminate()
        said = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 143 and "holdfast train --resume run" in said


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "no space", "x/y"), 1)]
)
def test_a_training_that_is_broken_off_says_how_it_goes_on(say, monkeypatch, error, code):
    """Once there is a run to go on with."""
    small = ["--epochs", "2", "--precision", "fp32", "--watch.images", "10"]
    tick = show.Training.on_step

    def broken(*given, **settings):
        raise error

    def late(self, epoch, done, steps):
        tick(self, epoch, done, steps)
        if epoch == 1:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr("holdfast.training.ready.choose_engine", broken)
        found = say("train", *small, "--out", "a run")
        assert found[0] == code and "--resume" not in found[2] and not Path("a run").exists()
    with monkeypatch.context() as patch:
        patch.setattr(show.Training, "on_step", late)
        found = say("train", *small, "--out", "a run", "--data-root", "my data", "--tensorboard")
    again = "holdfast train --resume 'a run' --data-root 'my data' --tensorboard"
    assert found[0] == code and found[2].endswith(f"go on with {again}\n")
    assert say(*shlex.split(again)[1:])[0] == 0


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("train --rate 0.1", "--optimizer.lr"),
        ("train --optimizer.learning-rate 0.1", "--optimizer.lr"),
        ("train --adversary pgd --adversary.eps 0.1", "--adversary.radius"),
        ("evaluate run --epsilon 0.1", "--radius"),
        ("evaluate run --attack pgd --attack.radius 0.1", "--radius"),
        ("train --optimizer.l 0.1", "--optimizer.lr"),
        ("train --attack.eps 0.1", "--adversary"),
        ("train --adversary pgd --attack.eps 0.1", "--adversary.radius"),
        ("evaluate run --attack pgd --attack.eps 0.1", "--radius"),
        ("evaluate run --attack aa", "--suite standard"),
        ("train --workers 2", "--processes"),
        ("train --pretrained runs/one", "--weights"),
        ("train --loss ce", "--objective"),
    ],
)
def test_words_of_other_tools_are_answered_with_ours(say, words, ours):
    code, _, err = say(*words.split())
    assert code == 2 and f"did you mean '{ours}'?" in err


@pytest.mark.parametrize("word", ["quiet", "verbose", "name"])
def test_no_far_fetched_word_is_suggested(say, word):
    code, _, err = say("train", f"--{word}")
    assert code == 2 and "did you mean" not in err


def test_what_is_no_run_is_said(say):
    for made in ("sweep/one/checkpoints/last", "bare"):
        Path(made).mkdir(parents=True)
    Path("sweep/one/checkpoints/last/card.json").write_text("{}")
    for place, said in (
        ("none", "no such folder"), ("bare", "without checkpoints"),
        ("sweep", "a folder of runs: one"), ("sweep/one/checkpoints/last", "a checkpoint; name"),
    ):  # fmt: skip
        code, _, err = say("evaluate", place)
        assert code == 2 and said in err


@pytest.mark.parametrize("words", [["--weights", ""], ["--weights="], ["--out", ""]])
def test_an_empty_word_is_no_value(say, words):
    code, _, err = say("train", *SMALL, *words)
    assert code == 2 and f"expected a value after {words[0]}" in err
    assert not Path("runs").exists()


def test_a_value_may_end_with_a_sign_of_equality(say):
    assert say("train", *SMALL, "--out=odd=")[0] == 0 and Path("odd=/config.yaml").exists()


def test_results_of_one_run_are_not_put_into_another(say):
    for name in ("one", "two"):
        assert say("train", *SMALL, "--out", name)[0] == 0
    code, _, err = say("evaluate", "one", "--images", "10", "--out", "two")
    assert code == 2 and "which is another run" in err and not Path("two/evaluation.jsonl").exists()
    assert say("evaluate", "one", "--images", "10", "--attack", "fgsm", "--out", "./one")[0] == 0


def test_a_run_that_is_not_there_has_no_line_in_a_table(say):
    code, _, err = say("table", "nowhere")
    assert code == 2 and "got nowhere: no such folder" in err


def test_help_may_be_cut_off():
    command = f"{sys.executable} -c 'from holdfast.cli import main; main()' --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
