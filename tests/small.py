"""Small data and models on which a whole training run takes a moment."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from holdfast import data as datasets
from holdfast import model as models
from holdfast.model import predict

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


def digits_network(seed: int = 0) -> nn.Module:
    """A small network of digits after a moment of training: half a second."""
    torch.manual_seed(seed)
    data = datasets.load("digits")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 32), nn.ReLU(),
        nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        for rows in torch.randperm(len(data.train.x)).split(100):
            optimizer.zero_grad()
            F.cross_entropy(model(data.train.x[rows]), data.train.y[rows]).backward()
            optimizer.step()
    return model.eval()


def known_digits(network: nn.Module, count: int) -> datasets.Split:
    """The first test images that it classifies right."""
    test = datasets.load("digits").test
    return test.only((predict(network, test.x).argmax(1) == test.y).nonzero().flatten()[:count])
