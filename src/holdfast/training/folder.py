"""The run folder of a training run: checked before, opened once, never overwritten unasked."""

from dataclasses import replace
from pathlib import Path

from holdfast import model as models
from holdfast import record
from holdfast.data import Dataset
from holdfast.errors import BadInput
from holdfast.team import Team
from holdfast.training import checkpoint
from holdfast.training.checkpoint import Session
from holdfast.training.recipe import Recipe

FREE = {"epochs", "precision", "device"}  # may differ when a run is resumed


def prepare(
    run: Path | None, recipe: Recipe, data: Dataset, network: models.Network,
    resume: bool, force: bool,
) -> Recipe:  # fmt: skip
    """Check the folder before anything is done; a resumed run keeps the precision it measured."""
    if run is None:
        if resume:
            raise BadInput("expected the folder of the run to resume in `out`, got none")
        return recipe
    if resume:
        before = record.read_yaml(run / "config.yaml")
        _require_same(before, config(recipe, data, network), run)
        _require_going_on(before, recipe, data, run)
        return replace(recipe, precision=before.get("precision", "auto"))
    if run.exists() and not force:
        raise BadInput(
            f"expected a new run folder, got {run}, which exists; continue it with --resume, "
            "replace it with --force, or choose another with --out"
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
    return head | {name: record.plain(value) for name, value in recipe.__dict__.items()}


def open_run(
    run: Path, recipe: Recipe, data: Dataset, session: Session, resume: bool, force: bool,
    team: Team,
) -> None:  # fmt: skip
    """Write the run's head, or go back to its last checkpoint and drop the rows past it."""
    if resume:
        checkpoint.restore(session, run)
    team.same(None)  # all have read before one writes

    def written() -> None:
        if team.leads:
            past = _taken_up(run, session) if resume else _claimed(run, force)
            _write_head(run, recipe, data, session, past)

    team.agreed(written)


def _write_head(
    run: Path, recipe: Recipe, data: Dataset, session: Session, past: list[record.Row]
) -> None:
    record.write_yaml(run / "config.yaml", config(recipe, data, session.model))
    head = record.provenance(
        seed=recipe.seed, device=recipe.device, digests=data.digests, resumed_at=session.epoch,
        before=past,
    )  # fmt: skip
    record.write_json(run / "provenance.json", head)


def _taken_up(run: Path, session: Session) -> list[record.Row]:
    """Drop what lies past the last checkpoint; who made the run so far, and when."""
    checkpoint.tidy(session, run)
    record.keep_rows(run / "metrics.jsonl", lambda row: row["epoch"] <= session.epoch)
    head = run / "provenance.json"
    if not head.exists():
        return []
    last = record.read_json(head)
    return [*last.pop("before", []), last]


def _claimed(run: Path, force: bool) -> list[record.Row]:
    """Make the folder, or empty it. Raises BadInput where another run has made it meanwhile."""
    if force:
        record.clear(run)
    try:
        run.mkdir(parents=True, exist_ok=force)
    except FileExistsError:
        raise BadInput(
            f"expected a new run folder, got {run}, which another run has just made; "
            "choose another with --out"
        ) from None
    return []


def _require_going_on(before: record.Row, recipe: Recipe, data: Dataset, run: Path) -> None:
    """Raises BadInput where a resumed run would be shorter, or of data that have changed."""
    if not isinstance(done := before.get("epochs"), int):
        raise BadInput(f"expected a number of epochs in {run / 'config.yaml'}, got {done}; mend it")
    if recipe.epochs < done:
        raise BadInput(f"expected {done} epochs or more for {run}, got {recipe.epochs}")
    head = run / "provenance.json"
    digests = record.read_json(head).get("digests") if head.exists() else None
    if digests not in (None, data.digests):
        raise BadInput(
            f"expected the data that {run} was started with, got other files; start anew"
        )


def _require_same(before: record.Row, now: record.Row, run: Path) -> None:
    """Raises BadInput naming the first setting in which a resumed run would differ."""
    for name in sorted({*before, *now} - FREE):
        if before.get(name) != now.get(name):
            raise BadInput(
                f"expected the settings that {run} was started with, got {name} "
                f"{now.get(name)} instead of {before.get(name)}; start a new run for other ones"
            )
