"""Signs of masking in gradients and on an attack's path: what keeps an attack from its optimum.

Pintor et al. 2022 (arXiv 2106.09947), whose indicators 1, 5 and 6 are among the flags of the
evaluation and in `comparisons`, and what they miss.
"""

from holdfast.diagnosis.evidence import Evidence
from holdfast.result import Finding, Sign, fraction, wilson

FEW = 0.05  # share of images with a bad gradient or climb that is worth a word
OFTEN = 0.1  # share of images on which a step along the gradient does not climb, likewise
WOBBLE = 0.1  # Pintor et al.'s bound on the relative change of the loss
SURE = 1.645  # standard errors that a mean must be above its bound: 95 %
MOVED = 0.05  # their bound on the rise of the loss, scaled to [0, 1], in the last steps
LAST = 10  # steps, of a path of at least twice as many
HALF = 0.5  # share of the images left standing whose climb was cut short
FELL = 0.02  # share of images that doubled steps must clearly have felled
LEAPS = 0.1  # share of the margin's change that comes in leaps
ALIKE = 0.9  # cosine of two gradients that say the same


def unstable(evidence: Evidence) -> Finding | None:
    """Pintor's I2, on the margin: the loss jumps from point to point, past its gradient.

    An honest network does so on the few images that it is hardly sure of: the mean must be above
    the bound for sure, not by those that happen to be in the sample.
    """
    images = len(evidence.wobble)
    if images < 2:
        return None
    mean = evidence.wobble.mean().item()
    low = mean - SURE * evidence.wobble.std().item() / images**0.5
    if not low > WOBBLE:
        return None
    return Finding(
        name=Sign.UNSTABLE_PREDICTIONS, evidence={"wobble": mean, "low": low, "images": images},
        meaning=f"the margin changes by {mean:.0%} of itself within 4/255 in ways that its "
        "gradient does not tell",
        advice="average gradients over nearby points or draws",
    )  # fmt: skip


def discontinuous(evidence: Evidence) -> Finding | None:
    """The margin leaps on the way along its gradient, as behind k-winners-take-all or rounding."""
    share = fraction(evidence.leaps > LEAPS) if len(evidence.leaps) else 0.0
    if share <= FEW:
        return None
    mean = evidence.leaps.mean().item()
    return Finding(
        name=Sign.DISCONTINUOUS_OUTPUTS,
        evidence={"share": share, "leaps": mean, "images": len(evidence.leaps)},
        meaning=f"on {share:.0%} of images the margin leaps on a line through the ball, where no "
        "gradient tells",
        advice="average gradients over nearby points, and attack without them",
    )  # fmt: skip


def silent(evidence: Evidence) -> Finding | None:
    """Pintor's I3: on the path of plain PGD an image was wrong and is right at the end."""
    path = evidence.dynamic.get("ce")
    if path is None or not len(path.wrong):
        return None
    share = fraction(path.wrong.any(1) & ~path.wrong[:, -1])
    if share <= FEW:
        return None
    return Finding(
        name=Sign.SILENT_SUCCESS, evidence={"share": share, "images": len(path.wrong)},
        meaning=f"on {share:.1%} of images PGD met an error on its way and lost it",
        advice="keep the best iterate, not the last",
    )  # fmt: skip


def unfinished(evidence: Evidence) -> Finding | None:
    """Pintor's I4: the loss, scaled to [0, 1], still rises in the last steps.

    The last few images of a network that falls lie at the boundary, where it always does: it must
    be so on more images than might count. On a robust one it may rise for long and reach little:
    where the steps were doubled, that must have felled more than a few.
    """
    path = evidence.dynamic.get("ce")
    if path is None or (len(evidence.steps) > 1 and wilson(*_felled(evidence)).low <= FELL):
        return None
    top = path.height[~path.wrong.any(1)].cummax(1).values
    if not len(top) or top.shape[1] <= 2 * LAST:
        return None
    whole = (top[:, -1] - top[:, 0]).clamp_min(1e-30)
    rising = int(((top[:, -1] - top[:, -1 - LAST]) / whole > MOVED).sum())
    if (share := rising / len(top)) <= HALF or wilson(rising, len(path.wrong)).low <= FEW:
        return None
    return Finding(
        name=Sign.UNFINISHED_CLIMB, evidence={"share": share, "images": len(top)},
        meaning=f"on {share:.0%} of the images left standing the loss still rises in the last "
        f"{LAST} steps",
        advice="take more steps, or longer ones",
    )  # fmt: skip


def _felled(evidence: Evidence) -> tuple[int, int]:
    """How many images of the sample fell as the steps were doubled, and of how many."""
    images, left = len(evidence.claim), [accuracy for _, accuracy in evidence.steps]
    return round((left[0] - left[-1]) * images), images


def vanishing(evidence: Evidence) -> Finding | None:
    """A gradient that is tiny but not zero, which no flag for zero gradients sees."""
    around = evidence.static.get("ce")
    if around is None or not len(around.zero):
        return None
    tiny = around.vanishing & ~around.zero
    if (share := fraction(tiny)) <= FEW:
        return None
    return Finding(
        name=Sign.VANISHING_GRADIENTS, evidence={"share": share, "floor": around.floor},
        meaning=f"on {share:.0%} of images the gradient of cross-entropy is shorter than "
        f"{around.floor:.0e}, and its direction rounding",
        advice="attack the margin, or cross-entropy of rescaled logits; exact normalisation",
    )  # fmt: skip


def precision(evidence: Evidence) -> Finding | None:
    """float32 sees another gradient than float64."""
    known = evidence.agreement[evidence.agreement.isfinite()]
    share = fraction(known < ALIKE) if len(known) else 0.0
    if share <= FEW:
        return None
    return Finding(
        name=Sign.FLOAT32_GRADIENTS_ARE_WRONG, evidence={"share": share, "images": len(known)},
        meaning=f"on {share:.0%} of images cross-entropy's gradient in float32 is zero or points "
        "elsewhere than in float64",
        advice="attack the margin, or in float64: model.double()",
    )  # fmt: skip


def wrong_way(evidence: Evidence) -> Finding | None:
    """A step along the gradient that lowers the loss."""
    known = evidence.rise[evidence.rise.isfinite()]
    share = fraction(known <= 0) if len(known) else 0.0
    if share <= OFTEN:
        return None
    return Finding(
        name=Sign.GRADIENTS_POINT_THE_WRONG_WAY, evidence={"share": share, "images": len(known)},
        meaning=f"on {share:.0%} of images a short step along the margin's gradient does not raise "
        "the margin",
        advice="compare with finite differences, and attack without this gradient",
    )  # fmt: skip


def operations(evidence: Evidence) -> Finding | None:
    """Operations without a derivative that change the gradient when they are bridged."""
    share = fraction(evidence.bridged < ALIKE) if len(evidence.bridged) else 0.0
    if share <= FEW:
        return None
    missed = ", ".join(evidence.missed)
    return Finding(
        name=Sign.HIDDEN_OPERATIONS,
        evidence={
            "share": share, "bridged": list(evidence.hidden), "missed": list(evidence.missed),
        },
        meaning=f"on {share:.0%} of images the gradient is another one past "
        f"{', '.join((*evidence.hidden, *evidence.missed))}, which have none of their own"
        + (f"; {missed}: bridged only where the shape came back" if missed else ""),
        advice="attack with a straight-through backward pass, as the adaptive attack does",
    )  # fmt: skip
