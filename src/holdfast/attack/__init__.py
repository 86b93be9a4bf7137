"""Attacks: frozen settings that are called as `attack(model, x, y)` and return images.

Each file holds one attack; `run` hands an attack what it asks for.
"""

import dataclasses
import inspect

from holdfast.attack.apgd import APGD
from holdfast.attack.bim import BIM
from holdfast.attack.cw import CW
from holdfast.attack.ddn import DDN
from holdfast.attack.deepfool import DeepFool
from holdfast.attack.fab import FAB
from holdfast.attack.fgsm import FGSM
from holdfast.attack.hop_skip_jump import HopSkipJump
from holdfast.attack.mim import MIM
from holdfast.attack.noise import GaussianNoise, UniformNoise
from holdfast.attack.pgd import PGD
from holdfast.attack.simba import SimBA
from holdfast.attack.square import Square
from holdfast.errors import BadInput
from holdfast.types import Attack, Classifier, Images, Labels

ATTACKS: dict[str, type] = {
    "fgsm": FGSM,
    "bim": BIM,
    "pgd": PGD,
    "mim": MIM,
    "apgd": APGD,
    "deepfool": DeepFool,
    "ddn": DDN,
    "cw": CW,
    "fab": FAB,
    "square": Square,
    "hop-skip-jump": HopSkipJump,
    "simba": SimBA,
    "uniform-noise": UniformNoise,
    "gaussian-noise": GaussianNoise,
}


def run(
    attack: Attack, model: Classifier, x: Images, y: Labels, index: Labels,
    start: Images | None = None,
) -> Images:  # fmt: skip
    """The attack's images; one that names a parameter `index` is handed the positions, and one
    that names `start` the images from which it may set out, where there are any."""
    offered = {"index": index, "start": start}
    asked = inspect.signature(attack).parameters
    return attack(model, x, y, **{name: offered[name] for name in offered if name in asked})


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
    "DeepFool",
    "GaussianNoise",
    "HopSkipJump",
    "SimBA",
    "Square",
    "UniformNoise",
    "resized",
    "run",
]
