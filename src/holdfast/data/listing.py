"""What is on this machine: the table behind `holdfast data`."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.data import imagenet
from holdfast.data.files import Damaged, checked, missing, root_of
from holdfast.data.loading import SIZE
from holdfast.data.sources import SOURCES, Source
from holdfast.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """Whether a data set can be loaded from this machine.

    folder: where its files belong; None for the set that comes with scikit-learn.
    state: "damaged" where a file is not as published and no good copy of it is there.
    detail: what is missing or damaged, or what was found, in words.
    images: train, validation and test together; 0 for imagenet100 where it is not there.
    image: `(channels, height, width)`, by default where there is a choice.
    """

    name: str
    folder: Path | None
    state: Literal["ready", "bundled", "missing", "damaged"]
    detail: str
    classes: int
    images: int
    image: tuple[int, int, int]


def survey(root: Path | str | None = None) -> list[FileStatus]:
    """Every named data set with the state of its files, all of which are read and checked.

    Raises BadInput where the root is not a folder, as `load` does.
    """
    where = root_of(root)
    published = [_status(source, where) for source in SOURCES.values()]
    return [_digits(), *published, _imagenet100(where)]


def _digits() -> FileStatus:
    there = importlib.util.find_spec("sklearn") is not None
    return FileStatus(
        name="digits",
        folder=None,
        state="bundled" if there else "missing",
        detail="comes with scikit-learn" if there else "pip install scikit-learn",
        classes=10,
        images=1_797,
        image=(1, 8, 8),
    )


def _imagenet100(root: Path) -> FileStatus:
    """Its images are counted, not read: no digests were published."""
    absent, images = imagenet.missing(root), 0
    state, detail = "missing", f"{len(absent)} of 200 folders missing"
    if not absent:
        try:
            images = sum(map(len, imagenet.imagenet100(root).splits))
            state, detail = "ready", "200 folders, not checked"
        except BadInput as error:
            state, detail = "damaged", str(error)
    return FileStatus(
        name=imagenet.NAME,
        folder=imagenet.imagenet(root),
        state=state,
        detail=detail,
        classes=100,
        images=images,
        image=(3, SIZE, SIZE),
    )


def _status(source: Source, root: Path) -> FileStatus:
    state, detail = _state(source, root)
    return FileStatus(
        name=source.name,
        folder=root / source.folder,
        state=state,
        detail=detail,
        classes=source.classes,
        images=source.images,
        image=source.image,
    )


def _state(source: Source, root: Path) -> tuple[Literal["ready", "missing", "damaged"], str]:
    folder = root / source.folder
    absent = missing(source, root)
    damage, size = [], 0
    for part in source.parts():
        if part not in absent:
            found = _examined(source, folder, part)
            size += found if isinstance(found, int) else 0
            damage += [found] if isinstance(found, str) else []
    if damage:
        return "damaged", "; ".join(damage)
    if absent:
        return "missing", f"no {', '.join(absent)}"
    return "ready", f"{len(source.parts())} files, {size / 2**20:.1f} MiB, as published"


def _examined(source: Source, folder: Path, part: str) -> int | str:
    """The bytes of a part's first good file, or what is wrong with the first bad one."""
    problems = []
    for name in source.parts()[part]:
        try:
            return len(checked(source, folder / name))
        except FileNotFoundError:
            continue
        except Damaged as damage:
            problems.append(str(damage))
    return problems[0]
