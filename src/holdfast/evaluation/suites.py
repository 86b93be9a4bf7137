"""Named batteries of attacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.attack import APGD, FAB, FGSM, PGD, Square
from holdfast.result import Finding
from holdfast.types import Attack, Norm


@dataclass(frozen=True, kw_only=True)
class Suite:
    """attacks: by name, in their order; cascade: each sees only what the ones before it left.

    findings: what is to be known of the battery itself.
    """

    attacks: Mapping[str, Attack]
    cascade: bool = False
    findings: tuple[Finding, ...] = ()


def quick(radius: float, norm: Norm, classes: int, seed: int) -> Suite:
    """FGSM, PGD-20 on cross-entropy and PGD-20 on the margin, which saturation cannot stop."""
    return Suite(
        attacks={
            "fgsm": FGSM(radius=radius, norm=norm),
            "pgd": PGD(radius=radius, norm=norm, steps=20, seed=seed),
            "pgd-margin": PGD(radius=radius, norm=norm, steps=20, loss="margin", seed=seed),
        }
    )


def standard(radius: float, norm: Norm, classes: int, seed: int) -> Suite:
    """AutoAttack's `standard` (Croce and Hein, arXiv 2003.01690), to its published schedule:
    APGD-CE and APGD-T with 100 steps, FAB-T with 100 steps, Square with 5,000 queries; 9 targets.

    The targeted DLR loss needs 4 classes: with 3 there is the untargeted one, with 2 the margin
    (which is what it comes to) in its place, and FAB-T has as many targets as other classes.
    """
    shared = {"radius": radius, "norm": norm, "seed": seed}
    if classes >= 4:
        second = {"apgd-t": APGD(loss="dlr", targets=min(9, classes - 1), **shared)}
    elif classes == 3:
        second = {"apgd-dlr": APGD(loss="dlr", **shared)}
    else:
        second = {"apgd-margin": APGD(loss="margin", **shared)}
    attacks = {
        "apgd-ce": APGD(**shared),
        **second,
        "fab-t": FAB(targets=min(9, classes - 1), **shared),
        "square": Square(**shared),
    }
    said = () if classes >= 4 else (_few(classes, *second),)
    return Suite(attacks=attacks, cascade=True, findings=said)


def _few(classes: int, instead: str) -> Finding:
    return Finding(
        name="few classes", evidence={"classes": classes},
        meaning=f"the targeted DLR loss ranks 4 classes, so with {classes} {instead} stands in "
        "its place",
        advice="say so where you compare with AutoAttack's published numbers",
    )  # fmt: skip


SUITES: dict[str, Callable[[float, Norm, int, int], Suite]] = {
    "quick": quick,
    "standard": standard,
}
