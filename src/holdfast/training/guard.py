"""When training is not worth going on with: robust and catastrophic overfitting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast import attack
from holdfast.errors import BadInput
from holdfast.limits import AT_LEAST_0, SHARE_ABOVE_0, require_ranges
from holdfast.record import Row
from holdfast.types import Attack

LEAST = 0.05  # a fall of PGD accuracy below this share of all images is no catastrophe
ROLLBACKS = 3
LENGTH = 1.25  # radii that the steps of a hardened adversary cover together (arXiv 2001.03994)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What happens when the validation split says that robustness is going. Epochs before the
    adversary comes do not count.

    Catastrophic overfitting of single-step training (Wong et al., arXiv 2001.03994): within an
    epoch, accuracy under PGD falls to nothing while clean accuracy stays. Robust overfitting
    (Rice et al., arXiv 2002.11569): accuracy under PGD no longer rises, then slowly falls.
    Raises BadInput for settings out of range.

    Attributes:
        catastrophe: at a sudden fall `warn` only says so, `stop` ends the run, and `rollback` does
            the epoch again from its beginning with twice the adversary's steps (at most three
            times, then it stops); `ignore` does not look.
        drop: share of the best PGD accuracy so far that must be lost (and 5 points at least), and
            of the best clean accuracy that must not be.
        patience: stop after so many epochs without a better criterion; 0: never.
    """

    catastrophe: Literal["ignore", "warn", "stop", "rollback"] = "warn"
    drop: float = 0.5
    patience: int = 0

    def __post_init__(self) -> None:
        require_ranges(self, drop=SHARE_ABOVE_0, patience=AT_LEAST_0)

    @property
    def rolls_back(self) -> bool:
        return self.catastrophe == "rollback"

    def alarm(self, row: Row, history: Sequence[Row]) -> str | None:
        """What to say where this epoch lost the robustness that an earlier one had. Averaged
        weights fall late: where there are, the raw ones are looked at."""
        pgd, clean = (
            f"raw_{name}" if f"raw_{name}" in row else name
            for name in ("validation_pgd", "validation_clean")
        )
        seen = [past for past in attacked(history) if pgd in past]
        if self.catastrophe == "ignore" or not seen or pgd not in row:
            return None
        best, best_clean = (max(past[name] for past in seen) for name in (pgd, clean))
        fell = best - row[pgd] > max(self.drop * best, LEAST)
        if not fell or row[clean] < (1 - self.drop) * best_clean:
            return None
        return (
            f"catastrophic overfitting: accuracy under PGD fell from {best:.1%} to "
            f"{row[pgd]:.1%} with clean accuracy at {row[clean]:.1%}"
        )

    def out_of_patience(self, epoch: int, best_epoch: int) -> str | None:
        """What to say where the best epoch lies too far back."""
        if not self.patience or not best_epoch or epoch - best_epoch < self.patience:
            return None
        return f"no better epoch than {best_epoch} in {self.patience} epochs"


def attacked(history: Sequence[Row]) -> list[Row]:
    """The epochs in which an adversary is at work; all, where there is none."""
    return [row for row in history if row["radius_share"] > 0]


def hardened(adversary: Attack, times: int) -> Attack:
    """The adversary with its steps doubled so many times; FGSM becomes PGD with 2 steps.

    The steps cover what they covered before, and 1.25 radii at least. Raises BadInput for an
    attack of another kind.
    """
    if times == 0:
        return adversary
    if isinstance(adversary, attack.FGSM):
        adversary = attack.PGD(
            radius=adversary.radius,
            norm=adversary.norm,
            steps=1,
            rel_stepsize=1,
            loss=adversary.loss,
        )
    if not isinstance(adversary, attack.PGD):
        raise BadInput(
            f"expected fgsm or pgd as adversary for rollback, got {adversary!r:.60}; take stop"
        )
    steps = adversary.steps * 2**times
    length = max(adversary.rel_stepsize * adversary.steps, LENGTH)
    return attack.with_settings(adversary, steps=steps, rel_stepsize=length / steps)
