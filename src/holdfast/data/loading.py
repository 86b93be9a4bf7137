"""From the name of a data set to its tensors on a device."""

from pathlib import Path

import torch

from holdfast.data.arrays import assemble, check_labels, md5, read_npz
from holdfast.data.dataset import Dataset
from holdfast.data.digits import digits
from holdfast.data.files import content, fetch, missing, root_of
from holdfast.data.sources import SOURCES, Source
from holdfast.errors import choose

OWN = "npz:"


def load(
    name: str,
    *,
    root: Path | str | None = None,
    device: str | torch.device = "cpu",
    download: bool = True,
) -> Dataset:
    """The data set called `name`, in three splits, on a device.

    Names: digits, mnist, fashion_mnist, cifar10, cifar100, or npz:PATH for your own arrays (see
    `from_arrays`). Files are looked for in `root`, else in the folder that HOLDFAST_DATA names,
    else in the user's cache; what is missing is downloaded by torchvision where it is installed.
    Validation is a fixed tenth of each class of the published train split. Raises BadInput where
    the name is unknown or a file is missing or damaged.
    """
    if name.startswith(OWN):
        return read_npz(Path(name.removeprefix(OWN)).expanduser()).to(device)
    table = {"digits": None, **SOURCES, f"{OWN}PATH": None}
    source = choose(table, name, "data set")
    return (_published(source, root_of(root), download) if source else digits()).to(device)


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
