"""Residual networks with the stem for CIFAR: one 3x3 convolution of stride 1 and no pooling."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from holdfast.errors import BadInput
from holdfast.model.networks.dropout import Dropout
from holdfast.model.networks.size import require_side


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
    pooling, as robust-training code has it.

    Args:
        image: channels, height and width.
        classes: how many logits.
        width: channels of the first stage.
    """

    def __init__(self, *, image: tuple[int, int, int], classes: int, width: int = 64) -> None:
        require_side(image, 8, "resnet18")
        stem = [nn.Conv2d(image[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        blocks = _stages(BasicBlock, width, width, (2, 2, 2, 2))
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, classes)]
        super().__init__(*stem, nn.ReLU(), *blocks, *head)


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after its normalisation and ReLU, and a shortcut that nothing
    follows (He et al. 2016, arXiv 1603.05027, Figure 1b). Where the shape changes, the shortcut is
    a 1x1 convolution of the normalised input. dropout: between the convolutions (Zagoruyko and
    Komodakis 2016, arXiv 1605.07146, section 2.4).
    """

    def __init__(self, before: int, after: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.dropout = Dropout(dropout)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or before != after:
            self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.bn1(x))
        inner = self.dropout(torch.relu(self.bn2(self.conv1(active))))
        return self.conv2(inner) + (x if self.shortcut is None else self.shortcut(active))


class PreActResNet18(nn.Sequential):
    """ResNet-18 of full pre-activation (He et al. 2016, arXiv 1603.05027), with a last batch
    normalisation and ReLU before the pooling (its appendix). 11.17 M parameters for CIFAR-10.

    As robust-training code has it, not the paper: the stem reaches the first block's shortcut
    without normalisation and ReLU.

    Args:
        image: channels, height and width.
        classes: how many logits.
        width: channels of the first stage.
    """

    def __init__(self, *, image: tuple[int, int, int], classes: int, width: int = 64) -> None:
        require_side(image, 8, "preact_resnet18")
        blocks = _stages(PreActBlock, width, width, (2, 2, 2, 2))
        stem = nn.Conv2d(image[0], width, 3, padding=1, bias=False)
        super().__init__(stem, *blocks, *_head(8 * width, classes))


class WideResNet(nn.Sequential):
    """WRN-depth-width (Zagoruyko and Komodakis 2016, arXiv 1605.07146, Table 1): three stages of
    (depth - 4) / 6 blocks with 16, 32 and 64 times `width` channels. For CIFAR-10 WRN-34-10 has
    46.16 M parameters, WRN-28-10 36.48 M.

    First weights as robust-training code draws them: convolutions by He et al. (arXiv 1502.01852)
    over the outputs, the last layer's offsets zero. Raises BadInput: another depth than 6 n + 4.

    Args:
        image: channels, height and width.
        classes: how many logits.
        depth: layers, 6 n + 4.
        width: times which channels are multiplied.
        dropout: rate between the two convolutions of a block.
    """

    def __init__(
        self,
        *,
        image: tuple[int, int, int],
        classes: int,
        depth: int = 34,
        width: int = 10,
        dropout: float = 0.0,
    ) -> None:
        require_side(image, 4, "wide_resnet")
        if depth < 10 or depth % 6 != 4:
            raise BadInput(f"expected a depth of 10, 16, 22, 28, 34, ... (6 n + 4), got {depth}")
        wide, block = 16 * width, partial(PreActBlock, dropout=dropout)
        blocks = _stages(block, 16, wide, ((depth - 4) // 6,) * 3)
        stem = nn.Conv2d(image[0], 16, 3, padding=1, bias=False)
        super().__init__(stem, *blocks, *_head(4 * wide, classes))
        self.apply(_he)


def _stages(
    block: Callable[[int, int, int], nn.Module], before: int, width: int, counts: Sequence[int]
) -> list[nn.Module]:
    """Stages of so many blocks: each halves the sides and doubles the channels, but the first."""
    blocks = []
    for stage, count in enumerate(counts):
        for place in range(count):
            after = width * 2**stage
            blocks.append(block(before, after, 2 if stage and not place else 1))
            before = after
    return blocks


def _head(channels: int, classes: int) -> list[nn.Module]:
    """From the sum of all blocks to the logits."""
    pooled = [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return [*pooled, nn.Linear(channels, classes)]


def _he(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
