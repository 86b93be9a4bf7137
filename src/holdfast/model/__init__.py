"""Architectures with normalisation inside, saved as weights and a card."""

from holdfast.model.modes import Metered, Mode, lent, predict
from holdfast.model.networks import GuptaCNN, MadryMNIST, ResNet18
from holdfast.model.store import (
    NETWORKS,
    Card,
    Network,
    create,
    function,
    load,
    read_card,
    read_weights,
    restore,
    save,
    weights,
)

__all__ = [
    "NETWORKS",
    "Card",
    "GuptaCNN",
    "MadryMNIST",
    "Metered",
    "Mode",
    "Network",
    "ResNet18",
    "create",
    "function",
    "lent",
    "load",
    "predict",
    "read_card",
    "read_weights",
    "restore",
    "save",
    "weights",
]
