"""The run folder of rounds of retraining: entered once, replaced when something takes its place."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from holdfast import record
from holdfast.errors import BadInput
from holdfast.team import Team

DRAFTS = "drafts"
HELD = ".drafts"  # of a call that was to replace what is there, and was stopped


@contextmanager
def opened(out: Path | None, force: bool, team: Team) -> Iterator[None]:
    """The folder for the rounds, held while the block runs; with `force` what is there gives way,
    and comes back where the block fails before its first round is done. Raises BadInput where it
    holds other things, or finished rounds and there is no `force`, or another process has it."""
    with ExitStack() as held:
        if out is not None:
            team.agreed(partial(_taken, out, force, team, held))
        yield


def _taken(out: Path, force: bool, team: Team, held: ExitStack) -> None:
    """The folder is there, and no other process's until `held` is left."""
    if not team.leads:
        return
    _require_folder(out, force)
    held.enter_context(record.alone(out))
    if force:
        held.enter_context(_replaced(out))


def _require_folder(out: Path, force: bool) -> None:
    """Raises BadInput, as `opened` says. Where a killed call has begun the rounds, its drafts
    tell."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"expected a folder for the rounds, got {out}, which is none")
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    begun = DRAFTS in there
    there -= {DRAFTS, HELD}
    if there and not (force or begun):
        raise BadInput(f"expected a new folder for the rounds, got {out}; say --force")
    known = {record.ROUNDS, record.REPLACED}
    if there and not any(name in known or name.startswith("round-") for name in there):
        raise BadInput(f"expected a retrained run to replace, got {out}, which holds other things")


@contextmanager
def _replaced(out: Path) -> Iterator[None]:
    """As `opened` says; what a call has searched that fails is held for the next one with force."""
    drafts, ours = out / DRAFTS, (out / record.REPLACED).exists()
    begun = drafts.exists() and not ours  # by the rounds that give way
    if (out / HELD).exists() and not drafts.exists():
        (out / HELD).replace(drafts)
    with record.replaced(out, spared=DRAFTS):
        try:
            yield
        except BaseException:
            if (out / record.REPLACED).exists() and drafts.exists() and not begun:
                drafts.replace(out / HELD)
            raise
