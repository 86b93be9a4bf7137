"""The published data sets: which files hold them, the files' digests, and how they are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from holdfast.data import cifar, idx

Pair = tuple[np.ndarray, np.ndarray]
Opener = Callable[[str], bytes]
"""Name of a file in the set's folder to its checked, unpacked content."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What a file as published is known by. md5: None where no digest was published."""

    md5: str | None
    size: int  # bytes


@dataclass(frozen=True, eq=False, kw_only=True)
class Published:
    """Images `[n, channel, height, width]` in uint8 with labels `[n]`, as published."""

    train: Pair
    test: Pair
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """A published data set.

    folder: where torchvision keeps its files, under the data root.
    files: the files by name; X and X.gz hold the same, and the one named first is preferred.
    read: from the files (named without .gz) to arrays.
    torchvision: the class of torchvision.datasets that can download it.
    """

    name: str
    folder: str
    files: Mapping[str, Stamp]
    read: Callable[[Opener], Published]
    torchvision: str
    classes: int
    images: int  # train and test together
    image: tuple[int, int, int]  # channels, height, width

    def parts(self) -> dict[str, list[str]]:
        """The files that are needed, each with the names it may have."""
        found: dict[str, list[str]] = {}
        for name in self.files:
            found.setdefault(name.removesuffix(".gz"), []).append(name)
        return found


def read_idx(open_file: Opener, class_names: tuple[str, ...]) -> Published:
    """MNIST or Fashion-MNIST out of its four files."""

    def pair(part: str) -> Pair:
        images = open_file(f"{part}-images-idx3-ubyte")
        return idx.pair(images, open_file(f"{part}-labels-idx1-ubyte"), part)

    return Published(train=pair("train"), test=pair("t10k"), class_names=class_names)


def read_cifar10(open_file: Opener) -> Published:
    """CIFAR-10 out of its five training batches, its test batch and its names."""

    def pair(name: str) -> Pair:
        return cifar.batch(open_file(name), b"labels", name)

    names = cifar.class_names(open_file("batches.meta"), b"label_names", "batches.meta")
    x, y = zip(*(pair(f"data_batch_{k}") for k in range(1, 6)), strict=True)
    train = np.concatenate(x), np.concatenate(y)
    return Published(train=train, test=pair("test_batch"), class_names=names)


def read_cifar100(open_file: Opener) -> Published:
    """CIFAR-100 with its 100 fine labels."""
    train, test = (cifar.batch(open_file(part), b"fine_labels", part) for part in ("train", "test"))
    names = cifar.class_names(open_file("meta"), b"fine_label_names", "meta")
    return Published(train=train, test=test, class_names=names)


DIGITS = tuple("0123456789")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

MNIST = Source(
    name="mnist",
    folder="MNIST/raw",
    files={
        "train-images-idx3-ubyte": Stamp(md5="6bbc9ace898e44ae57da46a324031adb", size=47_040_016),
        "train-images-idx3-ubyte.gz": Stamp(md5="f68b3c2dcbeaaa9fbdd348bbdeb94873", size=9_912_422),
        "train-labels-idx1-ubyte": Stamp(md5="a25bea736e30d166cdddb491f175f624", size=60_008),
        "train-labels-idx1-ubyte.gz": Stamp(md5="d53e105ee54ea40749a09fcbcd1e9432", size=28_881),
        "t10k-images-idx3-ubyte": Stamp(md5="2646ac647ad5339dbf082846283269ea", size=7_840_016),
        "t10k-images-idx3-ubyte.gz": Stamp(md5="9fb629c4189551a2d022fa330f9573f3", size=1_648_877),
        "t10k-labels-idx1-ubyte": Stamp(md5="27ae3e4e09519cfbb04c329615203637", size=10_008),
        "t10k-labels-idx1-ubyte.gz": Stamp(md5="ec29112dd5afa0611ce80d1b7f02629c", size=4_542),
    },
    read=lambda open_file: read_idx(open_file, DIGITS),
    torchvision="MNIST",
    classes=10,
    images=70_000,
    image=(1, 28, 28),
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    folder="FashionMNIST/raw",
    # For the unpacked files no digest was published: their size and structure are checked, and
    # the packed ones, which have a digest, go first.
    files={
        "train-images-idx3-ubyte.gz": Stamp(
            md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d", size=26_421_880
        ),
        "train-images-idx3-ubyte": Stamp(md5=None, size=47_040_016),
        "train-labels-idx1-ubyte.gz": Stamp(md5="25c81989df183df01b3e8a0aad5dffbe", size=29_515),
        "train-labels-idx1-ubyte": Stamp(md5=None, size=60_008),
        "t10k-images-idx3-ubyte.gz": Stamp(md5="bef4ecab320f06d8554ea6380940ec79", size=4_422_102),
        "t10k-images-idx3-ubyte": Stamp(md5=None, size=7_840_016),
        "t10k-labels-idx1-ubyte.gz": Stamp(md5="bb300cfdad3c16e7a12a480ee83cd310", size=5_148),
        "t10k-labels-idx1-ubyte": Stamp(md5=None, size=10_008),
    },
    read=lambda open_file: read_idx(open_file, CLOTHES),
    torchvision="FashionMNIST",
    classes=10,
    images=70_000,
    image=(1, 28, 28),
)

CIFAR10 = Source(
    name="cifar10",
    folder="cifar-10-batches-py",
    files={
        "data_batch_1": Stamp(md5="c99cafc152244af753f735de768cd75f", size=31_035_704),
        "data_batch_2": Stamp(md5="d4bba439e000b95fd0a9bffe97cbabec", size=31_035_320),
        "data_batch_3": Stamp(md5="54ebc095f3ab1f0389bbae665268c751", size=31_035_999),
        "data_batch_4": Stamp(md5="634d18415352ddfa80567beed471001a", size=31_035_696),
        "data_batch_5": Stamp(md5="482c414d41f54cd18b22e5b47cb7c3cb", size=31_035_623),
        "test_batch": Stamp(md5="40351d587109b95175f43aff81a1287e", size=31_035_526),
        "batches.meta": Stamp(md5="5ff9c542aee3614f3951f8cda6e48888", size=158),
    },
    read=read_cifar10,
    torchvision="CIFAR10",
    classes=10,
    images=60_000,
    image=(3, 32, 32),
)

CIFAR100 = Source(
    name="cifar100",
    folder="cifar-100-python",
    files={
        "train": Stamp(md5="16019d7e3df5f24257cddd939b257f8d", size=155_249_918),
        "test": Stamp(md5="f0ef6b0ae62326f3e7ffdfab6717acfc", size=31_049_707),
        "meta": Stamp(md5="7973b15100ade9c7d40fb424638fde48", size=1_473),
    },
    read=read_cifar100,
    torchvision="CIFAR100",
    classes=100,
    images=60_000,
    image=(3, 32, 32),
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}
