"""Small data and models on which a whole training run takes a moment."""

from typing import Any

import torch

from holdfast import data as datasets
from holdfast import model as models

NARROW: dict[str, dict[str, Any]] = {
    "resnet18": {"width": 4},
    "preact_resnet18": {"width": 4},
    "wide_resnet": {"depth": 10, "width": 1, "dropout": 0.3},
}
"""Options that make the large networks small."""


def blobs(classes: int = 3, train: int = 240, test: int = 60) -> datasets.Dataset:
    """Images whose class is where their bright patch lies, with noise; easy, but not at once."""
    generator = torch.Generator().manual_seed(5)

    def some(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.arange(count) % classes
        x = torch.rand(count, 1, 8, 8, generator=generator) * 0.6
        for i, label in enumerate(y.tolist()):
            x[i, 0, 2 * label : 2 * label + 2] += 0.35
        return x, y

    return datasets.from_arrays(train=some(train), test=some(test), name="blobs")


def network(data: datasets.Dataset, seed: int = 0, **options: Any) -> models.Network:
    """A Gupta CNN of 1,000 weights, dropout and all."""
    return models.create(
        "gupta_cnn", image=data.image, classes=data.classes, mean=data.mean, std=data.std,
        seed=seed, widths=(4,), dense=16, **options,
    )  # fmt: skip
