"""Attacks: frozen settings that are called as `attack(model, x, y)` and return images.

Each file holds one attack; `run` hands an attack what it asks for.
"""

from holdfast.attack._common import positions
from holdfast.attack._run import (
    OPTIONAL_ARGUMENTS,
    aimed_at,
    counts_queries,
    draws_of,
    inner_setting,
    run,
    settings_of,
    share_crossed,
    with_settings,
)
from holdfast.attack.apgd import APGD
from holdfast.attack.bim import BIM
from holdfast.attack.boundary import BoundaryAttack
from holdfast.attack.cw import CW
from holdfast.attack.ddn import DDN
from holdfast.attack.deepfool import DeepFool
from holdfast.attack.fab import FAB
from holdfast.attack.fgsm import FGSM
from holdfast.attack.hop_skip_jump import HopSkipJump
from holdfast.attack.mim import MIM
from holdfast.attack.min_margin import MinMargin
from holdfast.attack.noise import GaussianNoise, UniformNoise
from holdfast.attack.pgd import PGD
from holdfast.attack.simba import SimBA
from holdfast.attack.square import Square
from holdfast.attack.targeted import Targeted
from holdfast.attack.transfer import Transfer
from holdfast.attack.transfer_mim import TransferMIM

ATTACKS: dict[str, type] = {
    "fgsm": FGSM,
    "bim": BIM,
    "pgd": PGD,
    "mim": MIM,
    "transfer-mim": TransferMIM,
    "apgd": APGD,
    "min-margin": MinMargin,
    "deepfool": DeepFool,
    "ddn": DDN,
    "cw": CW,
    "fab": FAB,
    "square": Square,
    "hop-skip-jump": HopSkipJump,
    "boundary": BoundaryAttack,
    "simba": SimBA,
    "uniform-noise": UniformNoise,
    "gaussian-noise": GaussianNoise,
}


__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "CW",
    "DDN",
    "FAB",
    "FGSM",
    "MIM",
    "OPTIONAL_ARGUMENTS",
    "PGD",
    "BoundaryAttack",
    "DeepFool",
    "GaussianNoise",
    "HopSkipJump",
    "MinMargin",
    "SimBA",
    "Square",
    "Targeted",
    "Transfer",
    "TransferMIM",
    "UniformNoise",
    "aimed_at",
    "counts_queries",
    "draws_of",
    "inner_setting",
    "positions",
    "run",
    "settings_of",
    "share_crossed",
    "with_settings",
]
