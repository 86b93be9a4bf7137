"""What rounds of retraining did, and whether each was worth keeping."""

from dataclasses import dataclass
from pathlib import Path

from holdfast.margin import Estimate, Margins, growth
from holdfast.record import Row
from holdfast.result import Table, Trained, reaches, round_table


@dataclass(frozen=True, eq=False, kw_only=True)
class Round:
    """One round of retraining.

    examples: how many were generated, for each class. measured: the margins they came from.
    before, after: margins of the judging images along fresh directions. clean: accuracy on the
    validation split before and after, shares. max_drop: how much of it the round may cost.
    """

    examples: list[int]
    measured: Margins
    before: Margins
    after: Margins
    clean: tuple[float, float]
    trained: Trained
    max_drop: float

    @property
    def kept(self) -> bool:
        """Whether the stop rule kept the round: larger margins, at no more than that drop."""
        lost = self.clean[0] - self.clean[1]
        return self.gain.value.item() > 0 and reaches(self.max_drop, lost)

    @property
    def fault(self) -> str:
        """What the stop rule holds against the round; empty where it is kept."""
        lost = 100 * (self.clean[0] - self.clean[1])
        if self.kept:
            return ""
        if self.gain.value.item() <= 0:
            return f"the mean margin did not grow ({self.gain.value.item():+.4f})"
        return f"clean accuracy fell by {lost:.1f} points, of {100 * self.max_drop:.1f} allowed"

    @property
    def gain(self) -> Estimate:
        """Growth of the mean margin over the judging images, in the judge's scale."""
        return growth(self.before, self.after)

    def __repr__(self) -> str:
        return f"Round of {sum(self.examples)} examples, {'kept' if self.kept else 'undone'}"

    def as_dict(self) -> Row:
        return {
            "examples": self.examples, "measured": self.measured.as_dict(),
            "before": self.before.as_dict(), "after": self.after.as_dict(),
            "gain": self.gain.value.item(),
            "gain_interval": [self.gain.low.item(), self.gain.high.item()],
            "clean_before": self.clean[0], "clean_after": self.clean[1], "kept": self.kept,
            "seconds": self.trained.seconds,
        }  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Retrained:
    """All rounds, in their order; the model is that of the last one kept."""

    rounds: tuple[Round, ...]
    folder: Path | None

    def as_table(self) -> Table:
        """Of each round what grew, what it cost, and whether it was kept."""
        return round_table(one.as_dict() for one in self.rounds)

    def table(self) -> str:
        """The same as aligned text."""
        return str(self.as_table())

    def __repr__(self) -> str:
        return f"Retrained in {len(self.rounds)} rounds\n{self.table()}"
