"""Bad input through the command line: one line, exit code 2, and nothing on disk is lost."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast import record
from holdfast.cli import main
from holdfast.errors import BadInput
from holdfast.training import folder

SMALL = ("train", "--data", "digits", "--model.widths", "[4]", "--model.dense", "16",
         "--epochs", "1", "--precision", "fp32", "--watch.images", "20", "--out")  # fmt: skip
Words = tuple[str, ...]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run folder of one epoch."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert main([*SMALL, str(run), "--json"]) == 0
    return run


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    """A copy of it in the current folder, which is new."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run", symlinks=True)
    return Path("run")


def yaml(text: str | bytes) -> Callable[[], Words]:
    """`--config` with this content."""

    def prepare() -> Words:
        Path("it.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "train", "--config", "it.yaml", "--out", "new"

    return prepare


def damaged(name: str, content: bytes, *words: str) -> Callable[[], Words]:
    """`--resume`, or these words, with a file of the run replaced."""

    def prepare() -> Words:
        (Path("run") / name).write_bytes(content)
        return words or ("train", "--resume", "run", "--epochs", "2")

    return prepare


def card(**entries: object) -> Callable[[], Words]:
    """`evaluate` with other entries in the card."""

    def prepare() -> Words:
        file = Path("run/checkpoints/best/card.json")
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))
        return "evaluate", "run"

    return prepare


def packed(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def shortened() -> Words:
    """`--resume` with a state that lacks its last byte."""
    file = Path("run/checkpoints/last/state.pt")
    file.write_bytes(file.read_bytes()[:-1])
    return "train", "--resume", "run", "--epochs", "2"


def own(code: str) -> Callable[[], Words]:
    """`--model` of a module with this code."""

    def prepare() -> Words:
        sys.modules.pop("own", None)
        Path("own.py").write_text(code)
        return "train", "--model", "own:f", "--out", "new", "--precision", "fp32"

    return prepare


def option(*words: str) -> Callable[[], Words]:
    return lambda: ("train", *words, "--out", "new")


def plain(*words: str) -> Callable[[], Words]:
    return lambda: words


ROW = b'{"epoch": 1}\n'
BAD: dict[str, tuple[Callable[[], Words], str]] = {
    "own code: a path": (option("--model", "./own.py:f"), "got the path './own.py:f'; say own:f"),
    "own code: no module": (option("--model", "own"), "model (or MODULE:NAME) out of"),
    "own data: no kind": (option("--data", "mine/own.npz"), "say npz:mine/own.npz"),
    "yaml: a syntax error": (yaml("a: [1"), "mend the file"),
    "yaml: a list": (yaml("- a"), "got ['a']"),
    "yaml: bytes": (yaml(b"\xff\xfe\x00\x01"), "mend the file"),
    "yaml: nothing": (yaml(""), "got None"),
    "yaml: no number": (yaml("epochs: null"), "expected epochs to be a whole number, got null"),
    "yaml: no number inside": (yaml("optimizer: {name: sgd, lr: null}"), "optimizer.lr"),
    "yaml: no mapping": (yaml("watch: 5"), "watch as a mapping"),
    "yaml: an unknown option": (yaml("epoch: 3"), "did you mean 'epochs'"),
    "yaml: an unknown option inside": (yaml("watch: {imges: 3}"), "did you mean 'watch.images'"),
    "yaml: no name": (yaml("objective: {samples: 4}"), "option of objective ce"),
    "yaml: no choice": (yaml("objective: [reward]"), "objective as a name"),
    "yaml: no choice at all": (yaml("objective: null"), "got 'none'"),
    "yaml: keys that are numbers": (yaml("1: 2"), "got 1"),
    "yaml: a date": (yaml("data: 2024-01-01"), "got '2024-01-01'"),
    "yaml: NaN": (yaml("optimizer: {lr: .nan}"), "optimizer.lr to be a finite number"),
    "yaml: resume": (yaml("resume: run"), "command line alone"),
    "yaml: a folder": (option("--config", "run"), "Is a directory"),
    "yaml: none given": (plain("train", "--config"), "after --config"),
    "config: a syntax error": (damaged("config.yaml", b"a: ["), "run/config.yaml"),
    "config: a list": (damaged("config.yaml", b"- a"), "run/config.yaml"),
    "config: bytes": (damaged("config.yaml", b"\x80\x00"), "run/config.yaml"),
    "config: of an evaluation": (
        damaged("config.yaml", b"adversary: {radius: x}", "evaluate", "run"), "got 'x'"),
    "metrics: a cut row": (damaged("metrics.jsonl", ROW + b'{"epo\n' + ROW), "line 2 of run"),
    "metrics: a number": (damaged("metrics.jsonl", b"7\n" + ROW), "line 1 of run"),
    "metrics: bytes": (damaged("metrics.jsonl", ROW + b"\xff\x00\n"), "line 2 of run"),
    "state: a list": (damaged("checkpoints/last/state.pt", packed([1])), "state.pt"),
    "state: an entry missing": (damaged("checkpoints/last/state.pt", packed({})), "state.pt"),
    "state: bytes": (damaged("checkpoints/last/state.pt", b"x"), "state.pt"),
    "state: a cut file": (shortened, "state.pt"),
    "provenance: a cut file": (damaged("provenance.json", b"[1"), "provenance.json"),
    "weights: bytes": (
        damaged("checkpoints/best/model.safetensors", b"x", "evaluate", "run"), "safetensors"),
    "card: classes": (card(classes="ten"), "classes is 'ten'"),
    "card: image": (card(image=[1, 2]), "image is [1, 2]"),
    "card: a negative image": (card(image=[1, 8, -8]), "image is"),
    "card: architecture": (card(architecture=5), "architecture is 5"),
    "card: options": (card(options=[1]), "options is [1]"),
    "card: mean": (card(mean=["a"]), "mean is ['a']"),
    "card: std": (card(std=[1.0, 2.0]), "std is [1.0, 2.0]"),
    "card: data": (card(data=-1), "data is -1"),
    "card: provenance": (card(provenance=None), "provenance is None"),
    "card: an option": (card(options={"widths": "x"}), "correct the options"),
    "model: raises": (own("def f(*, image, classes): raise KeyError('boom')"), "KeyError: 'boom'"),
    "model: raises on import": (own("1 / 0"), "ZeroDivisionError"),
    "model: no Python": (own("def f(:"), "SyntaxError"),
    "model: nothing": (own("def f(*, image, classes): pass"), "got NoneType"),
    "model: no function": (own("f = 5"), "cannot be called"),
    "model: options": (option("--model.widths", "[-4]"), "widths as a whole number of 1"),
    "model: nothing in between": (option("--model.dense", "0"), "dense as a whole number of 1"),
    "model: dropout": (option("--model.dropout", "[2,2]"), "between 0 and 1"),
    "lr 0": (option("--optimizer.lr", "0"), "lr above 0"),
    "lr below 0": (option("--optimizer", "sgd", "--optimizer.lr=-1"), "lr above 0"),
    "rho": (option("--optimizer", "rmsprop", "--optimizer.rho", "1"), "rho of 0 or more"),
    "momentum": (option("--optimizer", "sgd", "--optimizer.momentum=-0.1"), "momentum of 0"),
    "nesterov": (option("--optimizer", "sgd", "--optimizer.momentum", "0", "--optimizer.nesterov"),
                 "momentum above 0"),
    "weight decay": (option("--optimizer.weight-decay=-1"), "weight_decay of 0 or more"),
    "peak": (option("--schedule", "one_cycle", "--schedule.peak", "1"), "peak between 0 and 1"),
    "at": (option("--schedule", "steps", "--schedule.at", "[100,150]"), "epoch 100 of 200 is 0.5"),
    "at: no list": (option("--schedule", "steps", "--schedule.at", "0.5"), "a list, such as"),
    "factor": (option("--schedule", "steps", "--schedule.factor", "0"), "factor above 0"),
    "final": (option("--schedule", "cosine", "--schedule.final=-1"), "final of 0 or more"),
    "warmup": (option("--schedule.warmup=-1"), "warmup of 0 or more"),
    "keep every": (option("--keep-every", "-1"), "keep_every of 0 or more"),
    "seed below 0": (option("--seed", "-1"), "seed from 0"),
    "seed too large": (option("--seed", str(2**63)), "seed from 0"),
    "seed inside": (option("--objective", "reward", "--objective.seed=-4"), "objective.seed from"),
    "seed of an evaluation": (plain("evaluate", "run", "--seed", "-1"), "seed from 0"),
    "no such checkpoint": (plain("evaluate", "run", "--checkpoint", "bets"), "mean 'best'"),
    "a budget that is none": (plain("evaluate", "run", "--radius", "nan"), "radius to be a finite"),
    "a norm without a radius": (plain("evaluate", "run", "--norm", "l2"), "a --radius with"),
    "a suite and an attack": (
        plain("evaluate", "run", "--suite", "quick", "--attack", "fgsm"), "a suite or an attack"),
    "an unknown suite": (
        plain("evaluate", "run", "--suite", "typo", "--attack", "fgsm"), "a suite"),
    "a clip without end": (yaml("clip: .inf"), "clip"),
    "a guard without eyes": (option("--guard.catastrophe", "stop"), "=stop, got neither"),
    "an option that is taken": (own("def f(*, image, classes, seed=0): pass"), "called seed"),
    "a module that ends the program": (own("import sys; sys.exit('usage: none')"), "SystemExit"),
    "a number that is no choice": (plain("margins", "run", "--signs", "3"), "out of 1, 2; got '3'"),
    "an unknown norm": (plain("evaluate", "run", "--norm", "l0"), "out of linf, l2, l1; got 'l0'"),
    "a stray word": (plain("evaluate", "run", "more"), "got 'more'"),
    "an empty name": (option("--objective="), "a name after --objective"),
    "larger than any tensor": (option("--batch-size", "1" + 20 * "0"), "batch_size between"),
    "radii and a radius": (plain("curve", "run", "--radii", "1", "--radius", "7"), "got both"),
    "steps without number": (plain("margins", "run", "--step", "1e-320"), "at most 32,767 steps"),
    "no number": (option("--epochs", "ten"), "epochs to be a whole number, got 'ten'"),
    "no finite number": (option("--clip", "inf"), "clip to be a finite number, got 'inf'"),
    "no group": (option("--augment", "flip"), "--augment.OPTION VALUE, got 'flip'"),
    "no weights": (option("--objective.weights", "[nan,1]"), "list, such as '[1, 2]' or balanced"),
    "no such flag": (plain("table", "run", "--csv", "run"), "option of holdfast table, got --csv"),
    "one run twice": (plain("transfer", "run", "run/"), "two runs or more, got run"),
    "no value": (option("--epochs", "--seed", "1"), "a value for --epochs"),
    "a required option": (own("def f(*, image, classes, n: int): pass"), "a value for model.n"),
    "yaml: an alias inside itself": (yaml("watch: &x {images: *x}"), "alias inside itself"),
    "a name too long": (plain(*SMALL, "x" * 300), "File name too long"),
    "an unknown dash": (option("-e", "3"), "got '-e 3'"),
    "a file for a run": (plain("evaluate", "run/config.yaml"), "got run/config.yaml: a file"),
    "out under a file": (plain(*SMALL, "run/config.yaml/new"), "Not a directory"),
    "an evaluation of no images": (plain("evaluate", "run", "--images", "-1"), "at least 1 image"),
    "demo without epochs": (plain("demo", "--epochs", "0", "--out", "new"), "epochs of 1 or more"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, run, capsys):
    prepare, said = BAD[case]
    words = prepare()
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert said in err and len(err.strip().splitlines()) == 1, err
    assert out == "" and not Path("new").exists()
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}


def test_a_home_is_written_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main([*SMALL, "~/x", "--json"]) == 0
    Path("it.yaml").write_text("out: ~/y\n")
    assert main([*SMALL[:-1], "--config", "it.yaml", "--json"]) == 0
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"x", "y"}
    assert main(["train", "--resume=~/y", "--epochs", "2", "--json"]) == 0


def test_a_number_may_be_written_as_1e_3(tmp_path, monkeypatch):
    """YAML's own grammar takes 1e-3 for a word."""
    monkeypatch.chdir(tmp_path)
    Path("it.yaml").write_text("optimizer: {lr: 1e-3}\nkeep_every: null\n")
    assert main([*SMALL, "new", "--config", "it.yaml"]) == 2
    Path("it.yaml").write_text("optimizer: {lr: 1e-3}\n")
    assert main([*SMALL, "new", "--config", "it.yaml", "--json"]) == 0


FAILS_IN_TRAINING = """
from torch import nn
class f(nn.Module):
    def __init__(self, *, image, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    def forward(self, x):
        return (self.body(x), None) if self.training else self.body(x)
"""


def test_a_model_that_cannot_be_trained_replaces_no_run(run, capsys):
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    words = own(FAILS_IN_TRAINING)()
    assert main([*words[:3], "--out", "run", "--force", "--epochs", "1"]) != 0
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}


def test_a_run_that_was_copied_with_its_links_followed_goes_on(run):
    shutil.copytree(run, "copy", symlinks=False)
    assert main(["train", "--resume", "copy", "--epochs", "2", "--json"]) == 0
    assert Path("copy/checkpoints/last").is_symlink()
    assert not list(Path("copy/checkpoints").glob(".*"))


def test_a_link_to_a_run_is_replaced_where_it_leads(run):
    Path("link").symlink_to("run")
    assert main([*SMALL, "link", "--force", "--json"]) == 0
    assert Path("link").is_symlink() and len(record.rows(Path("run/metrics.jsonl"))) == 1


def test_who_made_the_first_epochs_is_kept(run):
    first = record.read_json(run / "provenance.json")
    assert main(["train", "--resume", "run", "--epochs", "2", "--json"]) == 0
    assert main(["train", "--resume", "run", "--epochs", "3", "--json"]) == 0
    now = record.read_json(run / "provenance.json")
    assert [head["resumed_at"] for head in (*now["before"], now)] == [0, 1, 2]
    assert now["before"][0]["time"] == first["time"]


def test_images_that_have_changed_are_not_evaluated(tmp_path, monkeypatch, capsys):
    """Whatever is held out of them now may have been trained on."""
    monkeypatch.chdir(tmp_path)
    draw, y = np.random.default_rng(0), np.arange(60) % 3
    for name in ("mine", "other"):
        x = draw.integers(0, 255, (60, 8, 8), dtype=np.uint8)
        np.savez(name, train_x=x, train_y=y, test_x=x[:9], test_y=y[:9])
    words = ["npz:mine.npz" if word == "digits" else word for word in SMALL]
    assert main([*words, "run", "--json"]) == 0
    assert main(["evaluate", "run", "--radius", "0.1", "--json"]) == 0
    shutil.copy("other.npz", "mine.npz")
    capsys.readouterr()
    assert main(["evaluate", "run", "--radius", "0.1"]) == 2
    assert "expected the mine.npz of npz:mine.npz that the run" in capsys.readouterr().err


def test_other_data_is_no_changed_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw, y = np.random.default_rng(0), np.arange(60) % 3
    for place in ("one", "two"):
        x = draw.integers(0, 255, (60, 8, 8), dtype=np.uint8)
        Path(place).mkdir()
        np.savez(f"{place}/it", train_x=x, train_y=y, test_x=x[:9], test_y=y[:9])
    words = ["npz:one/it.npz" if word == "digits" else word for word in SMALL]
    assert main([*words, "run", "--json"]) == 0
    assert main(["evaluate", "run", "--data", "npz:two/it.npz", "--radius", "0.1", "--json"]) == 0


def test_a_copy_that_holds_folders_alone_loses_no_checkpoint(run):
    shutil.copytree(run, "copy", symlinks=False)
    for path in Path("copy/checkpoints").glob("epoch-*"):
        shutil.rmtree(path)
    assert main(["train", "--resume", "copy", "--epochs", "2", "--json"]) == 0
    assert (Path("copy/checkpoints/best") / "model.safetensors").exists()


def test_work_of_another_evaluation_is_left(run):
    other = run / "drafts" / "quick-of-another"
    other.mkdir(parents=True)
    assert main(["evaluate", "run", "--radius", "0.1", "--images", "5", "--json"]) == 0
    assert list((run / "drafts").iterdir()) == [other]


def test_of_two_runs_with_one_name_the_later_writes_nothing(run):
    with pytest.raises(BadInput, match="another run has just made"):
        folder._make(run, exist_ok=False)
    assert len(record.rows(run / "metrics.jsonl")) == 1
