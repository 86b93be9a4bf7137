"""Named batteries of attacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.attack import FGSM, PGD
from holdfast.types import Attack, Norm


@dataclass(frozen=True, kw_only=True)
class Suite:
    """attacks: by name, in their order; cascade: each sees only what the ones before it left."""

    attacks: Mapping[str, Attack]
    cascade: bool = False


def quick(radius: float, norm: Norm, seed: int) -> Suite:
    """FGSM, PGD-20 on cross-entropy and PGD-20 on the margin, which saturation cannot stop."""
    return Suite(
        attacks={
            "fgsm": FGSM(radius=radius, norm=norm),
            "pgd": PGD(radius=radius, norm=norm, steps=20, seed=seed),
            "pgd-margin": PGD(radius=radius, norm=norm, steps=20, loss="margin", seed=seed),
        }
    )


SUITES: dict[str, Callable[[float, Norm, int], Suite]] = {"quick": quick}
