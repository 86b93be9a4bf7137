"""A folder whose content gives way to another, and comes back unless that is complete.

Whenever a call is killed, two names tell the state of the folder:

- `.replacing/` is there: a move was interrupted; the old content is split between it and the
  folder.
- `.replaced/` is there: it holds all of the old content, and everything else is new.
- neither: nothing is pending. `.settled/` is garbage, to be deleted.
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.record.files import locked, remove

REPLACING, REPLACED, SETTLED = ".replacing", ".replaced", ".settled"


@contextmanager
def replacing(run: Path, spared: Collection[str] = ()) -> Iterator[None]:
    """Empty a folder, but for the names that are spared, for what the block writes; where that
    fails before the folder is `settled`, it is as it was, which the error's notes tell."""
    put_back(run, spared)
    try:
        _put_aside(run, spared)
        yield
    except BaseException as error:
        if put_back(run, spared):
            error.add_note(f"what was in {run} is back there")
        raise
    settled(run)


def put_back(run: Path, spared: Collection[str] = ()) -> bool:
    """Whether something had been put aside that has not been replaced, and is now where it was."""
    aside, moving = run / REPLACED, run / REPLACING
    shutil.rmtree(run / SETTLED, ignore_errors=True)
    if aside.exists():
        for path in run.iterdir():
            if path.name not in (REPLACED, *spared):
                remove(path)
        aside.replace(moving)
    return _mended(run)


def _mended(run: Path) -> bool:
    """Whether a call was killed while it moved things aside or back, which now are where they
    were."""
    moving = run / REPLACING
    if not moving.exists():
        return False
    for path in moving.iterdir():
        path.replace(run / path.name)
    moving.rmdir()
    return True


def recovered(run: Path) -> None:
    """Things that a call was killed moving aside or back are where they were. For a folder that is
    not held: raises BadInput where a process does."""
    if (run / REPLACING).exists():
        with locked(run):
            _mended(run)


def settled(run: Path) -> None:
    """What was there before is not needed any more."""
    gone = run / SETTLED
    shutil.rmtree(gone, ignore_errors=True)
    if (run / REPLACED).exists() and not gone.exists():
        (run / REPLACED).replace(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _put_aside(run: Path, spared: Collection[str]) -> None:
    moving = run / REPLACING
    if there := [path for path in run.iterdir() if path.name not in spared]:
        moving.mkdir()
        for path in there:
            path.replace(moving / path.name)
        moving.replace(run / REPLACED)
