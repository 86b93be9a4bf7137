"""Architectures: image shape and classes are arguments, pixels in [0, 1] go in, logits come out."""

from collections.abc import Callable

from torch import nn

from holdfast.model.networks.convolutional import GuptaCNN, MadryMNIST, ZouCNN4, ZouCNN6
from holdfast.model.networks.libraries import LIBRARIES
from holdfast.model.networks.residual import PreActResNet18, ResNet18, WideResNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "gupta_cnn": GuptaCNN,
    "madry_mnist": MadryMNIST,
    "zou_cnn4": ZouCNN4,
    "zou_cnn6": ZouCNN6,
    "resnet18": ResNet18,
    "preact_resnet18": PreActResNet18,
    "wide_resnet": WideResNet,
}

__all__ = [
    "LIBRARIES",
    "NETWORKS",
    "GuptaCNN",
    "MadryMNIST",
    "PreActResNet18",
    "ResNet18",
    "WideResNet",
    "ZouCNN4",
    "ZouCNN6",
]
