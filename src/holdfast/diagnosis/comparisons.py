"""Signs of masking between attacks: one finds what another, which ought to be stronger, did not.

Athalye et al. 2018 (arXiv 1802.00420, section 3.1) and Carlini et al. 2019 (arXiv 1902.06705).
"""

from collections.abc import Callable

from holdfast.diagnosis.evidence import LOSSES, Evidence, Ladder, climbed
from holdfast.evaluation import paired
from holdfast.record import Row
from holdfast.result import Finding, Flags, Sign, fraction, reaches

Rule = Callable[[Evidence], Finding | None]
GAIN = 0.1  # share of images that another attack must fell beyond the first
MORE = 0.05  # share of images that must fall to more of the same attack
HALF = 0.5  # share of a small claim; of so much of it MORE are enough
CHANCE = 0.01  # of so uneven a split of the images by McNemar's test
FEW = 0.05  # share of images that may withstand an attack without a bound
SOME = 3  # images that blind search must fell where the claim did not
SHARE = 0.1  # of the images shown to blind search, likewise


def stronger(claim: Flags, other: Flags) -> Row | None:
    """By how much the other attack leaves less than the claim, where it is clear that it does:
    GAIN of all images, or MORE that are HALF of the claim."""
    compared, claimed = paired(claim, other), fraction(claim)
    enough = min(GAIN, max(MORE, HALF * claimed))
    if not reaches(compared.difference, enough) or compared.p > CHANCE:
        return None
    return {
        "claimed": claimed, "left": fraction(other),
        "low": compared.low, "high": compared.high, "p": compared.p, "images": compared.images,
    }  # fmt: skip


def loss(evidence: Evidence) -> Finding | None:
    """Logit-scale masking: another loss, or the same of rescaled logits, finds more than the claim,
    and, where that climbs no loss, than the attack that stands in for it."""
    base = evidence.claim
    if "cross-entropy" in evidence.remedies:
        base = base & evidence.remedies["cross-entropy"]
    return _compared(
        evidence, base, (*LOSSES, "float64"), Sign.LOSS_HIDES_ERRORS,
        "with all else equal, so that what the claim climbed is flat or saturated",
        "attack the margin or DLR loss, which no logit scale can flatten",
        "the claim" if base is evidence.claim else "cross-entropy",
    )  # fmt: skip


def _compared(
    evidence: Evidence, base: Flags, names: tuple[str, ...], sign: Sign, meaning: str, advice: str,
    who: str = "the best climbs",
) -> Finding | None:  # fmt: skip
    """The strongest of these attacks, where it is clearly stronger than what left `base`."""
    tried = {name: evidence.remedies[name] for name in names if name in evidence.remedies}
    if not tried:
        return None
    name = min(tried, key=lambda one: int(tried[one].sum()))
    row = stronger(base, tried[name])
    if row is None:
        return None
    less = f"{name} leaves {row['left']:.1%} where {who} left {row['claimed']:.1%}"
    return Finding(
        name=sign, evidence=row | {"attack": name}, meaning=f"{less}: {meaning}", advice=advice
    )


def _beyond(names: tuple[str, ...], sign: Sign, meaning: str, advice: str) -> Rule:
    """That one of these attacks finds more than all climbs along the gradient as it is."""

    def rule(evidence: Evidence) -> Finding | None:
        best = climbed(evidence.claim, evidence.remedies)
        return _compared(evidence, best, names, sign, meaning, advice)

    return rule


# Athalye's first: one step finds more than many, whichever way they climb.
one_step = _beyond(
    ("one step",), Sign.ONE_STEP_BEATS_MANY, "steps after the first lead away from wrong images",
    "climb with momentum, smaller steps and smoothed gradients",
)  # fmt: skip
# Athalye's second: an attack without gradients finds more than the one with them.
gradient_free = _beyond(
    ("gradient-free",), Sign.GRADIENT_FREE_FINDS_MORE,
    "without a gradient, so that the gradients mislead",
    "do not quote the attack with gradients; find what bends them",
)  # fmt: skip
# Pintor's fifth indicator and Carlini's advice: images made on another model find more.
transfer = _beyond(
    ("transfer",), Sign.TRANSFER_BEATS_WHITE_BOX,
    "the model's own gradients are worse than those of its twin",
    "start attacks from the twin's images, and quote the worst case",
)  # fmt: skip
# An operation without gradient, a draw, or jumps stood in the way.
views = _beyond(
    ("straight-through", "averaged", "smoothed", "turned"), Sign.REPAIRED_GRADIENT_FINDS_MORE,
    "the model is no harder to fool, its gradient is harder to follow",
    "quote the attack through that view, as the adaptive attack does",
)  # fmt: skip


def unbounded(evidence: Evidence) -> Finding | None:
    """Athalye's third and Pintor's I6: without a bound every image must fall, unless the model says
    one class whatever it sees."""
    if not evidence.budgets or Sign.ONE_CLASS in [flag.name for flag in evidence.flags]:
        return None
    radius, left = evidence.budgets[-1]
    if left <= FEW:
        return None
    return Finding(
        name=Sign.UNBOUNDED_ATTACK_FAILS,
        evidence={"left": left, "radius": radius, **_curve(evidence)},
        meaning=f"with the whole pixel box as budget the attack still leaves {left:.1%}, where any "
        "image can be made into any other",
        advice="the attack does not optimise: repair it before believing any number of it",
    )  # fmt: skip


def budget(evidence: Evidence) -> Finding | None:
    """Athalye's fifth: a larger budget does not help."""
    left = [accuracy for _, accuracy in evidence.budgets]
    worse = max((later - min(left[: i + 1]) for i, later in enumerate(left[1:])), default=0.0)
    if not reaches(worse, GAIN):
        return None
    return Finding(
        name=Sign.LARGER_BUDGET_FINDS_LESS, evidence={"rise": worse, **_curve(evidence)},
        meaning=f"accuracy rises by {worse:.1%} as the attack may change more, which the best one "
        "cannot do",
        advice="climb longer, with steps that fit the budget, and on another loss",
    )  # fmt: skip


def _curve(evidence: Evidence) -> Row:
    radii, left = zip(*evidence.budgets, strict=True)
    return {"radii": list(radii), "accuracies": list(left)}


def random_points(evidence: Evidence) -> Finding | None:
    """Athalye's fourth: random search finds what the gradient did not."""
    return _blind(
        evidence, "random points", Sign.RANDOM_POINTS_FIND_MORE, "random points of the ball fool",
        "smooth the gradient over such points, and quote the worst case",
    )  # fmt: skip


def hard_label(evidence: Evidence) -> Finding | None:
    """An attack that sees decisions alone finds what the gradient did not."""
    return _blind(
        evidence, "hard label", Sign.HARD_LABELS_FIND_MORE,
        "an attack that sees decisions alone fools",
        "do not quote the attack with gradients; find what bends them",
    )  # fmt: skip


def _blind(
    evidence: Evidence, attack: str, sign: Sign, meaning: str, advice: str
) -> Finding | None:
    flags = evidence.blind.get(attack)
    if flags is None:
        return None
    felled, images = int((~flags).sum()), len(flags)
    if felled < max(SOME, SHARE * images):
        return None
    return Finding(
        name=sign, evidence={"felled": felled, "images": images},
        meaning=f"{meaning} the model on {felled} of {images} images that all climbs left standing",
        advice=advice,
    )  # fmt: skip


def _climbing(ladder: Ladder, what: str, sign: Sign) -> Finding | None:
    if len(ladder) < 2 or not reaches(ladder[0][1] - ladder[-1][1], MORE):
        return None
    (few, before), (many, after) = ladder[0], ladder[-1]
    return Finding(
        name=sign,
        evidence={what: [n for n, _ in ladder], "accuracies": [left for _, left in ladder]},
        meaning=f"{many:.0f} {what} leave {after:.1%}, {few:.0f} left {before:.1%}: the claim "
        "stopped too early",
        advice=f"double the {what} until nothing changes",
    )  # fmt: skip


def more_steps(evidence: Evidence) -> Finding | None:
    """Carlini's: doubling the steps must change nothing."""
    return _climbing(evidence.steps, "steps", Sign.MORE_STEPS_FIND_MORE)


def more_restarts(evidence: Evidence) -> Finding | None:
    """Carlini's: doubling the restarts must change nothing."""
    return _climbing(evidence.restarts, "restarts", Sign.MORE_RESTARTS_FIND_MORE)
