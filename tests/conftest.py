"""What every test gets: fixed seeds, figures without a display, and the data sets where they are.

Nothing of holdfast is imported before `shapes.watch`, or its shapes go unchecked.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import shapes
import torch

shapes.watch("holdfast")
os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one thread for each of the workers

LONG = ("test_readme", "test_processes", "test_robust_training", "test_retraining")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first: at the end one worker would wait for the other."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers in every test, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module that a test writes is not there for the next that writes one of the same name."""
    before, own = set(sys.modules), str(tmp_path_factory.getbasetemp())
    yield
    for name in sys.modules.keys() - before:
        if str(vars(sys.modules[name]).get("__file__")).startswith(own):
            del sys.modules[name]


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with MNIST and CIFAR files that HOLDFAST_DATA names."""
    root = os.environ.get("HOLDFAST_DATA")
    if not root:
        pytest.skip("needs the image data sets: set HOLDFAST_DATA to the folder that holds them")
    return Path(root)
