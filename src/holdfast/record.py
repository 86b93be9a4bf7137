"""What is written to disk, and how: whole or not at all.

Every file and every checkpoint folder appears by a rename, so a reader (or a resumed run) never
sees half of one, whatever killed the writer.
"""

import dataclasses
import datetime
import errno
import functools
import inspect
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from holdfast.errors import BadInput

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None

Row = dict[str, Any]
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write(path: Path, content: bytes | str) -> None:
    """Put `content` at `path` in one step; what was there stays until then.

    Raises OSError where there is no room (the half-written file is removed).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    raw = content.encode() if isinstance(content, str) else content
    try:
        with draft.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


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


def point(link: Path, target: str) -> None:
    """Make `link` lead to its sibling `target`, replacing what it led to in one step. A folder in
    its place, as in a copy of a run whose links were followed, becomes the target that is missing,
    or goes once the link stands."""
    draft, aside = (link.with_name(f".{link.name}.{end}") for end in (os.getpid(), "aside"))
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    if link.is_dir() and not link.is_symlink():
        place = link.with_name(target)
        link.replace(aside if place.exists() else place)
    draft.replace(link)
    remove(aside)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one row to a file of JSON lines, in a single write.

    A last line torn by a kill is ended first, so that it cannot swallow the new row.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write((json.dumps(row) + "\n").encode())


def rows(path: Path) -> list[Row]:
    """The rows of a file of JSON lines; lines torn by a kill are left out. No file: no rows."""
    if not path.exists():
        return []
    found = []
    for line in _lines(path):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def keep_rows(path: Path, wanted: Callable[[Row], bool]) -> None:
    """Drop the rows that are not wanted, and a last line torn by a kill, atomically.

    Raises BadInput, and leaves the file as it is, where any other line is no row.
    """
    lines = _lines(path) if path.exists() else []
    kept = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip() and wanted(json.loads(line)):
                kept.append(line.rstrip("\n") + "\n")
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and not line.endswith("\n"):
                break
            raise BadInput(
                f"expected a row of JSON in line {number} of {path}, got {line.strip()!r:.60}; "
                "mend or delete that line"
            ) from None
    write(path, "".join(kept))


def _lines(path: Path) -> list[str]:
    """Lines with their ends; bytes that are no text stand as question marks."""
    return path.read_bytes().decode(errors="replace").splitlines(keepends=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put a value at `path` as JSON, in one step."""
    write(path, json.dumps(plain(value), indent=2) + "\n")


def read_json(path: Path) -> Row:
    """A JSON file as a dictionary. Raises BadInput where it is broken."""
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise BadInput(f"expected JSON in {path}, got a damaged file ({error})") from None


def clear(run: Path) -> None:
    """Empty a run folder. Raises BadInput where it is no run folder."""
    there = list(run.iterdir()) if run.exists() else []
    heads = ("config.yaml", "provenance.json")  # the first is a common name
    if there and not all((run / head).exists() for head in heads):
        raise BadInput(f"expected a run folder to replace, got {run} without {' and '.join(heads)}")
    for path in there:
        remove(path)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold a folder while the block runs. Raises BadInput where another process holds it; where
    the system knows no such lock, nobody is kept out."""
    if fcntl is None:
        yield
        return
    place = os.open(run, os.O_RDONLY)
    try:
        try:
            lock(place, wait=False)
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


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Put options at `path` as YAML, in one step."""
    write(path, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True))


def read_yaml(path: Path) -> Row:
    """A YAML file as a dictionary. Raises BadInput where it is missing, broken or no mapping."""
    try:
        value = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"expected a YAML file at {path}, got none; check the path") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise BadInput(
            f"expected a YAML file at {path}, got: {error.strerror}; check the path"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        cause = " ".join(str(error).split())
        raise BadInput(f"expected YAML in {path}, got: {cause}; mend the file") from None
    if not isinstance(value, dict):
        raise BadInput(
            f"expected `option: value` lines in {path}, got {value!r:.60}; mend the file"
        )
    return {str(key): item for key, item in value.items()}


def plain(value: object) -> Any:
    """A setting as JSON and YAML know it.

    A dataclass becomes `{"name": ..., field: ...}`, its name the one of the command line where
    it has one (`name` as a class attribute), else that of its class; a class of one's own is
    `MODULE:NAME`, and where it is no dataclass, its fields are the attributes that are called as
    its parameters. A field with `repr=False` is no setting, and is left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = [f.name for f in dataclasses.fields(value) if f.repr]
        return {"name": _called(type(value))} | {key: plain(getattr(value, key)) for key in kept}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if inspect.isfunction(value):
        return f"{value.__module__}:{value.__qualname__}"
    if inspect.ismethod(value):
        return {"name": plain(value.__func__), "of": plain(value.__self__)}
    if isinstance(value, functools.partial):
        return {"name": plain(value.func), "given": plain([*value.args, value.keywords])}
    if type(value).__repr__ is object.__repr__:  # which names an address
        held = {k: getattr(value, k) for k in _parameters(type(value)) if hasattr(value, k)}
        return {"name": _called(type(value))} | plain(held)
    return repr(value)


def _parameters(kind: type) -> Iterable[str]:
    """Of its constructor; none where that does not say them."""
    try:
        return inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return ()


def _called(kind: type) -> str:
    """How the command line calls a class; `MODULE:NAME` where it is not one of holdfast."""
    if kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return f"{kind.__module__}:{kind.__qualname__}"
    return str(getattr(kind, "name", kind.__name__))


def provenance(**more: object) -> Row:
    """Who made this, with what, where and when: stored beside every result."""
    return {
        "holdfast": version(),
        "commit": commit(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": cpu(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    } | plain(more)


def version() -> str:
    """The installed version of holdfast."""
    from importlib.metadata import version as of

    return of("holdfast")


@functools.cache
def commit() -> str | None:
    """The commit of the source tree the package runs from; `+` marks uncommitted changes."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", Path(__file__).name):
            return None  # installed inside somebody else's repository
        changed = "+" if git("status", "--porcelain", "--untracked-files=no", ".") else ""
        return git("rev-parse", "--short=12", "HEAD") + changed
    except OSError:  # no git on this machine
        return None


@functools.cache
def cpu() -> str:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores"
        if hasattr(os, "sched_getaffinity")
        else name
    )
