"""Several processes: one model, the same bits in each, and what one process would have made."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from crew import SEARCH, X, Y, bumpy, retrained
from safetensors.torch import load_file
from worlds import linear_world

from holdfast import record
from holdfast.cli import main
from holdfast.evaluation import evaluate
from holdfast.margin import Margins, search
from holdfast.margin.job import TENSORS

pytestmark = pytest.mark.skipif(
    find_spec("lightning_fabric") is None, reason="needs lightning-fabric"
)  # importing it here would take each worker seconds
HERE = Path(__file__).parent


def started(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """This program with these words, one thread to each of its processes."""
    path = os.pathsep.join([str(HERE), *sys.path])
    settings = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=settings, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes wrote to, until one was killed."""
    folder = tmp_path_factory.mktemp("crew")
    done = started(HERE / "crew.py", folder, "first")
    assert done.returncode != 0 and (folder / "killed").exists(), done.stderr
    (folder / "said").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture(scope="module")
def second(first: Path) -> Path:
    """The same, after two more, of which one was killed too."""
    rows = record.rows(first / "killed" / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1]
    done = started(HERE / "crew.py", first, "second")
    assert done.returncode != 0 and (first / "begun").exists(), done.stderr
    return first


def test_two_processes_make_what_one_makes(first):
    """fp64, no batch normalisation, no dropout: weights to 1e-9, losses and measurements to
    1e-6."""
    one, two = (json.loads((first / f"{count}.json").read_text()) for count in (1, 2))
    for name, weight in one["weights"].items():
        torch.testing.assert_close(
            torch.tensor(two["weights"][name], dtype=torch.float64),
            torch.tensor(weight, dtype=torch.float64), atol=1e-9, rtol=0,
        )  # fmt: skip
    for alone, shared in zip(one["rows"], two["rows"], strict=True):
        assert shared == pytest.approx(alone, abs=1e-6)


def test_replicas_are_equal_bit_for_bit_after_every_step(first):
    """Batch normalisation, per-image state and a running baseline; weights that began unlike."""
    first, second = [(first / f"replica-{rank}").read_text().split() for rank in (0, 1)]
    assert first == second
    assert len(set(first)) == 10  # two epochs of five steps, each of which changed something


def same(found: Margins, held: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(getattr(found, name), held[name]) for name in TENSORS)


def test_two_processes_evaluate_as_one_does(first):
    world, held = linear_world(), load_file(first / "judged")
    whole = evaluate(world.model.float(), world.x.float(), world.y, radius=0.01)
    for attack in whole.attacks:
        torch.testing.assert_close(held[attack.name], attack.distance)
    torch.testing.assert_close(held["adv"], whole.adv)
    assert whole.marks is not None and torch.equal(held["marks"], whole.marks)


def test_two_processes_find_the_bits_of_one(first):
    assert same(search(bumpy(), X, Y, **SEARCH), load_file(first / "found"))
    assert len(list(first.glob("searched/*/*"))) == len(X)


def test_one_process_goes_on_behind_what_two_left(second):
    files = {path: path.stat().st_mtime_ns for path in second.glob("begun/*/[!.]*")}
    found = search(bumpy(seed=1), X, Y, folder=second / "begun", **SEARCH)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(list(second.glob("begun/*/[!.]*"))) == len(X)
    alone = search(bumpy(seed=1), X, Y, **SEARCH)
    assert same(found, {name: getattr(alone, name) for name in TENSORS})


def test_two_processes_retrain_on_the_examples_of_one(first, tmp_path):
    (row,) = record.rows(first / "retrained" / "retraining.jsonl")
    alone = retrained(tmp_path / "alone", 1)
    assert row["examples"] == alone["examples"]
    for when in ("measured", "before"):
        drop = {"seconds", "forward"}
        held, own = ({k: v for k, v in r[when].items() if k not in drop} for r in (row, alone))
        assert held == own
    assert (first / "retrained" / "round-1" / "checkpoints" / "last").exists()
    assert not (first / "retrained" / "drafts").exists()


def test_a_killed_run_is_resumed_to_the_bits_of_one_that_was_not(second):
    last = Path("checkpoints") / "last" / "model.safetensors"
    resumed, whole = ((second / name / last).read_bytes() for name in ("killed", "twin"))
    assert resumed == whole


def test_the_command_line_speaks_once(first, capsys):
    said = (first / "said").read_text()
    assert said.count("next: holdfast evaluate") == 1 == said.count("epoch   1")
    assert (first / "by-command" / "checkpoints" / "last").exists()
    assert main(["train", "--processes", "0"]) == 2
    assert main(["train", "--processes", "100000"]) == 2
    assert "at least 1 process" in capsys.readouterr().err
