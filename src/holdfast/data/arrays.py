"""The user's own images: arrays in memory or in an .npz file, checked before they are used."""

import hashlib
import io
import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.data.dataset import Dataset, Split, held_out, split
from holdfast.errors import BadInput, cause

log = logging.getLogger("holdfast")
Array = np.ndarray | Tensor
Pair = tuple[np.ndarray, np.ndarray]
TRAIN, TEST, VALIDATION = ((f"{part}_x", f"{part}_y") for part in ("train", "test", "validation"))
DARK = 16  # a largest byte that looks as if the levels were fewer than 256
MOST_CLASSES = 100_000  # a larger label is a mistake, and counting up to it could fill the memory


def from_arrays(
    *,
    test: tuple[Array, Array],
    train: tuple[Array, Array] | None = None,
    validation: tuple[Array, Array] | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    name: str = "arrays",
) -> Dataset:
    """A data set out of `(images, labels)` pairs. Without images for validation, a tenth of each
    class of train is held out for it. Images for test alone are to judge a model by: none can be
    trained on them.

    Images are `[n, channel, height, width]` or `[n, height, width]`, either uint8 or float in
    [0, 1]; floats are rounded to the nearest of 256 levels, for that is what a split holds.
    Labels are whole numbers from 0. There are as many classes as names or, without names, as the
    largest train label says (of test, where there is no train). Raises BadInput for anything else,
    naming the first image at fault.
    """
    given = {"train": train, "validation": validation, "test": test}
    pairs = {part: _two_arrays(pair, part) for part, pair in given.items() if pair is not None}
    return _checked(pairs, class_names, name, None)


def read_npz(path: Path) -> Dataset:
    """The data set in an .npz file with the arrays train_x, train_y, test_x and test_y, and
    validation_x and validation_y where there are images for it; or with test_x and test_y alone.

    Raises BadInput where the file cannot be read, as for `from_arrays`. Nothing is unpickled.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"expected an .npz file at {path}, got: {error.strerror}; check the path"
        ) from None
    digests = {path.name: md5(content)}
    return _checked(_unpacked(content, path), None, f"npz:{path}", digests)


def assemble(
    *,
    name: str,
    train: Pair,
    test: Pair,
    class_names: tuple[str, ...],
    digests: dict[str, str],
    index: Pair | None = None,
    validation: Pair | None = None,
) -> Dataset:
    """A data set out of checked arrays, its validation split held out of train where none is given.

    The index counts the rows of each pair, or is given as `(train, test)` where it does not.
    """
    at = index or (np.arange(len(train[1])), np.arange(len(test[1])))
    if validation:  # no index of which is one of train's
        kept = _whole(*train, at[0])
        held = _whole(*validation, len(train[1]) + np.arange(len(validation[1])))
    else:
        out = held_out(train[1], at[0], tenths=1)
        kept, held = split(*train, at[0], ~out), split(*train, at[0], out)
    return Dataset(
        name=name, train=kept, validation=held, test=_whole(*test, at[1]),
        class_names=class_names, digests=digests,
    )  # fmt: skip


def check_labels(y: np.ndarray, classes: int, what: str) -> None:
    """Raise BadInput where a label is not in `0 .. classes - 1`."""
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if len(wrong):
        first = wrong[0]
        raise BadInput(
            f"expected labels 0 to {classes - 1} in {what}, got {y[first]} for image {first}; "
            "correct the labels"
        )


def _whole(x: np.ndarray, y: np.ndarray, index: np.ndarray) -> Split:
    return split(x, y, index, np.ones(len(y), dtype=bool))


def _checked(
    pairs: dict[str, Pair],
    class_names: Any,
    name: str,
    digests: dict[str, str] | None,
) -> Dataset:
    pairs = {part: _sound(*pair, part) for part, pair in pairs.items()}
    lead = "train" if "train" in pairs else "test"
    y, taught = pairs[lead][1], lead == "train"
    _same_shape({part: x for part, (x, _) in pairs.items()})
    known = None if class_names is None else _names(class_names)
    check_labels(y, len(known) if known else MOST_CLASSES, f"{lead}_y")
    least = 0 if taught else 2  # images of one class can judge
    names = known or tuple(str(label) for label in range(max(int(y.max()) + 1, least)))
    for part, (_, labels) in pairs.items():
        check_labels(labels, len(names), f"{part}_y")
    if len(names) < 2:
        raise BadInput(f"expected 2 classes or more in {lead}_y, got {len(names)}; add images")
    if taught and "validation" not in pairs and np.bincount(y).max() < 2:
        raise BadInput(
            "expected at least two train images of some class, one of them for validation, "
            "got one of each; add images"
        )
    if taught:
        _warn_of_empty_classes(y, names)
    digests = digests or {
        f"{part}_{k}": md5(a) for part, p in pairs.items() for k, a in zip("xy", p, strict=True)
    }
    none: Pair = (pairs["test"][0][:0], pairs["test"][1][:0])
    given = pairs if taught else {"train": none, "validation": none} | pairs
    return assemble(name=name, class_names=names, digests=digests, **given)


def _warn_of_empty_classes(y: np.ndarray, names: tuple[str, ...]) -> None:
    """Say it where a class has no training image, as where labels were counted from 1."""
    empty = [name for name, count in zip(names, np.bincount(y, minlength=len(names)), strict=True)
             if not count]  # fmt: skip
    if empty:
        log.warning("%d of %d classes have no training image, %s among them; labels count from 0",
                    len(empty), len(names), empty[0])  # fmt: skip


def _names(given: Any) -> tuple[str, ...]:
    """Raises BadInput for anything but a list of words."""
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    if not (listed and given and all(isinstance(name, str) for name in given)):
        raise BadInput(
            f"expected class_names as a list of names, one for each class, got {given!r:.60}"
        )
    return tuple(given)


def _sound(x: np.ndarray, y: np.ndarray, part: str) -> Pair:
    pixels = _pixels(_four_axes(x, f"{part}_x"), f"{part}_x")
    labels = _labels(y, f"{part}_y")
    if len(pixels) != len(labels):
        raise BadInput(
            f"expected as many labels as images, got {len(pixels)} images in {part}_x and "
            f"{len(labels)} labels in {part}_y; give each image one label"
        )
    return pixels, labels


def _four_axes(x: np.ndarray, what: str) -> np.ndarray:
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise BadInput(
            f"expected images [n, channel, height, width] or [n, height, width] in {what}, "
            f"got shape {list(x.shape)}; reshape them"
        )
    x = x if x.ndim == 4 else x[:, None]
    if x.shape[3] <= 4 < x.shape[1]:
        raise BadInput(
            f"expected images [n, channel, height, width] in {what}, got shape {list(x.shape)}, "
            "which looks like channels last; use x.transpose(0, 3, 1, 2)"
        )
    return x


def _pixels(x: np.ndarray, what: str) -> np.ndarray:
    if x.dtype == np.uint8:
        if x.size and x.max() <= DARK:
            log.warning("the largest byte of %s is %d: bytes are read as shares of 255; scale them "
                        "where they are levels from 0 to %d", what, x.max(), x.max())  # fmt: skip
        return x
    if x.dtype.kind != "f":
        raise BadInput(
            f"expected uint8 or float pixels in {what}, got {x.dtype}; "
            "convert them with x.astype('uint8') if they lie in 0 to 255"
        )
    _refuse(~np.isfinite(x), x, f"finite pixels in {what}", "mend or leave out that image")
    _refuse((x < 0) | (x > 1), x, f"float pixels in [0, 1] in {what}", "rescale, or give uint8")
    return np.rint(x * x.dtype.type(255)).astype(np.uint8)


def _refuse(wrong: np.ndarray, x: np.ndarray, expected: str, advice: str) -> None:
    """Raise BadInput naming the first image with a wrong pixel."""
    images = np.flatnonzero(wrong.reshape(len(x), -1).any(1))
    if len(images):
        first = images[0]
        value = x[first][wrong[first]][0]
        raise BadInput(f"expected {expected}, got {value:g} in image {first}; {advice}")


def _labels(y: np.ndarray, what: str) -> np.ndarray:
    if y.ndim != 1:
        column = y.ndim == 2 and y.shape[1] == 1
        advice = "take y[:, 0]" if column else "turn one-hot rows into numbers with y.argmax(1)"
        raise BadInput(
            f"expected one label for each image in {what}, got shape {list(y.shape)}; {advice}"
        )
    if y.dtype.kind not in "iu":
        raise BadInput(f"expected integer labels in {what}, got {y.dtype}; use y.astype('int64')")
    if len(y) and y.max() > np.iinfo(np.int64).max:
        raise BadInput(f"expected labels from 0 in {what}, got {y.max()}; correct the labels")
    return y.astype(np.int64)


def _same_shape(images: dict[str, np.ndarray]) -> None:
    lead, first = next(iter(images.items()))
    for part, x in images.items():
        if x.shape[1:] != first.shape[1:]:
            raise BadInput(
                f"expected {lead} and {part} images of one shape, got "
                f"{list(first.shape[1:])} and {list(x.shape[1:])}; resize one of them"
            )


def _two_arrays(pair: Any, part: str) -> Pair:
    """Raises BadInput for anything but images and labels."""
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
        raise BadInput(
            f"expected {part} as a pair of arrays (images, labels), got {type(pair).__name__}"
        )
    return _numpy(pair[0], f"{part}_x"), _numpy(pair[1], f"{part}_y")


def _numpy(value: Array, what: str) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not isinstance(value, np.ndarray):
        raise BadInput(
            f"expected a numpy array or a torch tensor for {what}, got {type(value).__name__}; "
            "convert it with numpy.asarray"
        )
    return value


def _unpacked(content: bytes, path: Path) -> dict[str, Pair]:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise BadInput(
                f"expected an .npz archive at {path}, got a single array; use numpy.savez"
            )
        there = {*archive.files}
        wanted = (TRAIN if {*TRAIN} & there or not {*TEST} <= there else ()) + TEST
        wanted += VALIDATION if {*VALIDATION} & there else ()
        if missing := [name for name in wanted if name not in archive]:
            raise BadInput(
                f"expected the arrays {', '.join(wanted)} in {path}, got "
                f"{', '.join(archive.files) or 'none'}; add {', '.join(missing)}"
            )
        if others := [name for name in archive.files if name not in wanted]:
            log.warning("passed over in %s: %s", path, ", ".join(others))
        parts = [name.removesuffix("_x") for name in wanted[::2]]
        return {part: (archive[f"{part}_x"], archive[f"{part}_y"]) for part in parts}
    except BadInput:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(
            f"expected an .npz archive of plain arrays at {path}, got: {cause(error)}; "
            "write it with numpy.savez"
        ) from None


def md5(content: bytes | np.ndarray) -> str:
    """The MD5 digest of a file's or an array's bytes."""
    raw = content if isinstance(content, bytes) else np.ascontiguousarray(content).data
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()
