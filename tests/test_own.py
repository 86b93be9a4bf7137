"""Code of the user's own, named on the command line: recorded, resumed, refused in one line."""

import functools
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import blobs, network

import holdfast
from holdfast import attack, feedback, own, record, training
from holdfast.cli import main
from holdfast.errors import BadInput

CODE = '''
from dataclasses import dataclass
import torch
from torch.nn.functional import cross_entropy
import holdfast as hf

def brier(model, batch, state, *, weight: float = 2.0):
    """The Brier score.

    Args:
        weight: of the score.
    """
    wanted = torch.nn.functional.one_hot(batch.y, 10)
    return weight * (model(batch.x).softmax(1) - wanted).square().sum(1), state

@dataclass(frozen=True)
class Frozen:
    weight: float = 1.0
    def __call__(self, model, batch, state):
        return brier(model, batch, state, weight=self.weight)

class Plain:
    def __init__(self, weight: float = 1.0):
        self.weight, self.cache = weight, {}
    def __call__(self, model, batch, state):
        return brier(model, batch, state, weight=self.weight)

def made(weight: float = 1.0):
    return Frozen(weight=weight)

def asymmetric(action, y, *, wrong: float = 0.0):
    return torch.where(action == y, 1.0, wrong)

def one_step(model, x, y, index, *, radius: float = 0.1, norm: str = "linf"):
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(cross_entropy(model(x), y), x)
    assert len(index) == len(x) and norm == "linf"
    return (x + radius * slope.sign()).clamp(0, 1).detach()

def plain(logits, y):
    return cross_entropy(logits, y, reduction="none")

def focal(logits, y, *, gamma: float = 2.0):
    """A loss that sure images hardly count in."""
    entropy = cross_entropy(logits, y, reduction="none")
    return (1 - (-entropy).exp()) ** gamma * entropy

def blind(x, y):
    return x

def diagonal(model, x, y, index, seed, *, count: int = 3):
    return torch.ones(count, *x.shape[1:]) * torch.arange(1, count + 1).reshape(-1, 1, 1, 1)

def cyclic(update, per_epoch, total, *, low: float = 0.0):
    return low + (1 - low) * (1 - abs(2 * (update / per_epoch % 1) - 1))

def epochwise(epoch):
    return 1.0

STRONG = hf.attack.PGD(steps=3)
def mean(model, batch, state):
    return cross_entropy(model(batch.x), batch.y), state
def bare(model, batch, state):
    return cross_entropy(model(batch.x), batch.y, reduction="none")
def listed(model, batch, state):
    return bare(model, batch, state), [1]
def scalar(action, y):
    return 1.0
def many(model, batch, state, **options):
    return bare(model, batch, state), state
def nothing(weight: float = 1.0):
    return None
number = 3
'''


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module `mine` in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)


def more(code: str) -> None:
    """Further lines of the module."""
    with Path("mine.py").open("a") as file:
        file.write(code)


def train(*words: str) -> int:
    return main([
        "train", "--data", "digits", "--model", "gupta_cnn",
        "--model.widths", "[4,4]", "--model.dense", "16", "--epochs", "1", "--watch.images", "20",
        "--precision", "fp32", *words,
    ])  # fmt: skip


def config(run: str) -> record.Row:
    return record.read_yaml(Path(run) / "config.yaml")


@pytest.mark.parametrize("name", ["brier", "Frozen", "Plain"])
def test_an_objective_is_recorded_with_its_options_and_resumed(name: str) -> None:
    assert train("--objective", f"mine:{name}", "--objective.weight", "3", "--out", "run") == 0
    assert config("run")["objective"] == {"name": f"mine:{name}", "weight": 3.0}
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert main(["train", "--resume", "run", "--epochs", "3", "--objective.weight", "4"]) == 2
    assert len(record.rows(Path("run/metrics.jsonl"))) == 2


@pytest.mark.parametrize("name", ["plain", "brier", "heavy", "handed"])
def test_a_training_goes_on_from_python_to_the_shell_and_back(name: str) -> None:
    more("\ndef plain(model, batch, state):\n    return brier(model, batch, state)\n")
    mine = importlib.import_module("mine")
    data = holdfast.data.load("digits")
    heavy = functools.partial(mine.brier, weight=3.0)
    objective = {"heavy": heavy, "handed": feedback.Handover(first=heavy)}.get(name) or vars(mine)[
        name
    ]

    def on(epochs: int, **how: Any) -> None:
        model = holdfast.model.create("gupta_cnn", image=data.image, classes=10, widths=(4, 4),
                                      dense=16, mean=data.mean, std=data.std)  # fmt: skip
        training.train(model, data, objective=objective, epochs=epochs, precision="fp32",
                       watch=training.Watch(images=20), out="run", **how)  # fmt: skip

    on(1)
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    on(3, resume=True)
    assert len(record.rows(Path("run/metrics.jsonl"))) == 3
    if name == "handed":
        assert config("run")["objective"]["first"] == {"name": "mine:brier", "weight": 3.0}
        return
    option = {"plain": {}, "brier": {"weight": 2.0}, "heavy": {"weight": 3.0}}[name]
    written = config("run")["objective"]
    written = {"name": written} if isinstance(written, str) else written
    assert written == {"name": f"mine:{name if name == 'plain' else 'brier'}"} | option
    words = ["--objective", "mine:plain" if name == "plain" else "mine:brier"]
    words += [] if name == "plain" else ["--objective.weight", str(option["weight"])]
    assert train(*words, "--out", "shell") == 0
    assert record.rows(Path("shell/metrics.jsonl"))[0]["loss"] == pytest.approx(
        record.rows(Path("run/metrics.jsonl"))[0]["loss"], rel=1e-3)  # fmt: skip


NET = """
class Net(torch.nn.Sequential):
    def __init__(self, width):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, 10))
def build(image, classes): return Net(16)
def other(image, classes): return Net(8)
"""


def test_a_module_trained_in_python_goes_on_with_a_function_that_builds_it(capsys) -> None:
    more(NET)
    net, data = importlib.import_module("mine").Net(16), holdfast.data.load("digits")
    training.train(
        net, data, epochs=1, precision="fp32", watch=training.Watch(images=20), out="run"
    )
    go_on = ["train", "--resume", "run", "--epochs", "2"]
    assert main(go_on) == 2
    said = capsys.readouterr().err
    assert "name a function (image, classes) that builds the module" in said
    assert main(["evaluate", "run", "--images", "20"]) == 2
    said = capsys.readouterr().err
    assert "--model mine:Net, or your own function (image, classes) that builds the same" in said
    assert main([*go_on, "--model", "mine:other"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is (16, 64)" in said
    assert main([*go_on, "--model", "mine:build"]) == 0
    assert len(record.rows(Path("run/metrics.jsonl"))) == 2


def test_modules_trained_in_python_stand_beside_others(capsys) -> None:
    more(NET)
    data, watch = holdfast.data.load("digits"), training.Watch(images=20)
    for width, out in ((16, "one"), (8, "two")):
        net = importlib.import_module("mine").Net(width)
        training.train(net, data, epochs=1, precision="fp32", watch=watch, out=out)
    words = ["curve", "one", "two", "--images", "20", "--radii", "0.1", "--model"]
    assert main([*words, "one=mine:build,two=mine:other"]) == 0
    assert main([*words, "two=mine:other,mine:build"]) == 0
    assert main([*words, "one=mine:other,two=mine:other"]) == 2
    assert "is (16, 64)" in capsys.readouterr().err


def test_options_reach_the_code_however_it_is_written() -> None:
    losses = []
    for name, weight in (("brier", 2), ("Frozen", 2), ("Plain", 2), ("made", 2), ("made", 4)):
        out = f"{name}-{weight}"
        words = ("--objective", f"mine:{name}", "--objective.weight", str(weight), "--out", out)
        assert train(*words) == 0
        losses.append(record.rows(Path(out) / "metrics.jsonl")[0]["loss"])
    assert losses[1:4] == [losses[0]] * 3 and losses[4] > 1.5 * losses[3]


def test_a_reward_an_adversary_and_an_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(
        "--objective", "reward", "--objective.reward", "mine:asymmetric",
        "--objective.reward.wrong", "-0.5", "--adversary", "mine:one_step", "--adversary.radius",
        "0.2", "--adversarial.ramp", "1", "--out", "run",
    ) == 0  # fmt: skip
    held = config("run")
    assert held["objective"]["reward"] == {"name": "mine:asymmetric", "wrong": -0.5}
    assert held["adversary"] == {"name": "mine:one_step", "radius": 0.2, "norm": "linf"}
    for name, words in {"one_step": [], "STRONG": ["--radius", "0.3"]}.items():
        assert main(["evaluate", "run", "--images", "20", "--attack", f"mine:{name}", *words]) == 0
    settings = [row["settings"] for row in record.rows(Path("run/evaluation.jsonl"))]
    assert settings[0] == {"name": "mine:one_step", "radius": 0.2, "norm": "linf"}
    assert settings[1]["name"] == "pgd" and settings[1]["radius"] == 0.3
    capsys.readouterr()
    assert main(["train", "--objective", "mine:brier", "--help"]) == 0
    assert "of the score (default: 2.0)" in capsys.readouterr().out


def test_a_loss_is_an_objective_and_what_attacks_and_directions_climb(capsys) -> None:
    climbs = ["--adversary", "pgd", "--adversary.loss", "mine:focal", "--adversary.steps", "1"]
    learns = ["--objective", "loss", "--objective.loss", "mine:focal", "--objective.loss.gamma"]
    assert train(*learns, "3", *climbs, "--adversary.loss.gamma", "1", "--out", "run") == 0
    assert config("run")["objective"]["loss"] == {"name": "mine:focal", "gamma": 3.0}
    assert config("run")["adversary"]["loss"] == {"name": "mine:focal", "gamma": 1.0}
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    words = ["evaluate", "run", "--images", "20", "--attack", "pgd", "--attack.loss"]
    assert main([*words, "mine:focal", "--attack.loss.gamma", "0.5"]) == 0
    assert main([*words, "torch.nn:CrossEntropyLoss", "--attack.loss.reduction", "none"]) == 0
    climbed = [row["settings"]["loss"] for row in record.rows(Path("run/evaluation.jsonl"))]
    assert climbed == [{"name": "mine:focal", "gamma": 0.5}, "CrossEntropyLoss()"]
    rays = ["margins", "run", "--images", "5", "--step", "0.2", "--directions", "gradient"]
    assert main([*rays, "--directions.count", "1", "--directions.loss", "mine:focal"]) == 0
    capsys.readouterr()
    assert main(["train", "--adversary", "pgd", "--adversary.loss", "mine:focal", "--help"]) == 0
    assert "A loss that sure images hardly count in" in capsys.readouterr().out
    assert main([*words, "torch.nn:CrossEntropyLoss"]) == 2
    assert "a loss of each image, [20], got []; leave out the mean" in capsys.readouterr().err


def test_a_loss_of_given_exponent_is_the_same_from_python_and_from_the_shell() -> None:
    """Its options are written down as the command line writes them, and it goes on there."""
    mine, data = importlib.import_module("mine"), holdfast.data.load("digits")
    sharp = functools.partial(mine.focal, gamma=3.0)
    model = holdfast.model.create("gupta_cnn", image=data.image, classes=10, widths=(4, 4),
                                  dense=16, mean=data.mean, std=data.std)  # fmt: skip
    training.train(model, data, objective=feedback.Supervised(loss=sharp), epochs=1,
                   adversary=attack.PGD(loss=sharp, steps=1), precision="fp32",
                   watch=training.Watch(images=20), out="run")  # fmt: skip
    assert config("run")["objective"]["loss"] == {"name": "mine:focal", "gamma": 3.0}
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    loss = ["loss", "--objective.loss", "mine:focal", "--objective.loss.gamma", "3"]
    climbed = ["pgd", "--adversary.steps", "1", "--adversary.loss", "mine:focal"]
    words = ["--objective", *loss, "--adversary", *climbed, "--adversary.loss.gamma", "3"]
    assert train(*words, "--out", "shell") == 0
    first, shell = (record.rows(Path(run) / "metrics.jsonl")[0] for run in ("run", "shell"))
    assert shell["loss"] == pytest.approx(first["loss"], rel=1e-3)


def test_a_reward_with_options_goes_on_from_python_to_the_shell() -> None:
    mine, data = importlib.import_module("mine"), holdfast.data.load("digits")
    graded = functools.partial(mine.asymmetric, wrong=-0.5)
    model = holdfast.model.create("gupta_cnn", image=data.image, classes=10, widths=(4, 4),
                                  dense=16, mean=data.mean, std=data.std)  # fmt: skip
    training.train(model, data, objective=feedback.Handover(first=feedback.Expected(reward=graded)),
                   epochs=1, watch=training.Watch(images=20), out="run")  # fmt: skip
    held = config("run")["objective"]["first"]["reward"]
    assert held == {"name": "mine:asymmetric", "wrong": -0.5}
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0


def test_a_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--schedule", "mine:cyclic", "--schedule.low", "0.5"]
    assert train(*asked, "--out", "run") == 0
    assert config("run")["schedule"] == {"name": "mine:cyclic", "low": 0.5}
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    rates = [row["lr"] for row in record.rows(Path("run/metrics.jsonl"))]
    assert rates == [pytest.approx(rates[0])] * 2 and 0.0005 <= rates[0] < 0.001
    assert train("--schedule", "mine:epochwise") == 2
    assert "mine:epochwise" in capsys.readouterr().err


def test_directions() -> None:
    assert train("--out", "run") == 0
    words = ["--images", "10", "--step", "0.2", "--reach", "1", "--directions", "mine:diagonal"]
    assert main(["margins", "run", *words, "--directions.count", "2"]) == 0
    held = record.read_json(Path("run/margins/matrix.json"))
    assert held["directions"] == {"name": "mine:diagonal", "count": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--objective", "mine:mean"],
            "a loss for each image, floats (2,), and a state; got torch.float32 of shape ()",
        ),
        (["--objective", "mine:bare"], "to return (loss, state), the state a"),
        (["--objective", "mine:listed"], "the state a dictionary of tensors, got [1]"),
        (["--objective", "mine:many"], "options with names of their own, got **options"),
        (["--objective", "mine:nothing"], "what mine:nothing makes to be callable, got None"),
        (["--objective", "mine:number"], "an objective at 'mine:number', got TypeError"),
        (["--objective", "mine:other"], "an objective at 'mine:other', got AttributeError"),
        (["--objective", "mine:breir"], "did you mean 'brier'"),
        (["--objective", "mine:plain"], "called as (model, batch, state), got plain, which takes"),
        (["--objective", "mine:plain"], "these, or say --objective loss --objective.loss MODULE"),
        (["--objective", "loss", "--objective.loss", "mine:plian"], "did you mean 'plain'"),
        (
            ["--objective", "loss", "--objective.loss", "mine:blind"],
            "[2], got [2, 10]; give each one",
        ),
        (["--objective", "loss", "--objective.loss", "cee"], "did you mean 'ce'"),
        (["--adversary", "mine:blind"], "called as (model, x, y), got blind, which takes (x, y)"),
        (["--objective", "none:other"], "an objective at 'none:other', got ModuleNotFound"),
        (["--objective", "mine:brier", "--objective.weigth", "1"], "did you mean '--objective.w"),
        (["--objective", "reward", "--objective.reward", "mine:scalar"], "a reward for each act"),
        (["--adversary", "mine:nothing"], "what mine:nothing makes to be callable"),
        (["--optimizer", "mine:brier"], "expected optimizer out of"),
    ],
)
def test_what_is_not_as_expected_is_one_line(words, said, capsys) -> None:
    assert train(*words, "--out", "run") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not Path("run").exists()


def test_a_function_becomes_settings_that_can_be_had_anew() -> None:
    kind = own.factory_of("mine:one_step", "an attack", ("model", "x", "y"), ("index",))
    one = attack.with_settings(kind(radius=0.3), radius=0.05)
    assert attack.settings_of(one) == {"radius", "norm"}
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    adv = attack.run(one, lambda x: x.flatten(1)[:, :10], x, y, y)
    assert 0 < (adv - x).abs().max() <= 0.05 + 1e-6
    assert record.plain(one) == {"name": "mine:one_step", "radius": 0.05, "norm": "linf"}


def test_the_example_of_the_documentation_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "objectives.md").read_text(encoding="utf-8")
    Path("mine.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    lines = [line.split() for line in page.splitlines() if "train" in line and " mine:" in line]
    assert len(lines) == 3
    for number, words in enumerate(lines):
        assert train(*words[2:], "--out", f"run-{number}") == 0


def test_attributes_of_a_function_hold(capsys) -> None:
    assert train("--out", "run") == 0
    more(
        "\ndef far(model, x, y, *, ahead: float = 0.5):\n    return (x + ahead).clamp(0, 1)\n"
        "far.minimal, far.norm = True, 'linf'\n"
    )
    words = ["--images", "20", "--radius", "0.1", "--json"]
    assert main(["evaluate", "run", "--attack", "mine:far", "--attack.ahead", "0.4", *words]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["attacks"][0]
    assert found["refused"] == 0 and found["settings"] == {"name": "mine:far", "ahead": 0.4}


def test_a_class_that_is_no_dataclass_is_an_attack_in_the_budget_of_the_command(capsys) -> None:
    assert train("--out", "run") == 0
    more(
        "\nclass Step:\n    def __init__(self, radius: float = 0.5, norm: str = 'linf'):\n"
        "        self.radius, self.norm = radius, norm\n"
        "    def __call__(self, model, x, y):\n"
        "        return one_step(model, x, y, y, radius=self.radius)\n"
    )
    words = ["--images", "20", "--radius", "0.05", "--json"]
    assert main(["evaluate", "run", "--attack", "mine:Step", *words]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["attacks"][0]
    assert found["refused"] == 0 and found["settings"]["radius"] == 0.05


def test_an_objective_of_pairs_sees_both(capsys) -> None:
    more(
        "\ndef both(model, batch, state):\n"
        "    assert (batch.adv is None) or not torch.equal(batch.x, batch.adv)\n"
        "    seen.append(batch.adv is not None)\n"
        "    return bare(model, batch, state), state\n"
        "both.pairs, seen = True, []\n"
    )
    words = ("--adversary", "fgsm", "--adversary.radius", "0.1", "--out", "run")
    assert train("--objective", "mine:both", *words) == 0
    assert all(__import__("mine").seen)


def test_code_that_has_changed_is_said(caplog) -> None:
    more(
        "\ndef net(image, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))\n"
    )
    words = ["train", "--data", "digits", "--model", "mine:net", "--epochs", "1",
             "--watch.images", "20", "--precision", "fp32", "--out", "run"]  # fmt: skip
    assert main([*words, "--objective", "mine:brier"]) == 0
    assert main(["evaluate", "run", "--model", "mine:net", "--images", "10"]) == 0
    assert "has changed" not in caplog.text
    more("# another line\n")
    assert main(["evaluate", "run", "--model", "mine:net", "--images", "10"]) == 0
    assert "the code of mine has changed since run was trained" in caplog.text
    caplog.clear()
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert caplog.text.count("the code of mine has changed since run was last trained") == 1


def test_what_has_no_name_to_be_imported_by_is_said(tmp_path, caplog) -> None:
    data = blobs()
    quick: dict[str, Any] = {"epochs": 1, "watch": training.Watch(images=6)}
    training.train(network(data), data, out=tmp_path / "named", **quick)
    assert "cannot be imported" not in caplog.text

    def nothing(model, x, y):
        return x

    training.train(network(data), data, adversary=nothing, out=tmp_path / "local", **quick)
    assert "<locals>.nothing cannot be imported by its name" in caplog.text


def test_an_option_may_be_a_list_by_default() -> None:
    more("\ndef priced(action, y, *, prices=[1.0, 2.0]):\n    return prices[0] * (action == y)\n")
    made = own.factory_of("mine:priced", "a reward", ("action", "y"))
    assert made().prices == [1.0, 2.0] and made().prices is not made().prices


def test_a_function_with_settings_is_an_adversary_with_a_radius(caplog) -> None:
    """It is ramped, and the best epoch is chosen under attack, as where the command line names it;
    of one without a radius that is said."""
    data = blobs()

    def pushed(model, images, labels, index, *, radius: float = 0.1):
        seen.append(radius)
        return (images + radius * (index % 2).reshape(-1, 1, 1, 1)).clamp(0, 1)

    few: Any = {"epochs": 2, "watch": training.Watch(images=6)}
    for adversary, radius in ((pushed, 0.1), (functools.partial(pushed, radius=0.2), 0.2)):
        seen: list[float] = []
        found = training.train(network(data), data, adversary=adversary,
                               adversarial=training.Adversarial(ramp=1.0), **few)  # fmt: skip
        assert found.criterion == "validation_pgd" and max(seen) == radius > min(seen) > 0
    assert not caplog.messages

    def bare(model, x, y):
        return pushed(model, x, y, torch.arange(len(x)))

    assert training.train(network(data), data, adversary=bare, **few).criterion.endswith("clean")
    assert any("states no radius" in said for said in caplog.messages)


def test_what_has_settings_to_be_named_stays_as_it_is() -> None:
    def needs(model, x, y, *, radius):
        return x

    def many(model, x, y, **settings):
        return x

    def places(model, x, y, radius=0.1, /):
        return x

    def named(model, x, y, *, name="it"):
        return x

    @functools.wraps(needs)
    def wrapped(model, x, y):
        return x

    bound = functools.partial(many, "first")
    thing = functools.partial(attack.PGD(radius=0.1), index=None)
    for one in (needs, many, places, named, wrapped, bound, thing, attack.PGD(),
                lambda model, x, y, index: x):  # fmt: skip
        assert own.as_settings(one, 3, attack.OPTIONAL_ARGUMENTS) is one


def test_a_partial_has_the_attributes_that_it_was_given() -> None:
    def ours(model, x, y, *, radius: "torch.Tensr" = 0.1):  # pyright: ignore
        return x

    changed = functools.partial(ours, radius=0.5)
    for one, norm in ((ours, "l1"), (changed, "l2")):
        one.__dict__["norm"] = norm
    found = own.as_settings(changed, 3), own.as_settings(ours, 3)
    assert [(one.radius, one.norm) for one in found] == [(0.5, "l2"), (0.1, "l1")]


def test_a_run_goes_on_with_the_same_settings_of_a_function_alone(tmp_path) -> None:
    data, run = blobs(), tmp_path / "run"
    few: Any = {"out": run, "watch": training.Watch(images=6)}
    training.train(network(data), data, adversary=moved, epochs=1, **few)
    same = functools.partial(moved, radius=0.1)
    training.train(network(data), data, adversary=same, epochs=1, resume=True, **few)
    with pytest.raises(BadInput, match="got adversary"):
        training.train(network(data), data, adversary=functools.partial(moved, radius=0.3),
                       epochs=1, resume=True, **few)  # fmt: skip


def moved(model, x, y, *, radius: float = 0.1):
    return (x + radius).clamp(0, 1)
