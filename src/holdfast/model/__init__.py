"""Architectures with normalisation inside, saved as weights and a card."""

from holdfast.model.create import Card, Network, create, function, is_own
from holdfast.model.ensemble import ensemble
from holdfast.model.fast import (
    attempt,
    fast_form,
    fold_batch_norm,
    is_deterministic,
    same_up_to_rounding,
)
from holdfast.model.inputs import check_inputs, clean_logits
from holdfast.model.layers import with_fast_layers
from holdfast.model.modes import (
    AsModule,
    Metered,
    Mode,
    batches_of,
    eval_mode,
    frozen,
    map_batches,
    predict,
    resolve_batch_size,
)
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

__all__ = [
    "NETWORKS",
    "AsModule",
    "Card",
    "GuptaCNN",
    "MadryMNIST",
    "Metered",
    "Mode",
    "Network",
    "PreActResNet18",
    "ResNet18",
    "WideResNet",
    "ZouCNN4",
    "ZouCNN6",
    "attempt",
    "batches_of",
    "check_inputs",
    "clean_logits",
    "create",
    "ensemble",
    "eval_mode",
    "fast_form",
    "fold_batch_norm",
    "frozen",
    "function",
    "is_deterministic",
    "is_own",
    "load",
    "map_batches",
    "predict",
    "read_card",
    "read_weights",
    "resolve_batch_size",
    "restore",
    "same_up_to_rounding",
    "save",
    "save_run",
    "trained_on",
    "weights",
    "with_fast_layers",
]
