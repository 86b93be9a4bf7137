"""Decoded images in one file of bytes, made once: sets that are larger than memory.

A map is a folder `maps/KEY` in the cache with `pixels`, uint8 `[n, 3, size, size]` in the order
train, validation, test, and the head `map.json`. It appears by a rename.
"""

import contextlib
import hashlib
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from holdfast import record
from holdfast.data.folders import Tree
from holdfast.errors import BadInput, cause
from holdfast.types import Pixels, Progress

FORMAT = 1  # enters the key: to be raised with every change of what `decoded` gives
KINDS = ("PNG", "JPEG", "BMP", "WEBP")
AT_ONCE = 256  # images decoded between two writes


def mapped(
    tree: Tree, size: int, cache: Path, progress: Progress | None = None
) -> tuple[Pixels, str]:
    """The images of a tree, square and of `size`, as a tensor over a file, and their MD5.

    The file is made where there is none for these files (by path, length and time of change) and
    this size. The tensor must not be written to. Raises BadInput for an image that cannot be
    decoded and for a full disk; either leaves no file behind.
    """
    place = cache / "maps" / _key(tree, size)
    shape = (sum(map(len, tree.splits)), 3, size, size)
    if not _complete(place, shape):
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place) as alone:
            if alone:
                for draft in place.parent.glob(f".{place.name}.*"):  # a killed process left it
                    record.remove(draft)
            if not _complete(place, shape):
                _make(place, tree, shape, progress)
    return _opened(place / "pixels", shape), record.read_json(place / "map.json")["md5"]


def decoded(file: Path, size: int) -> np.ndarray:
    """An image file as `[3, size, size]` in uint8: its largest centred square, resized.

    Turned as its EXIF orientation says, in RGB (grey becomes three equal channels, transparency is
    dropped), resized by Pillow's bilinear filter, which averages over what it shrinks. Raises
    BadInput where the file is damaged, of another kind, or is grey of more than 8 bits.
    """
    try:
        with Image.open(file, formats=KINDS) as image:
            if image.mode[0] in "IF":  # Pillow would clip 16 bits to white
                raise ValueError(f"more than 8 bits per channel (mode {image.mode})")
            upright = ImageOps.exif_transpose(image).convert("RGB")
        square = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
    except Exception as error:  # a damaged file can raise anything
        raise BadInput(
            f"expected an image ({', '.join(KINDS)}) in {file}, got: {cause(error)}; "
            "mend or remove the file"
        ) from None
    return np.asarray(square).transpose(2, 0, 1)


def _key(tree: Tree, size: int) -> str:
    """A digest of all that decides the content: any changed file makes another map."""
    digest = hashlib.sha256(f"{FORMAT} {size} {tree.root}\n".encode(errors="surrogateescape"))
    for number, files in enumerate(tree.splits):
        for name in files.names:
            seen = os.stat(os.path.join(tree.root, name))
            line = f"{number} {seen.st_size} {seen.st_mtime_ns} {name}\n"
            digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _complete(place: Path, shape: tuple[int, ...]) -> bool:
    pixels = place / "pixels"
    there = (place / "map.json").exists() and pixels.exists()
    return there and pixels.stat().st_size == math.prod(shape)


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """One process at a time makes this map; the others wait, and then find it made. Says whether
    that is so: on a file system without locks each makes its own."""
    lock = place.with_suffix(".lock")
    while True:
        with lock.open("w") as file:
            alone = record.lock(file.fileno(), wait=True)
            if alone and not _at(lock, file.fileno()):
                continue  # who held it before has removed it: another may hold a new one
            try:
                yield alone
            finally:
                lock.unlink(missing_ok=True)
            return


def _at(path: Path, descriptor: int) -> bool:
    """Whether this open file is the one that lies there."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))


def _make(place: Path, tree: Tree, shape: tuple[int, ...], progress: Progress | None) -> None:
    """Decode every image into `place`. Raises BadInput for a bad image or a full disk."""
    need, free = math.prod(shape), shutil.disk_usage(place.parent).free
    if need > free:
        raise _no_room(place.parent, tree, need, f"{free / 2**30:.1f} GiB")
    try:
        with record.folder(place) as draft:
            md5 = _write(draft / "pixels", tree, shape, progress)
            about = {"root": tree.root, "shape": shape, "md5": md5}
            record.write_json(draft / "map.json", about)
    except OSError as error:
        if error.errno not in record.NO_ROOM:
            raise
        raise _no_room(place.parent, tree, need, str(error.strerror)) from None


def _write(file: Path, tree: Tree, shape: tuple[int, ...], progress: Progress | None) -> str:
    """Write the images one after the other and give the MD5 of them all."""
    names = [tree.root / name for files in tree.splits for name in files.names]
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("wb") as out, ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about colours and large or untidy files
        for start in range(0, len(names), AT_ONCE):
            chunk = names[start : start + AT_ONCE]
            for image in pool.map(decoded, chunk, [shape[-1]] * len(chunk)):
                raw = image.tobytes()
                out.write(raw)
                digest.update(raw)
            if progress:
                progress("images", start + len(chunk), len(names))
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _opened(file: Path, shape: tuple[int, ...]) -> Pixels:
    """The file as a tensor whose pages are read when they are looked at.

    Read-only, and not copy-on-write: Linux refuses the latter where the file is larger than the
    memory.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.memmap(file, np.uint8, "r", shape=shape))


def _no_room(maps: Path, tree: Tree, need: int, got: str) -> BadInput:
    return BadInput(
        f"expected {need / 2**30:.1f} GiB of room in {maps} for the images of {tree.root}, got "
        f"{got}; make room, or let XDG_CACHE_HOME name a folder elsewhere"
    )
