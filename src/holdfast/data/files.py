"""Where data files are looked for, what is checked before they are read, and fetching them."""

import contextlib
import gzip
import importlib
import io
import os
import socket
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from holdfast.data.arrays import md5
from holdfast.data.sources import Source
from holdfast.errors import BadInput, cause

VARIABLE = "HOLDFAST_DATA"
PATIENCE = 20.0  # seconds without an answer after which a download counts as failed


class Damaged(Exception):
    """A file is there but is not the published one; the text says what was expected and found."""


def root_of(root: Path | str | None = None) -> Path:
    """The folder of data sets: the argument, else HOLDFAST_DATA, else the user's cache.

    Raises BadInput where one of the first two is not a folder. The cache may not exist yet.
    """
    said = root or os.environ.get(VARIABLE)
    if not said:
        return cache()
    folder = Path(said).expanduser()
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing there"
        where = "as the data root" if root else f"in {VARIABLE}"
        raise BadInput(f"expected a folder {where}, got {what}: {folder}; create it or correct it")
    return folder


def cache() -> Path:
    """holdfast's folder in the user's cache; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast"


def content(source: Source, root: Path, part: str) -> tuple[str, bytes]:
    """The name of the file that holds a part, and its unpacked bytes.

    Where X and X.gz are both there, the first good one is used. Raises BadInput where the file is
    missing or no copy is as published.
    """
    problems = []
    for name in source.parts()[part]:
        path = root / source.folder / name
        try:
            return name, _unpacked(checked(source, path), path)
        except FileNotFoundError:
            continue
        except Damaged as damage:
            problems.append(str(damage))
    if problems:
        raise BadInput(f"{problems[0]}; delete the file and fetch it again")
    raise _absent(source, root, part, "nothing there")


def checked(source: Source, path: Path) -> bytes:
    """The bytes of a file, as published. Raises Damaged, or FileNotFoundError."""
    stamp = source.files[path.name]
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"expected a readable file at {path}, got: {error.strerror}") from None
    if len(raw) != stamp.size:
        raise Damaged(f"expected {stamp.size:,} bytes in {path}, got {len(raw):,}")
    if stamp.md5 is not None and (found := md5(raw)) != stamp.md5:
        raise Damaged(f"expected MD5 {stamp.md5} of {path}, got {found}")
    return raw


def missing(source: Source, root: Path) -> list[str]:
    """The parts of which no file is there, whatever is in the files that are."""
    folder = root / source.folder
    parts = source.parts().items()
    return [part for part, names in parts if not any((folder / name).exists() for name in names)]


def fetch(source: Source, root: Path) -> None:
    """Let torchvision download what is missing into the root; no other file is touched.

    Raises BadInput, in one line, whatever goes wrong.
    """
    needed = missing(source, root)
    try:
        datasets = _torchvision()
    except Exception as error:
        raise _absent(
            source,
            root,
            needed[0],
            f"nothing there and no torchvision to download it ({cause(error)})",
        ) from None
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as draft, _quietly():
            getattr(datasets, source.torchvision)(draft, download=True)
            _move(source, Path(draft), root, needed)
    except Exception as error:
        tried = f"nothing there, and torchvision's download failed ({cause(error)})"
        raise _absent(source, root, needed[0], tried) from None


def _torchvision() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("torchvision.datasets")


def _move(source: Source, draft: Path, root: Path, needed: list[str]) -> None:
    folder = root / source.folder
    folder.mkdir(parents=True, exist_ok=True)
    for part in needed:
        for name in source.parts()[part]:
            fresh = draft / source.folder / name
            if fresh.exists():
                fresh.replace(folder / name)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """No progress bars, no warnings, and an end to waiting for a network that never answers."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    sink = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)


def _unpacked(raw: bytes, path: Path) -> bytes:
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"expected a whole gzip file at {path}, got: {cause(error)}") from None


def _absent(source: Source, root: Path, part: str, got: str) -> BadInput:
    names = " or ".join(source.parts()[part])
    return BadInput(
        f"expected {names} of {source.name} in {root / source.folder}, got {got}; put the files "
        f"there, name another folder with --data-root or {VARIABLE}, or download them with "
        "pip install 'holdfast[vision]'"
    )
