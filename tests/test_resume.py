"""Killed runs: nothing lost but the work since the last checkpoint; the same bits in the end."""

import dataclasses
import errno
import inspect
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small import blobs, network

from holdfast import attack, feedback, record, training
from holdfast import data as datasets
from holdfast import model as models
from holdfast.errors import BadInput
from holdfast.training import ready

ELSEWHERE = multiprocessing.get_context("forkserver")
ELSEWHERE.set_forkserver_preload(["holdfast", "torch._dynamo"])  # most of a short run is imports


def settings(epochs: int = 4) -> dict[str, Any]:
    """Everything with a state: dropout, EMA, momentum, schedule, baseline, mistakes, crops."""
    return {
        "objective": feedback.PolicyGradient(
            samples=2, baseline="running", repeated=feedback.Repeated(growth=0.3)
        ),
        "adversary": attack.PGD(radius=0.05, steps=2),
        "adversarial": training.Adversarial(start=1, ramp=2),
        "optimizer": training.AdamW(lr=5e-3),
        "schedule": training.Cosine(warmup=1),
        "augment": datasets.Augment(crop=1),
        "ema": 0.9, "clip": 1.0, "epochs": epochs, "batch_size": 40, "precision": "fp32",
    }  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The same number of threads as the killed twin has: sums are in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def straight(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupts."""
    run = tmp_path_factory.mktemp("straight") / "run"
    training.train(network(blobs()), blobs(), out=run, **settings())
    return run


def test_the_same_call_begins_and_goes_on(tmp_path, straight):
    """On `auto`: a new run, one stopped in its first epoch, and one that has a checkpoint."""
    run, data = tmp_path / "run", blobs()

    def stop(after: int):
        def tick(epoch: int, done: int, steps: int) -> None:
            if epoch >= after:
                raise KeyboardInterrupt

        return tick

    for after in (0, 2):
        with pytest.raises(KeyboardInterrupt):
            training.train(network(data), data, out=run, resume="auto", on_step=stop(after),
                           **settings())  # fmt: skip
        assert (run / "config.yaml").exists()
        assert (run / "checkpoints" / "last").exists() == (after > 0)
    finished = training.train(network(data), data, out=run, resume="auto", **settings())
    assert len(finished.history) == 4
    held = [folder / "checkpoints" / "last" / "model.safetensors" for folder in (run, straight)]
    assert held[0].read_bytes() == held[1].read_bytes()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "text").touch()
    with pytest.raises(BadInput, match="expected a new run folder"):
        training.train(network(data), data, out=other, resume="auto", **settings())
    assert (other / "text").exists()
    with pytest.raises(BadInput, match="expected resume as True, False or 'auto', got 'Auto'"):
        inspect.unwrap(training.train)(network(data), data, out=run, resume="Auto", **settings())


@pytest.mark.parametrize("left", [["config.yaml"], [".config.yaml.123"], []])
def test_what_a_kill_left_of_a_run_s_first_files_is_begun_anew(tmp_path, left):
    run, data = tmp_path / "run", blobs()
    run.mkdir()
    for name in left:
        (run / name).write_text("epochs: 4")
    trained = training.train(network(data), data, out=run, resume="auto", **settings(2))
    assert len(trained.history) == 2 and (run / "checkpoints" / "last").exists()


@pytest.mark.parametrize("resume", [True, "auto"])
def test_a_run_whose_link_is_gone_goes_on_behind_its_last_checkpoint(tmp_path, straight, resume):
    run, data = tmp_path / "run", blobs()

    def stop(epoch: int, done: int, steps: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(network(data), data, out=run, on_step=stop, **settings())
    (run / "checkpoints" / "last").unlink()
    training.train(network(data), data, out=run, resume=resume, **settings())
    last = [folder / "checkpoints" / "last" / "model.safetensors" for folder in (run, straight)]
    assert last[0].read_bytes() == last[1].read_bytes()


@pytest.mark.parametrize("mine", [".git/HEAD", ".env", "checkpoints/best/model.safetensors"])
def test_what_holds_more_than_a_run_s_first_files_is_not_begun_anew(tmp_path, mine):
    run, data = tmp_path / "run", blobs()
    for name in ("config.yaml", mine):
        record.write(run / name, "epochs: 4")
    with pytest.raises(BadInput):
        training.train(network(data), data, out=run, resume="auto", **settings(2))
    assert (run / mine).read_text() == "epochs: 4"


def test_a_run_that_another_process_finished_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    run, data = tmp_path / "run", blobs()
    run.mkdir()
    real = ready.rehearse_update

    def slow(*given: Any) -> None:
        monkeypatch.setattr(ready, "rehearse_update", real)
        training.train(network(data), data, out=run, resume="auto", **settings(2))
        real(*given)

    monkeypatch.setattr(ready, "rehearse_update", slow)
    with pytest.raises(BadInput, match="another process has made meanwhile"):
        training.train(network(data), data, out=run, resume="auto", **settings(2))
    assert (run / "checkpoints" / "last").exists()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until(moment: str, run: Path) -> None:
    """Train, and kill the own process at this moment."""
    torch.set_num_threads(1)
    write, append, point = record.write, record.append, record.link

    def tick(epoch: int, done: int, steps: int) -> None:
        if moment == "in an epoch" and (epoch, done) == (2, 3):
            die()

    def torn(path: Path, content: bytes | str) -> None:
        if moment == "half-written" and "epoch-003" in str(path) and path.name == "state.pt":
            assert isinstance(content, bytes)
            path.write_bytes(content[: len(content) // 2])
            die()
        write(path, content)

    def no_row(path: Path, row: record.Row) -> None:
        append(path, row)
        if moment == "after the row" and row["epoch"] == 3:
            die()

    def no_link(link: Path, target: str) -> None:
        if moment == "before the link" and target == "epoch-003":
            die()
        if moment == "between the links" and link.name == "best":
            die()
        point(link, target)

    record.write, record.append, record.link = torn, no_row, no_link
    training.train(network(blobs()), blobs(), out=run, on_step=tick, **settings())


def killed(moment: str, run: Path) -> None:
    """A run whose process was killed at this moment."""
    process = ELSEWHERE.Process(target=train_until, args=(moment, run))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def same_end(run: Path, straight: Path) -> None:
    """The same weights, raw and averaged, the same optimiser state and the same rows."""
    for name in ("model.safetensors",):
        one, other = (r / "checkpoints" / "last" / name for r in (run, straight))
        assert one.read_bytes() == other.read_bytes()
    states = [
        torch.load(r / "checkpoints" / "last" / "state.pt", weights_only=True)
        for r in (run, straight)
    ]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    clock = {"seconds", "images_per_second"}
    rows = [
        [
            {k: v for k, v in row.items() if k not in clock}
            for row in record.rows(r / "metrics.jsonl")
        ]
        for r in (run, straight)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 4
    best = [(r / "checkpoints" / "best").resolve().name for r in (run, straight)]
    assert best[0] == best[1] == f"epoch-{states[0]['best_epoch']:03d}"


def finish(run: Path, straight: Path) -> None:
    data = blobs()
    training.train(network(data), data, out=run, resume=True, **settings())
    same_end(run, straight)


def test_killed_in_the_middle_of_an_epoch(tmp_path, straight):
    run = tmp_path / "run"
    killed("in an epoch", run)
    assert len(record.rows(run / "metrics.jsonl")) == 2
    finish(run, straight)


@pytest.mark.parametrize(
    "moment", ["half-written", "after the row", "before the link", "between the links"]
)
def test_killed_while_a_checkpoint_is_written(tmp_path, straight, moment):
    run = tmp_path / "run"
    killed(moment, run)
    loaded = models.load(run / "checkpoints" / "last")  # whole, whatever the moment
    assert loaded.card.provenance["epoch"] in (1, 2, 3)
    finish(run, straight)


def test_a_resumed_run_may_go_on_longer(tmp_path):
    data, run = blobs(), tmp_path / "run"
    plain: dict[str, Any] = {"epochs": 2, "batch_size": 40, "precision": "fp32"}
    training.train(network(data), data, out=run, **plain)
    more = training.train(network(data), data, out=run, resume=True, **{**plain, "epochs": 3})
    assert [row["epoch"] for row in more.history] == [1, 2, 3]


def test_a_run_stopped_before_its_first_measurement_has_no_best_yet(tmp_path):
    data, run = blobs(), tmp_path / "run"
    rare: dict[str, Any] = {"adversary": attack.FGSM(radius=0.05), "epochs": 4, "precision": "fp32"}
    rare["watch"] = training.Watch(images=20, every=4)

    def stop(epoch: int, done: int, steps: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(network(data), data, out=run, on_step=stop, **rare)
    with pytest.raises(KeyboardInterrupt):
        training.train(network(data), data, out=run, resume=True, on_step=stop, **rare)
    assert not (run / "checkpoints" / "best").is_symlink()
    trained = training.train(network(data), data, out=run, resume=True, **rare)
    assert trained.best_epoch == 4 and (run / "checkpoints" / "best").exists()


def test_a_run_without_a_checkpoint_is_not_silently_started_again(tmp_path):
    data, run = blobs(), tmp_path / "run"
    plain: dict[str, Any] = {"epochs": 2, "precision": "fp32"}
    training.train(network(data), data, out=run, **plain)
    for path in (run / "checkpoints").iterdir():
        record.remove(path)
    with pytest.raises(BadInput, match="expected a checkpoint"):
        training.train(network(data), data, out=run, resume=True, **plain)
    assert len(record.rows(run / "metrics.jsonl")) == 2
    assert (run / "checkpoints").exists()


def test_a_run_is_not_resumed_shorter_or_on_other_data(tmp_path):
    data, run = blobs(), tmp_path / "run"
    training.train(network(data), data, out=run, epochs=2, precision="fp32")
    with pytest.raises(BadInput, match="2 epochs or more"):
        training.train(network(data), data, out=run, resume=True, epochs=1)
    other = blobs(train=300)
    with pytest.raises(BadInput, match="got other files"):
        training.train(network(data), other, out=run, resume=True, epochs=2)


def test_what_cannot_work_fails_before_an_old_run_is_replaced(tmp_path):
    data, run = blobs(), tmp_path / "run"
    training.train(network(data), data, out=run, epochs=1, precision="fp32")
    too_far = datasets.Augment(crop=9)
    wide = models.create("gupta_cnn", image=data.image, classes=5, widths=(4,), dense=8).body
    tries: list[tuple[Any, dict[str, Any]]] = [
        (network(data), {"augment": too_far}), (wide, {}),
        (network(data), {"objective": feedback.CrossEntropy(weights=(1.0, 2.0))}),
        (network(data), {"objective": feedback.Trades()}),
        (network(data), {"guard": training.Guard(catastrophe="rollback")}),
    ]  # fmt: skip
    for model, settings in tries:
        with pytest.raises(BadInput, match="expected"):
            training.train(model, data, out=run, force=True, epochs=1, **settings)
    assert (run / "checkpoints" / "last" / "model.safetensors").exists()


def test_a_resume_with_another_setting_is_refused(tmp_path):
    data, run = blobs(), tmp_path / "run"
    training.train(network(data), data, out=run, epochs=1, precision="fp32")
    with pytest.raises(BadInput, match=r"got batch_size 7 instead of 128"):
        training.train(network(data), data, out=run, resume=True, epochs=1, batch_size=7)
    tries: list[tuple[dict[str, Any], str]] = [
        ({"optimizer": training.SGD(momentum=0.5)}, r"got optimizer.name sgd instead of \w+;"),
        ({"watch": training.Watch(images=7)}, "got watch.images 7 instead of 1000;"),
        ({"adversary": attack.PGD(radius=0.3)}, r"got adversary \{.* instead of None;"),
    ]
    for settings, said in tries:
        with pytest.raises(BadInput, match=said):
            training.train(network(data), data, out=run, resume=True, epochs=1, **settings)


def test_files_of_ones_own_may_have_moved(tmp_path):
    data, run = dataclasses.replace(blobs(), name="npz:here/x.npz"), tmp_path / "run"
    training.train(network(data), data, out=run, epochs=1, precision="fp32")
    moved = dataclasses.replace(data, name="npz:/there/y.npz", digests={"y.npz": "0"})
    with pytest.raises(BadInput, match="got other files"):
        training.train(network(data), moved, out=run, resume=True, epochs=2)
    moved = dataclasses.replace(moved, digests={f"y {k}": v for k, v in data.digests.items()})
    assert len(training.train(network(data), moved, out=run, resume=True, epochs=2).history) == 2


def test_a_run_of_an_older_version_is_resumed(tmp_path):
    data, run = blobs(), tmp_path / "run"
    training.train(network(data), data, out=run, epochs=1, precision="fp32")
    settings = record.read_yaml(run / "config.yaml")
    del settings["awp"], settings["augment"]["translate"]
    record.write_yaml(run / "config.yaml", settings)
    assert len(training.train(network(data), data, out=run, resume=True, epochs=2).history) == 2
    settings["augment"]["mirrors"] = 3
    record.write_yaml(run / "config.yaml", settings)
    with pytest.raises(BadInput, match="expected the settings"):
        training.train(network(data), data, out=run, resume=True, epochs=3)


@pytest.mark.parametrize("how", [{"resume": True}, {"force": True}])
def test_two_processes_do_not_train_in_one_folder(tmp_path, how):
    data, run = blobs(), tmp_path / "run"
    training.train(network(data), data, out=run, epochs=1, precision="fp32")
    before = (run / "metrics.jsonl").read_text()
    with record.locked(run), pytest.raises(BadInput, match="another process"):
        training.train(network(data), data, out=run, epochs=2, **how)
    assert (run / "metrics.jsonl").read_text() == before
    training.train(network(data), data, out=run, epochs=2, **how)


def test_an_existing_run_is_not_overwritten_unasked(tmp_path):
    data, run = blobs(), tmp_path / "run"
    training.train(network(data), data, out=run, epochs=1, precision="fp32")
    before = (run / "metrics.jsonl").read_text()
    with pytest.raises(BadInput, match="exists"):
        training.train(network(data), data, out=run, epochs=1)
    assert (run / "metrics.jsonl").read_text() == before
    training.train(network(data), data, out=run, epochs=1, force=True, precision="fp32")


def test_a_folder_that_is_no_run_is_never_removed(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / "config.yaml").write_text("rate: 1")  # a name that others use too
    data = blobs()
    with pytest.raises(BadInput, match=r"without config\.yaml and provenance\.json"):
        training.train(network(data), data, out=tmp_path, epochs=1, force=True, precision="fp32")
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_damaged_checkpoint_is_said_in_one_line(tmp_path):
    data, run = blobs(), tmp_path / "run"
    plain: dict[str, Any] = {"epochs": 1, "precision": "fp32"}
    training.train(network(data), data, out=run, **plain)
    for name in ("state.pt", "model.safetensors"):
        file = run / "checkpoints" / "last" / name
        whole = file.read_bytes()
        file.write_bytes(whole[:200])
        with pytest.raises(BadInput, match="damaged") as refusal:
            training.train(network(data), data, out=run, resume=True, **{**plain, "epochs": 2})
        assert "\n" not in str(refusal.value)
        file.write_bytes(whole)


def test_a_full_disk_loses_nothing(tmp_path, straight, monkeypatch):
    data, run = blobs(), tmp_path / "run"
    real = record.write

    def full(path: Path, content: bytes | str) -> None:
        if "epoch-002" in str(path) and path.name == "state.pt":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(record, "write", full)
    with pytest.raises(OSError, match="No space"):
        training.train(network(data), data, out=run, **settings())
    monkeypatch.undo()
    assert [p.name for p in (run / "checkpoints").glob("*epoch*")] == ["epoch-001"]
    finish(run, straight)


def test_a_batch_of_one_image_is_refused_where_it_would_be_normalised(tmp_path):
    data = blobs()
    narrow = models.create("resnet18", image=data.image, classes=3, width=4)
    images = len(data.train)
    with pytest.raises(BadInput, match=f"got 1 of {images} in the last batch of {images - 1}"):
        training.train(narrow, data, epochs=1, batch_size=images - 1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_best_that_is_gone_is_forgotten_where_an_older_checkpoint_goes_on(tmp_path):
    """As where a damaged `last` is led to an older checkpoint, whose best was pruned since."""
    run = tmp_path / "run"
    training.train(network(blobs()), blobs(), out=run, **settings(), keep_every=2)
    place = run / "checkpoints"
    state = torch.load(place / "epoch-002" / "state.pt", weights_only=True)
    torch.save(state | {"best_epoch": 1, "best": 2.0}, place / "epoch-002" / "state.pt")
    record.link(place / "last", "epoch-002")
    record.link(place / "best", "epoch-001")
    shutil.rmtree(place / "epoch-001", ignore_errors=True)
    more = training.train(
        network(blobs()), blobs(), out=run, resume=True, **settings(), keep_every=2
    )
    assert more.best_epoch > 2 and models.load(place / "best")
