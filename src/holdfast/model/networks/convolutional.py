"""Convolutional networks without shortcuts.

After a convolution the pooling by the maximum comes before the rectifier, not after it as in the
texts: that is the same function with the same gradient, and leaves a quarter of the numbers to
rectify.
"""

from torch import nn

from holdfast.errors import BadInput
from holdfast.limits import COUNT, require_range
from holdfast.model.networks.dropout import Dropout
from holdfast.model.networks.size import require_side


class GuptaCNN(nn.Sequential):
    """The CNN of Gupta 2020 (arXiv 2012.04353, section 3 and Figure 2): VGG-like, shallow, with
    layer normalisation on the logits just before the softmax.

    The text gives no widths, no dense sizes and no dropout. Ours: those of the Keras CIFAR-10
    example from which the paper takes its optimiser (32-32-pool-64-64-pool-dense 512, dropout
    0.25 after each pool and 0.5 after the dense layer), every convolution padded to keep its
    size (the example leaves out the padding of every second one), layer normalisation with a
    learned gain and offset.

    Args:
        image: channels, height and width.
        classes: how many logits.
        widths: channels of each pair of convolutions.
        dense: width of the dense layer before the last.
        dropout: after each pool, and after the dense layer.
        logit_norm: layer normalisation on the logits; None: where there are 3 classes or more. Of
            two it leaves nothing but their order, without a gradient.

    Raises BadInput for images that are too small, layers without a channel, and logit_norm with
    two classes.
    """

    def __init__(
        self,
        *,
        image: tuple[int, int, int],
        classes: int,
        widths: tuple[int, ...] = (32, 64),
        dense: int = 512,
        dropout: tuple[float, float] = (0.25, 0.5),
        logit_norm: bool | None = None,
    ) -> None:
        if logit_norm and classes < 3:
            raise BadInput(
                f"expected 3 classes or more for logit_norm, got {classes}; leave it out"
            )
        for name, width in [*(("widths", wide) for wide in widths), ("dense", dense)]:
            require_range(name, width, COUNT)
        logit_norm = classes > 2 if logit_norm is None else logit_norm
        channels, height, width = image
        shrink = 2 ** len(widths)
        require_side(image, shrink, "gupta_cnn")
        layers: list[nn.Module] = []
        for wide in widths:
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            layers += [Dropout(dropout[0])]
            channels = wide
        flat = channels * (height // shrink) * (width // shrink)
        layers += [nn.Flatten(), nn.Linear(flat, dense), nn.ReLU(), Dropout(dropout[1])]
        layers += [nn.Linear(dense, classes)]
        super().__init__(*layers, *([nn.LayerNorm(classes)] if logit_norm else []))


class MadryMNIST(nn.Sequential):
    """Madry et al.'s MNIST network (arXiv 1706.06083, section 5): two 5x5 convolutions (32, 64),
    each with a 2x2 pooling, then a dense layer of 1,024. Also the network of Song et al. 2019.

    Args:
        image: channels, height and width.
        classes: how many logits.
    """

    def __init__(self, *, image: tuple[int, int, int], classes: int) -> None:
        channels, height, width = image
        require_side(image, 4, "madry_mnist")
        super().__init__(
            nn.Conv2d(channels, 32, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(32, 64, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 1024), nn.ReLU(),
            nn.Linear(1024, classes),
        )  # fmt: skip


class ZouCNN4(nn.Sequential):
    """The 4-layer CNN of Zou et al. 2026 (arXiv 2606.12251), as in their released code: 3x3
    convolutions 32-64-pool-dropout-128-pool-128-pool-dropout, a dense layer of 1,024, no batch
    normalisation. 2.35 M parameters for CIFAR-10.

    Ours where the code's description is silent: a pooling is the maximum of 2x2, and ReLU
    follows every convolution.

    Args:
        image: channels, height and width.
        classes: how many logits.
        dropout: the three rates, from the image to the logits.
    """

    def __init__(
        self,
        *,
        image: tuple[int, int, int],
        classes: int,
        dropout: tuple[float, float, float] = (0.25, 0.25, 0.5),
    ) -> None:
        channels, height, width = image
        require_side(image, 8, "zou_cnn4")
        super().__init__(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), Dropout(dropout[0]),
            nn.Conv2d(64, 128, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), Dropout(dropout[1]),
            nn.Flatten(), nn.Linear(128 * (height // 8) * (width // 8), 1024), nn.ReLU(),
            Dropout(dropout[2]), nn.Linear(1024, classes),
        )  # fmt: skip


class ZouCNN6(nn.Sequential):
    """The 6-layer CNN of Zou et al. 2026 (arXiv 2606.12251), as in their released code: 4x4
    convolutions 264-128-pool, 512-128-pool, 128-128-pool, a dense layer of 256, each with batch
    normalisation and ReLU; dropout after each pooling and the dense layer. 3.71 M parameters for
    CIFAR-10.

    A pooling is the maximum of 2x2 (ours: the description says no more).

    Args:
        image: channels, height and width.
        classes: how many logits.
        dropout: the four rates, from the image to the logits.
    """

    def __init__(
        self,
        *,
        image: tuple[int, int, int],
        classes: int,
        dropout: tuple[float, float, float, float] = (0.2, 0.25, 0.35, 0.5),
    ) -> None:
        channels, height, width = image
        require_side(image, 8, "zou_cnn6")
        layers: list[nn.Module] = []
        for first, second, rate in zip((264, 512, 128), (128, 128, 128), dropout, strict=False):
            layers += [*_same4(channels, first), *_same4(first, second)]
            layers += [nn.MaxPool2d(2), Dropout(rate)]
            channels = second
        flat = channels * (height // 8) * (width // 8)
        layers += [nn.Flatten(), nn.Linear(flat, 256), nn.BatchNorm1d(256), nn.ReLU()]
        super().__init__(*layers, Dropout(dropout[3]), nn.Linear(256, classes))


def _same4(before: int, after: int) -> list[nn.Module]:
    """A 4x4 convolution that keeps the size, batch normalisation, ReLU.

    Padded by one pixel left and above, two right and below: what torch calls padding="same", but
    without its warning about even kernels.
    """
    padded = [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(before, after, 4)]
    return [*padded, nn.BatchNorm2d(after), nn.ReLU()]
