"""Models whose answers are known in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.types import Batch


@dataclass(frozen=True, eq=False)
class World:
    """A classifier, images in the middle of the pixel box, labels and true margins in each norm."""

    model: nn.Module
    x: Tensor
    y: Tensor
    margin: dict[str, Tensor]


def linear_world(count: int = 32, side: int = 4, classes: int = 2) -> World:
    """Logits linear in the pixels: the distance to the plane between the classes is
    |(w1 - w0) x + (b1 - b0)| divided by the dual norm of w1 - w0."""
    generator = torch.Generator().manual_seed(0)
    pixels = side * side
    layer = nn.Linear(pixels, classes, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, pixels, generator=generator))
        layer.bias.copy_(-layer.weight.sum(1) / 2)  # the planes pass through the middle of the box
    model = nn.Sequential(nn.Flatten(), layer)
    noise = torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64)
    x = 0.5 + 0.02 * noise
    with torch.no_grad():
        logits = model(x)
    gap = (logits[:, 1] - logits[:, 0]).abs()
    normal = (layer.weight[1] - layer.weight[0]).detach()
    duals = {"linf": 1, "l2": 2, "l1": torch.inf}
    margin = {norm: gap / normal.norm(dual) for norm, dual in duals.items()}
    return World(model, x, logits.argmax(1), margin)


class Bandit(nn.Module):
    """The same logits whatever the image: a policy whose gradients can be worked out by hand."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def batch_of(y: Tensor, epoch: int = 0) -> Batch:
    """Blank images with these labels."""
    return Batch(x=torch.zeros(len(y), 1, 2, 2), y=y, index=torch.arange(len(y)), epoch=epoch)
