"""What a diagnosis rests on: attacks beside the claim, and measurements."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from holdfast.diagnosis.dynamic import Dynamic
from holdfast.diagnosis.entropy import Entropy
from holdfast.diagnosis.spread import Difference
from holdfast.diagnosis.static import Static
from holdfast.result import Finding, Flags
from holdfast.types import Labels

Right = Float[Tensor, " right"]
Ladder = tuple[tuple[float, float], ...]
LOSSES = ("margin", "dlr", "rescaled")  # remedies that climb as the claim does, on another loss
CLIMBS = (
    "cross-entropy",
    *LOSSES,
    "momentum",
    "more steps",
    "more restarts",
)  # all that trust the gradient


def climbed(claim: Flags, remedies: Mapping[str, Flags]) -> Flags:
    """What is left of the claim by climbs along the gradient as it is, on any loss, with momentum,
    more steps or restarts: who finds more than they did knows more than the gradient."""
    return torch.stack([claim, *(remedies[name] for name in CLIMBS if name in remedies)]).all(0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """All that the findings are made from; every part may be missing, and is then empty.

    Flags are `[images]` of the sample, true where the model is right; numbers from `wobble` to
    `bridged` are of those that it gets right without attack.

    rows: where these images stand among those that were given.
    claim: after the attack that made the claim.
    remedies: after an attack with a thing that the claim lacks, by that thing's name.
    few: images of the sample, by row, that all climbs left standing, for the costly attacks;
    blind: flags of those, `[few]`, after random points and after the hard-label attack.
    steps, restarts: (how many, accuracy of the sample), doubled until nothing changed.
    budgets: (radius, accuracy of the sample under the claim), to the whole pixel box.
    entropy: of the policy on the sample as it is (clean), under the claim with all its steps
    (attacked), and at a random point of the ball around each image (noisy).
    static, dynamic: by loss, on clean images of the sample that are classified right.
    wobble: mean relative change of the margin within 4/255 that its gradient does not explain.
    leaps: share of the margin's change along a line in the ball that comes in leaps.
    agreement: cosine of cross-entropy's gradient in float32 with that in float64; 1 where both
    are zero, 0 where one is, NaN for a model that has no float64.
    rise: gain of the margin over a short step along its gradient, as a share of the prediction;
    NaN where the gradient is zero.
    bridged: cosine of the margin's gradient with the one past hidden operations; likewise.
    hidden, missed: names of operations without gradient, bridged and out of reach.
    flags: what the evaluation itself casts doubt on.
    beside: each indicator less that of the twin, by loss and name; empty without one.
    """

    rows: Labels
    claim: Flags
    remedies: Mapping[str, Flags]
    few: tuple[int, ...]
    blind: Mapping[str, Bool[Tensor, " few"]]
    steps: Ladder
    restarts: Ladder
    budgets: Ladder
    entropy: Mapping[str, Entropy]
    static: Mapping[str, Static]
    dynamic: Mapping[str, Dynamic]
    wobble: Right
    leaps: Right
    agreement: Right
    rise: Right
    bridged: Float[Tensor, " right_or_none"]
    hidden: tuple[str, ...]
    missed: tuple[str, ...]
    flags: tuple[Finding, ...]
    beside: Mapping[str, Difference]
