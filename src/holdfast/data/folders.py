"""Images in folders: which files there are, of which class, in which split. Nothing is decoded.

The layout is that of torchvision's ImageFolder: `train/CLASS/FILE`, and `val` and `test` likewise,
or class folders alone.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.data.dataset import held_out
from holdfast.errors import BadInput, suggest

PARTS = ("train", "val", "test")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
OTHERS = (".tif", ".tiff", ".ppm", ".pgm", ".gif")  # images too, but none that are read
log = logging.getLogger("holdfast")


@dataclass(frozen=True, eq=False, kw_only=True)
class Files:
    """Image files of one split.

    names: paths from the root on, `[n]`.
    y: labels, `[n]`.
    index: position of each file among all those that the split was taken from, `[n]`.
    """

    names: np.ndarray
    y: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def only(self, rows: np.ndarray) -> "Files":
        """The chosen rows, a mask `[n]`."""
        return Files(names=self.names[rows], y=self.y[rows], index=self.index[rows])


@dataclass(frozen=True, eq=False, kw_only=True)
class Tree:
    """The image files under a root, in three splits."""

    root: Path
    class_names: tuple[str, ...]
    train: Files
    validation: Files
    test: Files

    @property
    def splits(self) -> tuple[Files, Files, Files]:
        return self.train, self.validation, self.test


def read_tree(root: Path, *, parts: Sequence[str] = PARTS, only: Sequence[str] = ()) -> Tree:
    """The image files in a folder, split by fixed rules; of its parts, those in `parts` count.

    Test is `test`, else `val`, else a tenth of each class; validation is `val` where there is a
    `test` too, else a tenth of each class of what is left. Classes are the folders of train in
    the order of their names, or those in `only`, others being passed over; files are in the order
    of class and name. Hidden files and other kinds of files are passed over, with a warning folders
    beside train and, in those of classes, folders and images of other kinds. Raises BadInput where
    that leaves a split or a class without images, or where val or test have a class of their own.
    """
    root = root.resolve()
    parts = [part for part in parts if (root / part).is_dir()]
    if parts and "train" not in parts:
        raise BadInput(f"expected a folder train beside {parts[0]} in {root}, got none; add it")
    base = "train" if parts else ""
    class_names = tuple(only) or _classes(root / base)
    if not only:
        _require_known(root, parts, class_names)
    if parts and not only and (others := sorted({*_folders(root)} - {*PARTS})):
        log.warning("passed over in %s: %s; its parts are %s", root, ", ".join(others),
                    ", ".join(PARTS))  # fmt: skip
    test = "test" if "test" in parts else "val" if "val" in parts else None
    validation = "val" if test == "test" and "val" in parts else None
    rest = _listed(root, base, class_names)
    _require_all(rest, root / base, class_names)
    found: dict[str, Files] = {}
    for split, part in (("test", test), ("validation", validation)):
        if part:
            found[split] = _listed(root, part, class_names)
        else:
            held = held_out(rest.y, rest.index, tenths=1)
            found[split], rest = rest.only(held), rest.only(~held)
        if not len(found[split]):
            raise BadInput(f"expected images for {split} in {root}, got none to spare; add some")
    return Tree(root=root, class_names=class_names, train=rest, **found)


def _classes(folder: Path) -> tuple[str, ...]:
    """The folders in a folder, hidden ones left out. Raises BadInput where they are under two."""
    try:
        names = _folders(folder)
    except OSError as error:
        raise BadInput(
            f"expected a folder of images at {folder}, got: {error.strerror}; check the path"
        ) from None
    if len(names) < 2:
        raise BadInput(
            f"expected a folder for each class in {folder}, two or more, got {len(names)}; "
            "see docs/data.md for the layout"
        )
    return tuple(names)


def _folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, hidden ones left out, in order."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _require_known(root: Path, parts: Sequence[str], class_names: Sequence[str]) -> None:
    for part in parts:
        for name in _classes(root / part) if part != "train" else ():
            if name not in class_names:
                raise BadInput(
                    f"expected in {root / part} only the classes of train, got "
                    f"'{name}'{suggest(name, class_names)}; rename or remove that folder"
                )


def _require_all(files: Files, folder: Path, class_names: Sequence[str]) -> None:
    count = np.bincount(files.y, minlength=len(class_names))
    for name, images in zip(class_names, count, strict=True):
        if not images:
            raise BadInput(
                f"expected images ({', '.join(ENDINGS)}) in {folder / name}, got none; "
                "add some or remove the folder"
            )


def _listed(root: Path, part: str, class_names: Sequence[str]) -> Files:
    names: list[str] = []
    others: list[str] = []
    y: list[int] = []
    for label, name in enumerate(class_names):
        found, passed = _images(root, os.path.join(part, name))
        names += found
        others += passed
        y += [label] * len(found)
    if others:
        log.warning("passed over in the folders of classes of %s: %d folders and images of other "
                    "kinds than %s, such as %s", root / part, len(others), ", ".join(ENDINGS),
                    others[0])  # fmt: skip
    index = np.arange(len(y))
    return Files(names=np.array(names, dtype=object), y=np.array(y, dtype=np.int64), index=index)


def _images(root: Path, folder: str) -> tuple[list[str], list[str]]:
    """The image files in a folder under the root, and the folders and images of other kinds; none
    where there is no such folder. Raises BadInput for a link that leads nowhere."""
    try:
        with os.scandir(root / folder) as entries:
            seen = [e for e in entries if e.name[0] != "."]
    except FileNotFoundError:
        return [], []
    named = [e for e in seen if e.name.lower().endswith(ENDINGS)]
    others = [e.name for e in seen if e.is_dir() or e.name.lower().endswith(OTHERS)]
    for entry in named:
        if entry.is_symlink() and not os.path.exists(entry.path):
            raise BadInput(
                f"expected an image behind the link {entry.path}, got none; mend or remove it"
            )
    files = sorted(e.name for e in named if e.is_file())
    return [os.path.join(folder, name) for name in files], [
        os.path.join(folder, name) for name in sorted(others)
    ]
