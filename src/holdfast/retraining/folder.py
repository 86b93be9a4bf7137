"""The run folder of rounds of retraining: entered once, replaced when a round takes its place."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from holdfast import record
from holdfast.errors import BadInput
from holdfast.team import Team

DRAFTS = "drafts"  # of searches, and the sign of rounds that are under way
HELD = ".drafts"  # the same while the rounds that are there have not been replaced


@contextmanager
def opened(out: Path | None, force: bool, team: Team) -> Iterator[None]:
    """The folder for the rounds, held while the block runs; with `force` what is there gives way,
    and comes back where the block fails before the folder is `settled`. Raises BadInput where it
    holds other things, or finished rounds and there is no `force`, or another process has it."""
    with ExitStack() as held:
        if out is not None:
            team.gather_or_raise(partial(_taken, out, force, team, held))
        yield


def drafts(out: Path) -> Path:
    """Where searches are kept on the way. A call that fails leaves them for the next one; while old
    rounds are still being replaced, only a call with `force` sees them."""
    replacing = (out / record.REPLACED).exists() and not (out / DRAFTS).exists()
    return out / (HELD if replacing else DRAFTS)


def settled(out: Path) -> None:
    """A first round has taken the place of what was there."""
    if (out / DRAFTS).exists():
        record.remove(out / HELD)
    elif (out / HELD).exists():
        (out / HELD).replace(out / DRAFTS)
    record.settled(out)


def cleared(out: Path) -> None:
    """All rounds are done."""
    for name in (DRAFTS, HELD):
        record.remove(out / name)


def _taken(out: Path, force: bool, team: Team, held: ExitStack) -> None:
    """The folder is there, and no other process's until `held` is left."""
    if not team.leads:
        return
    if out.exists() and not out.is_dir():
        raise BadInput(f"expected a folder for the rounds, got {out}, which is none")
    record.recovered(out)
    held.enter_context(record.locked(out))
    if (out / record.REPLACED).exists() and (out / record.ROUNDS).exists():
        settled(out)  # by a call that was killed there
    _require_folder(out, force)
    if force:
        held.enter_context(record.replacing(out, spared=(DRAFTS, HELD)))


def _require_folder(out: Path, force: bool) -> None:
    """Raises BadInput, as `opened` says."""
    there = {path.name for path in out.iterdir()}
    begun = DRAFTS in there and record.REPLACED not in there
    others = {name for name in there - {DRAFTS} if name[0] != "."}
    if (others or record.REPLACED in there) and not (force or begun):
        raise BadInput(f"expected a new folder for the rounds, got {out}; say --force")
    if record.REPLACED in there:
        others = {path.name for path in (out / record.REPLACED).iterdir()}
    if others and not any(name == record.ROUNDS or name.startswith("round-") for name in others):
        raise BadInput(f"expected a retrained run to replace, got {out}, which holds other things")
