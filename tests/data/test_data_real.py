"""The published files against an independent reading of them, where they are on this machine."""

import gzip
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast import data


def load(name: str, root: Path, folder: str) -> data.Dataset:
    if not (root / folder).is_dir():
        pytest.skip(f"no {folder} in HOLDFAST_DATA")
    return data.load(name, root=root, download=False)


@pytest.fixture(scope="module")
def cifar10(data_root: Path) -> data.Dataset:
    return load("cifar10", data_root, "cifar-10-batches-py")


def check(split: data.Split, pixels: np.ndarray, y: np.ndarray) -> None:
    assert torch.equal(split.pixels, torch.from_numpy(pixels[split.index]))
    assert torch.equal(split.y, torch.from_numpy(y[split.index].astype(np.int64)))


def idx_content(path: Path, header: int) -> np.ndarray:
    plain = path.exists()
    raw = (
        path.read_bytes()
        if plain
        else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    )
    return np.frombuffer(raw, np.uint8)[header:]


def test_mnist(data_root):
    found = load("mnist", data_root, "MNIST/raw")
    folder = data_root / "MNIST/raw"
    for part, splits in {"train": (found.train, found.validation), "t10k": (found.test,)}.items():
        x = idx_content(folder / f"{part}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)
        y = idx_content(folder / f"{part}-labels-idx1-ubyte", 8)
        for split in splits:
            check(split, x, y)
    assert [len(found.train), len(found.validation), len(found.test)] == [54_000, 6_000, 10_000]


def test_cifar10(cifar10, data_root):
    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        with (
            (data_root / "cifar-10-batches-py" / name).open("rb") as file,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # numpy on the old form of dtype
            record = pickle.load(file, encoding="latin1")
        return record["data"].reshape(-1, 3, 32, 32), np.array(record["labels"])

    batches = [read(f"data_batch_{k}") for k in range(1, 6)]
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    check(cifar10.train, x, y)
    check(cifar10.validation, x, y)
    check(cifar10.test, *read("test_batch"))
    assert torch.bincount(cifar10.validation.y).tolist() == [500] * 10
    assert cifar10.class_names[3] == "cat"


def test_sources_state_the_sets_they_describe(cifar10, data_root):
    status = {each.name: each for each in data.survey(data_root)}["cifar10"]
    total = len(cifar10.train) + len(cifar10.validation) + len(cifar10.test)
    assert (status.state, status.images) == ("ready", total)
    assert (status.image, status.classes) == (cifar10.image, cifar10.classes)
