"""Files and folders that appear by a rename, or are held by one process.

A reader (or a resumed run) never sees half of one, whatever killed the writer.
"""

import errno
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import BadInput

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write(path: Path, content: bytes | str) -> None:
    """Put `content` at `path` in one step; what was there stays until then.

    Raises OSError where there is no room (the half-written file is removed).
    """
    with _drafted(path, content) as draft:
        draft.replace(path)


def write_new(paths: Iterable[Path], content: bytes | str) -> Path:
    """Put `content` in one step at the first of these paths where nothing is, whatever others write
    there meanwhile. Gives that path; raises OSError as `write`."""
    left = iter(paths)
    path = next(left)
    with _drafted(path, content) as draft:
        while not _placed(draft, path):
            path = next(left)
    return path


@contextmanager
def _drafted(path: Path, content: bytes | str) -> Iterator[Path]:
    """A hidden file with this content beside `path`, gone afterwards unless it was moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    raw = content.encode() if isinstance(content, str) else content
    try:
        with draft.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _placed(draft: Path, path: Path) -> bool:
    """Whether the draft is at `path` now, where nothing was."""
    try:
        os.link(draft, path)
    except OSError:
        if path.exists():
            return False
        draft.replace(path)  # a file system without hard links
    return True


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """A new folder that appears at `path` when the block ends, and not at all if it fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if path.exists():  # a twin from before a kill; nothing points at it yet
            shutil.rmtree(path)
        draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(folder: Path, pattern: str = "*") -> Path | None:
    """Move what a folder holds by this pattern into its next numbered sibling, such as
    `margins-001`, which is given; None where there is nothing."""
    there = sorted(folder.glob(pattern))
    if not there:
        return None
    numbers = (folder.with_name(f"{folder.name}-{number:03d}") for number in itertools.count(1))
    place = next(path for path in numbers if not path.exists())
    place.mkdir()
    for path in there:
        path.replace(place / path.name)
    return place


def link(link: Path, target: str) -> None:
    """Make `link` lead to `target`, a path from its folder, replacing what it led to in one step. A
    folder in its place, as in a copy of a run whose links were followed, becomes the target that is
    missing, or goes once the link stands."""
    draft, aside = (link.with_name(f".{link.name}.{end}") for end in (os.getpid(), "aside"))
    if link.is_dir() and not link.is_symlink():
        place = link.parent / target
        link.replace(aside if place.exists() else place)
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)
    remove(aside)


@contextmanager
def locked(run: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, made where it is missing, while the block runs. Raises BadInput where another
    process holds it and `wait` is off; where the system knows no such lock, nobody is kept out."""
    run.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    place = os.open(run, os.O_RDONLY)
    try:
        try:
            lock(place, wait=wait)
        except BlockingIOError:
            raise BadInput(
                f"expected a run folder at rest, got {run}, in which another process is training; "
                "wait for it, or stop it"
            ) from None
        yield
    finally:
        os.close(place)


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file or folder until it is closed. Whether that was done: not every system and
    file system has locks. Raises BlockingIOError where another process holds it and `wait` is off.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
