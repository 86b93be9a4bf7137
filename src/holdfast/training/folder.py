"""The run folder of a training run: checked before, opened once, never overwritten unasked."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from holdfast import model as models
from holdfast import own, record
from holdfast.data import Dataset
from holdfast.errors import BadInput
from holdfast.team import Team
from holdfast.training import checkpoint
from holdfast.training.checkpoint import Session
from holdfast.training.recipe import Recipe

log = logging.getLogger("holdfast")
FREE = {"epochs", "precision", "device", "weights"}  # may differ when a run is resumed

Start = Literal["new", "replace", "begin again", "resume"]


def entry_mode(run: Path | None, resume: Any, force: bool) -> Start:
    """How a run folder is entered.

    `new`: nothing may be there; `replace`: whatever run is there goes; `resume`: behind its last
    checkpoint. With resume="auto" a run that has a checkpoint is resumed, and one that was stopped
    before its first is to `begin again`. Raises BadInput for another word.
    """
    if resume not in (True, False, "auto"):
        raise BadInput(f"expected resume as True, False or 'auto', got {resume!r:.60}")
    if resume and resume != "auto":
        return "resume"
    if force:
        return "replace"
    if resume != "auto" or run is None:
        return "new"
    if _trained(run):
        return "resume"
    return "begin again" if has_no_checkpoint(run) else "new"


def _trained(run: Path) -> bool:
    """Whether there is a checkpoint, of whatever name."""
    return any((run / record.CHECKPOINTS).glob("[!.]*"))


def has_no_checkpoint(run: Path) -> bool:
    """Whether a folder holds only what a run has before its first checkpoint, files that were being
    written among it."""
    known = {record.CONFIG, record.PROVENANCE, record.METRICS, record.CHECKPOINTS, "tensorboard",
             "report.html", record.REPLACED, record.SETTLED}  # fmt: skip
    if not run.is_dir() or _trained(run):
        return False
    there = [re.sub(r"^\.(.+)\.\d+$", r"\1", path.name) for path in run.iterdir()]
    return all(name in known for name in there)


def require_resumable(
    run: Path | None, recipe: Recipe, data: Dataset, network: models.Network, start: Start
) -> Recipe:
    """Check the folder before anything is done; a resumed run keeps the precision it measured."""
    if run is None:
        if start == "resume":
            raise BadInput("expected the folder of the run to resume in `out`, got none")
        return recipe
    if start == "resume":
        before = record.read_yaml(run / record.CONFIG)
        _require_same(before, config(recipe, data, network), run)
        _require_going_on(before, recipe, data, run)
        return replace(recipe, precision=before.get("precision", "auto"))
    if run.exists() and start == "new":
        raise BadInput(
            f"expected a new run folder, got {run}, which exists; continue it with --resume "
            "(resume=True or 'auto' in Python), replace it with --force, or choose another with "
            "--out"
        )
    return recipe


def config(recipe: Recipe, data: Dataset, network: models.Network) -> record.Row:
    """What `holdfast train --config` reads: data, model and every setting."""
    card = network.card
    head = {
        "data": data.name,
        "image_size": data.resized,
        "model": {"name": card.architecture} | record.plain(card.options),
        "normalize": bool(card.mean),
    }
    start = {"weights": card.provenance["weights"]} if "weights" in card.provenance else {}
    return head | start | {name: record.plain(value) for name, value in recipe.__dict__.items()}


@contextmanager
def opened(
    run: Path | None, recipe: Recipe, data: Dataset, session: Session, start: Start, team: Team
) -> Iterator[None]:
    """The run's folder, held while the block runs: with a new head, or gone back to its last
    checkpoint, the rows past it dropped; a run that is replaced comes back where the block fails
    before its first checkpoint. Raises BadInput where another process holds it."""
    with ExitStack() as held:
        if run is not None:
            team.gather_or_raise(partial(_taken, run, start, team, held))
            if start == "resume":
                checkpoint.restore(session, run)
            team.barrier()  # all have read before one writes
            team.gather_or_raise(partial(_begun, run, recipe, data, session, start, team))
        yield


def _taken(run: Path, start: Start, team: Team, held: ExitStack) -> None:
    """The folder is there, and no other process's until `held` is left."""
    if not team.leads:
        return
    if start != "resume":
        _make(run, exist_ok=start != "new")
    held.enter_context(record.locked(run))
    if start == "replace":
        _require_run(run)
        held.enter_context(record.replacing(run))
    if start == "begin again" and not has_no_checkpoint(run):
        raise BadInput(
            f"expected {run} to be without a checkpoint, got one that another process has made "
            "meanwhile; say the same again to go on behind it"
        )


def _require_run(run: Path) -> None:
    """Raises BadInput for a folder, not empty, that is no run's."""
    heads = {record.CONFIG, record.PROVENANCE}  # the first is a common name
    aside = run / record.REPLACED
    there = {path.name for path in (aside if aside.exists() else run).glob("[!.]*")}
    if there and not heads <= there:
        named = f"{record.CONFIG} and {record.PROVENANCE}"
        raise BadInput(f"expected a run folder to replace, got {run} without {named}")


def _begun(
    run: Path, recipe: Recipe, data: Dataset, session: Session, start: Start, team: Team
) -> None:
    if not team.leads:
        return
    if start == "begin again":
        for path in run.iterdir():
            if path.name != record.REPLACED:
                record.remove(path)
    past = _taken_up(run, session) if start == "resume" else []
    _write_head(run, recipe, data, session, past)


def _write_head(
    run: Path, recipe: Recipe, data: Dataset, session: Session, past: list[record.Row]
) -> None:
    before = record.read_yaml(run / record.CONFIG) if past else {}
    kept = {"weights": before["weights"]} if "weights" in before else {}
    settings = config(recipe, data, session.model) | kept
    code = own.digests(settings)
    _warn_of_code(run, settings, code, past)
    record.write_yaml(run / record.CONFIG, settings)
    head = record.provenance(
        seed=recipe.seed, device=recipe.device, digests=data.digests, code=code,
        resumed_at=session.epoch, before=past,
    )  # fmt: skip
    record.write_json(run / record.PROVENANCE, head)


def _warn_of_code(
    run: Path, settings: record.Row, code: dict[str, str], past: list[record.Row]
) -> None:
    """Says what cannot be found again by its name, and which modules of one's own have changed
    since the run was last at work."""
    for name in re.findall(r'"(\S+:\S*<\w+>\S*)"', json.dumps(settings)):
        log.warning("%s cannot be imported by its name: a resumed run takes what it is given "
                    "in its place; name it in a module", name)  # fmt: skip
    before = past[-1].get("code", {}) if past else {}
    for name in (name for name, one in code.items() if before.get(name, one) != one):
        log.warning("the code of %s has changed since %s was last trained", name, run)


def _taken_up(run: Path, session: Session) -> list[record.Row]:
    """Drop what lies past the last checkpoint, and what the run has replaced; who made it so far,
    and when."""
    record.settled(run)
    checkpoint.tidy(session, run)
    record.keep_rows(run / record.METRICS, lambda row: row["epoch"] <= session.epoch)
    head = run / record.PROVENANCE
    if not head.exists():
        return []
    last = record.read_json(head)
    return [*last.pop("before", []), last]


def _make(run: Path, exist_ok: bool) -> None:
    """Make the folder. Raises BadInput where another run has made it meanwhile."""
    try:
        run.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        got = "which another run has just made" if run.is_dir() else "which is no folder"
        raise BadInput(
            f"expected a new run folder, got {run}, {got}; choose another with --out"
        ) from None


def changed_since(run: Path, data: Dataset) -> str | None:
    """The first file of the data that is another than the run was started with, if it says so."""
    head = run / record.PROVENANCE
    digests = record.read_json(head).get("digests") if head.exists() else None
    return data.changed(digests) if isinstance(digests, dict) else None


def _require_going_on(before: record.Row, recipe: Recipe, data: Dataset, run: Path) -> None:
    """Raises BadInput where a resumed run would be shorter, or of data that have changed."""
    if not isinstance(done := before.get("epochs"), int):
        raise BadInput(f"expected a number of epochs in {run / 'config.yaml'}, got {done}; mend it")
    if recipe.epochs < done:
        raise BadInput(f"expected {done} epochs or more for {run}, got {recipe.epochs}")
    if changed_since(run, data):
        raise BadInput(
            f"expected the data that {run} was started with, got other files; start anew"
        )


def _require_same(before: record.Row, now: record.Row, run: Path) -> None:
    """Raises BadInput naming the first setting in which a resumed run would differ; options that
    the run's version did not know were not recorded."""
    for name in sorted({*before} - FREE):
        found = _changed(name, before[name], now.get(name))
        if found and not _moved(name, before[name], now.get(name)):
            setting, was, got = found
            raise BadInput(
                f"expected the settings that {run} was started with, got {setting} {got} instead "
                f"of {was}; start a new run for other ones"
            )


def _moved(name: str, before: object, now: object) -> bool:
    """Whether it is the same under another name: a user's files, which digests identify, and a
    network of the user's own, of which the weights tell whether it is the same."""
    if name == "data" and isinstance(before, str) and isinstance(now, str):
        kind, own, _ = before.partition(":")
        return bool(own) and now.startswith(f"{kind}:")
    return name == "model" and _own_code(before) and _own_code(now)


def _own_code(model: object) -> bool:
    """Whether a network is the user's own, built in Python or by a function without options."""
    return (
        isinstance(model, dict) and model.keys() == {"name"} and models.is_own(str(model["name"]))
    )


def _changed(name: str, before: object, now: object) -> tuple[str, object, object] | None:
    """The first setting, at any depth, that is not as it was, and both its values; a function of
    one's own may have been named alone, or with its options."""
    if isinstance(before, str) and isinstance(now, dict) and ":" in before:
        before = {"name": before}
    if isinstance(now, str) and isinstance(before, dict) and ":" in now:
        now = {"name": now}
    if isinstance(before, dict) and isinstance(now, dict):
        inner = (_changed(f"{name}.{key}", one, now.get(key)) for key, one in before.items())
        return next(filter(None, inner), None)
    return None if before == now else (name, before, now)
