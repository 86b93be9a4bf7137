"""Architectures: image shape and classes are arguments, pixels in [0, 1] go in, logits come out."""

import torch
from torch import Tensor, nn

from holdfast.errors import BadInput


class GuptaCNN(nn.Sequential):
    """The CNN of Gupta 2020 (arXiv 2012.04353, section 3 and Figure 2): VGG-like, shallow, with
    layer normalisation on the logits just before the softmax.

    The text gives no widths, no dense sizes and no dropout. Ours: those of the Keras CIFAR-10
    example from which the paper takes its optimiser (32-32-pool-64-64-pool-dense 512, dropout
    0.25 after each pool and 0.5 after the dense layer), every convolution padded to keep its
    size (the example leaves out the padding of every second one), layer normalisation with a
    learned gain and offset. Every one of these is an argument.
    """

    def __init__(
        self,
        *,
        image: tuple[int, int, int],
        classes: int,
        widths: tuple[int, ...] = (32, 64),
        dense: int = 512,
        dropout: tuple[float, float] = (0.25, 0.5),
        logit_norm: bool = True,
    ) -> None:
        channels, height, width = image
        shrink = 2 ** len(widths)
        require_side(image, shrink, "gupta_cnn")
        layers: list[nn.Module] = []
        for wide in widths:
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2), nn.Dropout(dropout[0])]
            channels = wide
        flat = channels * (height // shrink) * (width // shrink)
        layers += [nn.Flatten(), nn.Linear(flat, dense), nn.ReLU(), nn.Dropout(dropout[1])]
        layers += [nn.Linear(dense, classes)]
        super().__init__(*layers, *([nn.LayerNorm(classes)] if logit_norm else []))


class MadryMNIST(nn.Sequential):
    """Madry et al.'s MNIST network (arXiv 1706.06083, section 5): two 5x5 convolutions (32, 64),
    each with a 2x2 pooling, then a dense layer of 1,024. Also the network of Song et al. 2019.
    """

    def __init__(self, *, image: tuple[int, int, int], classes: int) -> None:
        channels, height, width = image
        require_side(image, 4, "madry_mnist")
        super().__init__(
            nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 1024), nn.ReLU(),
            nn.Linear(1024, classes),
        )  # fmt: skip


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2015, arXiv 1512.03385, Figure 2)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


class ResNet18(nn.Sequential):
    """ResNet-18 (arXiv 1512.03385) with the stem for CIFAR: one 3x3 convolution of stride 1 and no
    pooling, as robust-training code has it. `width` is the number of channels of the first stage.
    """

    def __init__(self, *, image: tuple[int, int, int], classes: int, width: int = 64) -> None:
        require_side(image, 8, "resnet18")
        stem = [nn.Conv2d(image[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        stages: list[nn.Module] = []
        before = width
        for stage in range(4):
            after = width * 2**stage
            stages += [BasicBlock(before, after, 1 if stage == 0 else 2)]
            stages += [BasicBlock(after, after, 1)]
            before = after
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
        super().__init__(*stem, nn.ReLU(), *stages, *head)


def require_side(image: tuple[int, int, int], least: int, name: str) -> None:
    """Raises BadInput where an image is too small for all the poolings."""
    if min(image[1:]) < least:
        raise BadInput(f"expected images of at least {least}x{least} for {name}, got {image}")
