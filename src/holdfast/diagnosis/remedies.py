"""Attacks beside the claim, each with one thing that the claim lacks and is named after."""

from typing import Any, get_args

from torch import Tensor

from holdfast import attack as attacks_of
from holdfast.attack import FGSM, MIM, PGD, Square, Transfer
from holdfast.diagnosis.failures import ALIKE
from holdfast.diagnosis.patient import Depth, Patient
from holdfast.diagnosis.views import ThroughViews
from holdfast.loss import LossName, resolve_loss
from holdfast.types import Attack


def remedies(part: Patient, depth: Depth) -> dict[str, Attack]:
    """Variants of the claim with one thing changed, by the name of what that is: its loss, its
    steps, no gradient at all. Where the claim climbs no loss, PGD stands in for it, and is itself
    one of them, by its loss.
    """
    ball: dict[str, Any] = {"radius": part.radius, "norm": part.norm}
    base = _climber(part)
    found: dict[str, Attack] = {
        "one step": FGSM(**ball),
        "margin": _with_loss(base, "margin"),
        "rescaled": ThroughViews(attack=base, views=("rescaled",)),
        "momentum": MIM(steps=20, loss="margin", **ball),
        "smoothed": ThroughViews(
            attack=PGD(steps=10, loss="margin", seed=part.seed, **ball), views=("smoothed",)
        ),
    }
    if base is not part.claim:
        found["cross-entropy"] = base
    if part.classes >= 3:
        found["dlr"] = _with_loss(base, "dlr")
    found = {name: part.per_draw(one) for name, one in found.items()}
    if part.random:
        found["averaged"] = base
    if part.twin is not None:
        source = PGD(steps=20, loss="margin", seed=part.seed, **ball)
        found["transfer"] = Transfer(attack=source, source=part.twin)
    if part.x.ndim == 4:
        found["gradient-free"] = Square(queries=depth.queries, rescale=True, seed=part.seed, **ball)
    return found


def repairs(
    part: Patient, operations: tuple[str, ...], rise: Tensor, agreement: Tensor
) -> dict[str, Attack]:
    """The claim's climb of the margin through views that a probe calls for."""
    views = {
        "straight-through": bool(operations),
        "turned": bool((rise <= 0).any()),
        "float64": bool((agreement < ALIKE).any()),
    }
    base = _climber(part)
    by_margin = _with_loss(base, "margin")
    return {
        view: part.per_draw(
            ThroughViews(attack=base if view == "float64" else by_margin, views=(view,))
        )
        for view, wanted in views.items()
        if wanted
    }


def full_range_claim(part: Patient) -> Attack:
    """The claim where it climbs a loss and its steps reach across its ball, else PGD."""
    base = _climber(part)
    known = "radius" in attacks_of.settings_of(base)
    return (
        base if known and not 0 < attacks_of.share_crossed(base) < 1 - 1e-9 else _default_pgd(part)
    )


def _climber(part: Patient) -> Attack:
    """The claim where it climbs a loss, else PGD."""
    claim: Any = part.claim
    if "loss" not in attacks_of.settings_of(claim) or getattr(claim, "targets", 0):
        return _default_pgd(part)
    return claim if callable(claim.loss) or claim.loss in get_args(LossName) else _default_pgd(part)


def _with_loss(climber: Any, loss: LossName) -> Attack:
    """The same climb on another loss, by name or as a function, whichever its own is."""
    return attacks_of.with_settings(
        climber, loss=loss if isinstance(climber.loss, str) else resolve_loss(loss)
    )


def _default_pgd(part: Patient) -> Attack:
    return PGD(radius=part.radius, norm=part.norm, steps=20, seed=part.seed)
