"""Architectures with normalisation inside, saved as weights and a card."""

from holdfast.model.create import Card, Network, create, function, is_own
from holdfast.model.ensemble import ensemble
from holdfast.model.inputs import clean_logits, usable
from holdfast.model.modes import Metered, Mode, Module, at_once, by_batch, examined, lent, predict
from holdfast.model.networks import (
    NETWORKS,
    GuptaCNN,
    MadryMNIST,
    PreActResNet18,
    ResNet18,
    WideResNet,
    ZouCNN4,
    ZouCNN6,
)
from holdfast.model.store import (
    load,
    read_card,
    read_weights,
    restore,
    save,
    save_run,
    trained_on,
    weights,
)
from holdfast.model.swift import attempt, folded, near, steady, swift

__all__ = [
    "NETWORKS",
    "Card",
    "GuptaCNN",
    "MadryMNIST",
    "Metered",
    "Mode",
    "Module",
    "Network",
    "PreActResNet18",
    "ResNet18",
    "WideResNet",
    "ZouCNN4",
    "ZouCNN6",
    "at_once",
    "attempt",
    "by_batch",
    "clean_logits",
    "create",
    "ensemble",
    "examined",
    "folded",
    "function",
    "is_own",
    "lent",
    "load",
    "near",
    "predict",
    "read_card",
    "read_weights",
    "restore",
    "save",
    "save_run",
    "steady",
    "swift",
    "trained_on",
    "usable",
    "weights",
]
