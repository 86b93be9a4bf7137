"""Attacks: frozen settings that are called as `attack(model, x, y)` and return images.

Each file holds one attack; `run` hands an attack what it asks for.
"""

import dataclasses

from holdfast.attack._run import notes, run, stated
from holdfast.attack.apgd import APGD
from holdfast.attack.bim import BIM
from holdfast.attack.boundary import Boundary
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
from holdfast.errors import BadInput
from holdfast.types import Attack

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
    "boundary": Boundary,
    "simba": SimBA,
    "uniform-noise": UniformNoise,
    "gaussian-noise": GaussianNoise,
}


def resized(attack: Attack, **settings: object) -> Attack:
    """The same attack with other settings. Raises BadInput for one that has none such."""
    known = (
        {f.name for f in dataclasses.fields(attack)} if dataclasses.is_dataclass(attack) else set()
    )
    if isinstance(attack, type) or not set(settings) <= known:
        wanted = " and ".join(set(settings) - known)
        raise BadInput(f"expected an attack with a setting {wanted}, got {attack!r:.60}")
    return dataclasses.replace(attack, **settings)  # pyright: ignore


__all__ = [
    "APGD",
    "ATTACKS",
    "BIM",
    "CW",
    "DDN",
    "FAB",
    "FGSM",
    "MIM",
    "PGD",
    "Boundary",
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
    "notes",
    "resized",
    "run",
    "stated",
]
