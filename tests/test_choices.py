"""Slots inside slots: from words, from YAML, from what a run wrote down."""

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docstring_parser
import numpy as np
import pytest
import torch
import yaml
from small import network

from holdfast import data as datasets
from holdfast import diagnosis, feedback, margin, record, retraining, training
from holdfast.attack import ATTACKS
from holdfast.cli import main, runs
from holdfast.cli.attacks import LOSS
from holdfast.cli.choices import Slot, build
from holdfast.cli.options import parse
from holdfast.cli.train import OBJECTIVE, REWARD, SLOTS
from holdfast.errors import BadInput
from holdfast.feedback import CrossEntropy, Expected, Handover, Matrix, PolicyGradient, Signed
from holdfast.loss import LossName
from holdfast.model import NETWORKS
from holdfast.types import Objective, Reward

VALUES = ((1.0, -1.0), (-2.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Slots with an instance, with nothing, and with no value for defaults."""

    needed: Objective
    later: Objective = field(default_factory=lambda: PolicyGradient(samples=4, entropy=0.1))
    reward: Reward | None = None


TABLES = {
    "networks": NETWORKS, "attacks": ATTACKS, "objectives": feedback.OBJECTIVES,
    "rewards": feedback.REWARDS, "optimizers": training.OPTIMIZERS,
    "schedules": training.SCHEDULES, "directions": margin.FAMILIES, "methods": margin.METHODS,
}  # fmt: skip
FRONTS = [
    training.train, margin.search, diagnosis.landscape, retraining.retrain, retraining.Probe,
    feedback.Boundary, runs.run_options,
]  # fmt: skip


@pytest.mark.parametrize(
    "kind", [*FRONTS, *(k for table in TABLES.values() for k in table.values())],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_every_option_has_a_word_of_help(kind):
    said = {param.arg_name for param in docstring_parser.parse(inspect.getdoc(kind) or "").params}
    asked = inspect.signature(kind).parameters.values()
    assert {p.name for p in asked if p.kind is not p.VAR_KEYWORD} <= said


def command(*, watch: training.Watch = training.Watch(images=7)) -> None:  # noqa: B008
    """A command with one slot."""


INNER = {Objective: OBJECTIVE, Reward: REWARD, LossName: LOSS}
SLOT = Slot(table=feedback.OBJECTIVES | {"pair": Pair}, default="ce", inner=INNER)


def objective(*argv: str, config: Any = None) -> Any:
    if config is not None:
        Path("it.yaml").write_text(yaml.safe_dump({"objective": config}))
        argv = ("--config", "it.yaml", *argv)
    parsed = parse("try", {command: frozenset()}, {"objective": SLOT}, argv)
    return build(parsed.slots["objective"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


REWARD = ("--objective", "reward")
FIELDS = {"samples": 4, "entropy": 0.1}


@pytest.mark.parametrize(
    ("argv", "config", "wanted"),
    [
        ((), None, CrossEntropy()),
        ((*REWARD, "--objective.reward.wrong", "0"), None,
         PolicyGradient(reward=Signed(wrong=0.0))),
        ((*REWARD, "--objective.reward", "matrix", "--objective.reward.values", "[[1,-1],[-2,1]]"),
         None, PolicyGradient(reward=Matrix(values=VALUES))),
        ((), {"name": "expected", "reward": {"name": "matrix", "values": [[1, -1], [-2, 1]]}},
         Expected(reward=Matrix(values=VALUES))),
        ((), {"name": "reward", "reward": {"wrong": 0}}, PolicyGradient(reward=Signed(wrong=0.0))),
        (("--objective.reward=signed",),
         {"name": "reward", "reward": {"name": "matrix", "values": [[1, 0], [0, 1]]}},
         PolicyGradient()),
        (("--objective", "gce"), {"name": "reward", "samples": 3}, feedback.GCE()),
        (REWARD, {"samples": 3}, PolicyGradient(samples=3)),
        (("--objective", "handover", "--objective.second.reward", "matrix",
          "--objective.second.reward.values=[[1,-1],[-2,1]]", "--objective.first", "expected"),
         None, Handover(first=Expected(), second=PolicyGradient(reward=Matrix(values=VALUES)))),
        (("--objective.first.first.smoothing", "0.1"),
         {"name": "handover", "first": {"name": "handover", "at": 2}},
         Handover(first=Handover(first=CrossEntropy(smoothing=0.1), at=2))),
        (("--objective", "pair", "--objective.needed", "ce"), None, Pair(needed=CrossEntropy())),
        ((), {"name": "pair", "needed": "ce", "later": {"samples": 2}},
         Pair(needed=CrossEntropy(), later=PolicyGradient(samples=2, entropy=0.1))),
        (("--objective.later", "reward"), {"name": "pair", "needed": "ce", "reward": "signed"},
         Pair(needed=CrossEntropy(), later=PolicyGradient(), reward=Signed())),
    ],
)  # fmt: skip
def test_choices_inside_choices(argv, config, wanted):
    assert objective(*argv, config=config) == wanted


@pytest.mark.parametrize("name", feedback.OBJECTIVES)
def test_what_a_run_writes_down_is_read_back(name):
    one = feedback.OBJECTIVES[name]()
    assert objective(config=record.plain(one)) == one


@pytest.mark.parametrize(
    ("argv", "config", "said"),
    [
        ((*REWARD, "--objective.reward", "matrx"), None,
         "objective.reward \\(or MODULE:NAME\\) out of .*'matrix'"),
        ((*REWARD, "--objective.reward.vrong", "0"), None,
         "option of objective.reward signed, got --objective.reward.vrong; .*reward.wrong'"),
        ((), {"name": "reward", "reward": {"name": "signde"}}, "did you mean 'signed'"),
        ((), {"name": "reward", "sampels": 3}, "objective reward, .*mean 'objective.samples'"),
        ((), {"samples": 4}, "option of objective ce, got objective.samples"),
        ((), {"name": "reward", "reward": 5}, "objective.reward as a name"),
        ((), {"name": "reward", "exploration": 5}, "objective.exploration as a mapping"),
        ((), {"name": "reward", "exploration": {"name": "Greedy"}}, "or EpsilonGreedy; got Greedy"),
        ((), {"name": "reward", "reward": {"name": "matrix"}}, "objective.reward.values"),
        ((*REWARD, "--objective.reward", "matrix", "--objective.reward.values", "[[1,x],[0,1]]"),
         None, "expected objective.reward.values to be a finite number, got 'x'"),
        (("--objective", "pair"), None, "expected objective.needed \\(or MODULE:NAME\\) out of ce"),
    ],
)  # fmt: skip
def test_a_mistake_inside_a_choice_is_said_with_its_place(argv, config, said):
    with pytest.raises(BadInput, match=said):
        objective(*argv, config=config)


def test_a_run_with_a_matrix_from_python_is_resumed_from_the_command_line():
    x, y = torch.rand(60, 1, 8, 8), torch.arange(60) % 2
    held = {"train_x": x, "train_y": y, "test_x": x[:20], "test_y": y[:20]}
    np.savez("mine.npz", allow_pickle=False, **{name: part.numpy() for name, part in held.items()})
    data = datasets.load("npz:mine.npz")
    training.train(
        network(data), data, objective=PolicyGradient(reward=Matrix(values=VALUES)), epochs=1,
        precision="fp32", device="cpu", out="run",
    )  # fmt: skip
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    kept = record.read_yaml(Path("run/config.yaml"))["objective"]["reward"]
    assert kept == {"name": "matrix", "values": [list(row) for row in VALUES]}
    assert [row["epoch"] for row in record.rows(Path("run/metrics.jsonl"))] == [1, 2]


def test_the_slots_of_training_know_the_signals():
    assert SLOTS["objective"].inner == INNER
