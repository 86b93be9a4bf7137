"""From the name of a data set to its tensors on a device."""

from pathlib import Path

import numpy as np
import torch

from holdfast.data import imagenet
from holdfast.data.arrays import assemble, check_labels, md5, read_npz
from holdfast.data.dataset import Dataset, Split
from holdfast.data.digits import digits
from holdfast.data.files import cache, content, fetch, missing, root_of
from holdfast.data.folders import read_tree
from holdfast.data.maps import mapped
from holdfast.data.sources import SOURCES, Source
from holdfast.errors import BadInput, choose
from holdfast.types import Progress

OWN = "npz:"
FOLDER = "folder:"
SIZE = 64  # side of the images of a folder, in pixels
SMALLEST = 8  # of the sizes that may be asked for


def load(
    name: str,
    *,
    root: Path | str | None = None,
    device: str | torch.device = "cpu",
    download: bool = True,
    size: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set called `name`, in three splits, on a device.

    Names: digits, mnist, fashion_mnist, cifar10, cifar100, imagenet100, npz:PATH for your own
    arrays (see `from_arrays`), or folder:PATH for your own images (see `read_tree`). Files are
    looked for in `root`, else in the folder that HOLDFAST_DATA names, else in the user's cache;
    what is missing is downloaded by torchvision where it is installed and knows the set.
    Validation is a fixed tenth of each class of the published train split.

    The images of imagenet100 and of a folder are brought to `size` x `size`, 64 unless given, and
    kept in a file in the cache, which is made once; `progress` is called with ("images", done, all)
    while it is. Elsewhere a size can only be the one that the images have. Raises BadInput where
    the name is unknown, the size does not fit, or a file is missing or damaged.
    """
    if resizable(name):
        return _resized(name, root, SIZE if size is None else size, progress).to(device)
    data = _fixed(name, root, download)
    if size is not None and data.image[1:] != (size, size):
        _, height, width = data.image
        raise BadInput(
            f"expected no image size for {name} or that of its images, {height}x{width}, got "
            f"{size}; only folder:PATH and {imagenet.NAME} are resized"
        )
    return data.to(device)


def loadable(name: str) -> bool:
    """Whether a name is one that `load` knows; other names are of arrays that Python was given."""
    return ":" in name or name in {"digits", imagenet.NAME, *SOURCES}


def resizable(name: str) -> bool:
    """Whether the images of this data set are brought to the size that is asked for."""
    return name.startswith(FOLDER) or name == imagenet.NAME


def _fixed(name: str, root: Path | str | None, download: bool) -> Dataset:
    if name.startswith(OWN):
        return read_npz(Path(name.removeprefix(OWN)).expanduser())
    if name.endswith(".npz"):
        raise BadInput(f"expected the name of a data set, got the file '{name}'; say {OWN}{name}")
    others = dict.fromkeys((imagenet.NAME, f"{OWN}PATH", f"{FOLDER}PATH"))
    source = choose({"digits": None, **SOURCES, **others}, name, "data set")
    return _published(source, root_of(root), download) if source else digits()


def _resized(name: str, root: Path | str | None, size: int, progress: Progress | None) -> Dataset:
    if size < SMALLEST:
        raise BadInput(f"expected an image size of {SMALLEST} or more, got {size}; raise it")
    if name == imagenet.NAME:
        tree = imagenet.imagenet100(root_of(root))
    else:
        tree = read_tree(Path(name.removeprefix(FOLDER)).expanduser())
    pixels, digest = mapped(tree, size, cache(), progress)
    sizes = [len(files) for files in tree.splits]
    train, validation, test = (
        Split(pixels=part, y=torch.from_numpy(files.y), index=torch.from_numpy(files.index))
        for part, files in zip(pixels.split(sizes), tree.splits, strict=True)
    )
    labels = md5(np.concatenate([files.y for files in tree.splits]))
    return Dataset(
        name=name, train=train, validation=validation, test=test, class_names=tree.class_names,
        digests={"pixels": digest, "labels": labels}, resized=size,
    )  # fmt: skip


def _published(source: Source, root: Path, download: bool) -> Dataset:
    if download and missing(source, root):
        fetch(source, root)
    digests: dict[str, str] = {}

    def open_file(part: str) -> bytes:
        name, raw = content(source, root, part)
        digests[name] = source.files[name].md5 or md5(raw)
        return raw

    found = source.read(open_file)
    for part, (_, y) in {"train": found.train, "test": found.test}.items():
        check_labels(y, len(found.class_names), f"{source.name}'s {part} file")
    return assemble(
        name=source.name,
        train=found.train,
        test=found.test,
        class_names=found.class_names,
        digests=digests,
    )
