"""What --force replaces is there until something complete has taken its place."""

import contextlib
import copy
import errno
import importlib
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import blobs, network

from holdfast import kept, record, training
from holdfast.cli import main
from holdfast.errors import BadInput
from holdfast.feedback import Boundary
from holdfast.margin import Orthonormal
from holdfast.retraining import Probe, retrain
from holdfast.training import checkpoint, folder, loop

SMALL = ["train", "--data", "digits", "--model.widths", "[4]", "--model.dense", "16", "--epochs",
         "2", "--precision", "fp32", "--watch.images", "50", "--out", "run", "--json"]  # fmt: skip
PROBE = Probe(images=40, directions=Orthonormal(count=6), reach=1.0, step=0.1, method="linear")
ROUNDS: dict[str, Any] = {
    "feedback": Boundary(low=6, medium=4, high=2, rays=3), "probe": PROBE, "judge": PROBE,
    "epochs": 1, "max_drop": 1.0, "precision": "fp32",
    "watch": training.Watch(images=30, every=1),
}  # fmt: skip


ELSEWHERE = multiprocessing.get_context("forkserver")
ELSEWHERE.set_forkserver_preload(["holdfast", "torch._dynamo"])  # most of a short run is imports
retraining = importlib.import_module("holdfast.retraining.retrain")


def held(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A trained run in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    assert main(SMALL) == 0
    return Path("run")


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "no space left", "run")


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def diverged(*_: object, **__: object) -> None:
    raise training.Diverged("the loss is no number")


def stopped_at_the_second(patch: pytest.MonkeyPatch, place: Any, name: str) -> None:
    """Ctrl-C comes when this function is called again."""
    original, begun = getattr(place, name), []

    def stops(*given: Any) -> Any:
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return original(*given)

    patch.setattr(place, name, stops)


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_training(place: Path) -> None:
    os.chdir(place)
    checkpoint.save = die
    main([*SMALL, "--force"])


def kill_in_retraining(out: Path) -> None:
    retraining.mixed = die  # pyright: ignore
    data = blobs()
    retrain(network(data), data, out=out, force=True, **ROUNDS)


def elsewhere(work: Callable[[Path], None], place: Path) -> None:
    """In a process of its own, which is killed."""
    process = ELSEWHERE.Process(target=work, args=(place,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("place", "name", "fails", "code"),
    [
        (record, "write_yaml", full, 1),  # its first file
        (checkpoint, "save", full, 1),
        (loop, "run_epoch", interrupted, 130),
        (loop, "run_epoch", diverged, 1),
    ],
)
def test_a_run_comes_back_where_no_checkpoint_replaces_it(
    run, monkeypatch, capsys, place, name, fails, code
):
    before = held(run)
    monkeypatch.setattr(place, name, fails)
    assert main([*SMALL, "--force"]) == code
    said = capsys.readouterr().err
    assert "what was in run is back there" in said and "--resume" not in said
    assert held(run) == before and not (run / record.REPLACED).exists()


def test_a_checkpoint_replaces_a_run(run, monkeypatch, capsys):
    stopped_at_the_second(monkeypatch, loop, "run_epoch")
    assert main([*SMALL, "--force"]) == 130
    assert "go on with holdfast train --resume run" in capsys.readouterr().err
    assert not (run / record.REPLACED).exists() and len(record.rows(run / record.METRICS)) == 1


def test_a_kill_before_the_first_checkpoint_loses_nothing(run, monkeypatch):
    before = held(run)
    elsewhere(kill_in_training, Path.cwd())
    aside = held(run / record.REPLACED)
    assert {run / p.relative_to(run / record.REPLACED): raw for p, raw in aside.items()} == before
    monkeypatch.setattr(checkpoint, "save", interrupted)
    assert main(["train", "--resume", "run"]) == 130
    assert held(run / record.REPLACED) == aside, "what is begun again has not replaced it yet"
    assert main([*SMALL, "--force"]) == 130
    assert held(run) == before


class Kill(BaseException):
    """Behind it nothing more is done on disk."""


class Disk:
    """What is done on disk, until the process is killed at the step of this number; a tree that it
    was removing has lost a file."""

    NAMES = ("replace", "mkdir", "rmdir", "unlink")

    def __init__(self, patch: pytest.MonkeyPatch, last: int) -> None:
        self.steps, self.last = 0, last
        for name in self.NAMES:
            patch.setattr(Path, name, self.counted(getattr(Path, name)))
        patch.setattr(shutil, "rmtree", self.counted(shutil.rmtree))

    def counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **more: Any) -> Any:
            self.steps += 1
            if self.steps > self.last:
                files = [path for path in Path(given[0]).rglob("*") if path.is_file()]
                if original.__name__ == "rmtree" and files:
                    os.unlink(files[0])
                raise Kill
            return original(*given, **more)

        return step


def replacing(run: Path, fails: bool) -> None:
    """What training does with a folder, to its first checkpoint and beyond or not so far."""
    with record.replacing(run):
        record.write(run / "config.yaml", "new")
        record.write(run / "metrics.jsonl", "new")
        if fails:
            raise OSError
        record.write(run / "checkpoints" / "epoch-001", "new")
        record.settled(run)
        record.write(run / "checkpoints" / "epoch-002", "new")


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("last", range(40))
def test_a_folder_is_whole_wherever_a_call_is_killed(tmp_path, monkeypatch, last, fails):
    run = tmp_path / "run"
    for name in ("config.yaml", "provenance.json", "checkpoints/epoch-007"):
        record.write(run / name, "old")
    old = held(run)
    with monkeypatch.context() as patch, contextlib.suppress(Kill, OSError):
        Disk(patch, last)
        replacing(run, fails)
    assert not folder.has_no_checkpoint(run) or held(run / record.REPLACED), (
        "nothing whole is begun again"
    )
    new = (run / "checkpoints" / "epoch-001").exists() and not (run / record.REPLACED).exists()
    assert not (new and fails)
    with pytest.raises(OSError), record.replacing(run):
        raise OSError
    assert new or held(run) == old
    assert not list(run.glob(".re*"))


def test_every_step_of_replacing_is_among_those_that_are_killed(tmp_path, monkeypatch):
    record.write(tmp_path / "run" / "config.yaml", "old")
    with monkeypatch.context() as patch:
        disk = Disk(patch, 1000)
        replacing(tmp_path / "run", fails=False)
    assert 10 < disk.steps < 40


@pytest.fixture
def rounds(tmp_path):
    """A retrained run, and what makes another."""
    data = blobs()
    model = network(data)
    retrain(model, data, out=tmp_path / "rounds", **ROUNDS)
    return tmp_path / "rounds", (model, data)


def test_rounds_come_back_where_the_first_that_replaces_them_fails(rounds, monkeypatch):
    out, given = rounds
    before, searched = held(out), []
    monkeypatch.setattr(retraining, "mixed", diverged)
    with pytest.raises(training.Diverged) as error:
        retrain(*given, out=out, force=True, **ROUNDS)
    assert "is back there" in error.value.__notes__[0]
    pieces = held(out / ".drafts")
    assert pieces and held(out) == before | pieces
    with pytest.raises(BadInput, match="say --force"):  # and not: go on with what was to replace it
        retrain(*given, out=out, **ROUNDS)
    monkeypatch.undo()
    original = kept.write

    def written(file: Path | None, piece: Any) -> None:
        searched.append(file)
        original(file, piece)

    monkeypatch.setattr(kept, "write", written)
    retrain(*given, out=out, force=True, **ROUNDS)
    assert not any(searched), "what was searched before is read"
    assert len(record.rows(out / record.ROUNDS)) == 1
    assert not list(out.glob(".*"))


def test_rounds_that_were_killed_and_are_not_replaced_go_on(rounds, monkeypatch):
    out, given = rounds
    record.remove(out)
    for force in (False, True):
        monkeypatch.setattr(retraining, "mixed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            retrain(*given, out=out, force=force, **ROUNDS)
        (out / "round-1").mkdir(exist_ok=True)
    monkeypatch.undo()
    retrain(*given, out=out, **ROUNDS)
    assert not list(out.glob(".*"))


def test_a_first_round_replaces_rounds(rounds, monkeypatch):
    out, given = rounds
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    stopped_at_the_second(monkeypatch, retraining, "mixed")
    with pytest.raises(KeyboardInterrupt):
        retrain(*copy.deepcopy(given), out=out, force=True, rounds=2, seed=5, **ROUNDS)
    assert record.rows(out / record.ROUNDS)[0]["seed"] == 5 and not list(out.glob(".*"))
    monkeypatch.undo()
    monkeypatch.setattr("holdfast.retraining.rounds.Round.kept", True)
    assert len(retrain(*given, out=out, rounds=2, seed=5, **ROUNDS).rounds) == 2


def test_a_kill_while_rounds_are_replaced_loses_nothing(rounds, monkeypatch):
    out, given = rounds
    before = held(out)
    elsewhere(kill_in_retraining, out)
    aside = held(out / record.REPLACED)
    assert {out / p.relative_to(out / record.REPLACED): raw for p, raw in aside.items()} == before
    with pytest.raises(BadInput, match="say --force"):
        retrain(*given, out=out, **ROUNDS)
    monkeypatch.setattr(retraining, "mixed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        retrain(*given, out=out, force=True, **ROUNDS)
    assert {p: raw for p, raw in held(out).items() if ".drafts" not in p.parts} == before
    monkeypatch.undo()
    retrain(*given, out=out, force=True, **ROUNDS)
    assert not list(out.glob(".*"))


def test_a_round_killed_between_its_first_files_goes_on(tmp_path):
    data = blobs()
    record.write(tmp_path / "rounds" / "round-1" / "config.yaml", "epochs: 1")
    (tmp_path / "rounds" / "drafts").mkdir()
    done = retrain(network(data), data, out=tmp_path / "rounds", **ROUNDS)
    assert len(done.rounds) == 1


def moved(out: Path, names: str, place: str) -> None:
    """As a call was killed that had moved these."""
    (out / place).mkdir()
    for name in names.split():
        (out / name).rename(out / place / name)


def test_a_call_without_force_does_not_replace(rounds):
    """Where one with it was killed that had spared the drafts of an earlier one."""
    out, given = rounds
    before = held(out)
    moved(out, " ".join(path.name for path in out.iterdir()), ".replaced")
    (out / "drafts").mkdir()
    with pytest.raises(BadInput, match="say --force"):
        retrain(*given, out=out, **ROUNDS)
    assert len(held(out)) == len(before)


@pytest.mark.parametrize("force", [False, True])
def test_a_first_round_that_is_done_counts_wherever_a_call_is_killed(rounds, force):
    out, given = rounds
    record.write(out / ".replaced" / "round-1" / "config.yaml", "old")
    record.write(out / ".drafts" / "piece", "")
    with pytest.raises(BadInput):  # no example crosses, or other settings than in round 1
        retrain(*given, out=out, force=force, **ROUNDS | {"probe": replace(PROBE, reach=1e-3)})
    assert record.rows(out / record.ROUNDS) and not (out / ".replaced").exists()


def test_drafts_of_two_calls_do_not_stop_a_third(tmp_path):
    data = blobs()
    record.write(tmp_path / "rounds" / ".drafts" / "piece", "")
    done = retrain(network(data), data, out=tmp_path / "rounds", **ROUNDS)
    assert len(done.rounds) == 1 and not list((tmp_path / "rounds").glob(".*"))


@pytest.mark.parametrize("force", [False, True])
def test_a_run_does_not_begin_with_what_it_replaces(run, capsys, force):
    words = ["--weights", "run/checkpoints/best", *(["--force"] if force else [])]
    before = held(run)
    assert main([*SMALL, *words]) == 2
    said = capsys.readouterr().err
    assert ("expected weights outside run" if force else "which exists") in said
    assert main(["retrain", "run", "--out", "run/", "--force"]) == 2
    assert "another folder than the run's" in capsys.readouterr().err
    assert held(run) == before


def test_a_run_that_was_killed_at_its_very_first_file_is_replaced(run):
    for path in run.iterdir():
        record.remove(path)
    (run / ".config.yaml.123").touch()
    assert main([*SMALL, "--force"]) == 0


def test_a_run_that_is_being_moved_is_whole_for_what_judges(run):
    moved(run, "config.yaml provenance.json", ".replacing")
    assert main(["evaluate", "run", "--images", "5"]) == 0
    assert (run / "config.yaml").exists() and not list(run.glob(".*"))


def test_two_processes_do_not_retrain_in_one_folder(tmp_path):
    data = blobs()
    (tmp_path / "rounds").mkdir()
    with record.locked(tmp_path / "rounds"), pytest.raises(BadInput, match="another process"):
        retrain(network(data), data, out=tmp_path / "rounds", **ROUNDS)
