"""How a training run went."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from holdfast import record
from holdfast.record import Row
from holdfast.result.tables import Table


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained:
    """How a training run went.

    history: one row per epoch; shares for accuracies, bits for entropy, seconds for time.
    best_epoch: epoch of the highest `criterion` on the validation split.
    precision: in which matrix products ran. averaged: the model with averaged weights, if any.
    stopped: why training ended before its last epoch; None: it did not.
    """

    history: tuple[Row, ...]
    best_epoch: int
    criterion: str
    precision: str
    averaged: nn.Module | None
    folder: Path | None
    stopped: str | None = None

    def __repr__(self) -> str:
        last = len(self.history)
        rows = self.table(every=max(1, -(-last // 10)))
        head = f"Trained for {last} epochs ({self.precision}), best {self.best_epoch}\n{rows}"
        return "\n".join([head, f"The model has the weights of epoch {last}{self._others()}."])

    def _others(self) -> str:
        """Where weights are that the model in hand has not."""
        averaged = "; the averaged ones are in .averaged" if self.averaged else ""
        if not self.folder:
            return averaged
        place = self.folder / record.CHECKPOINTS / "best"
        return (
            f"{averaged}; those of epoch {self.best_epoch} are for holdfast.model.load('{place}')"
        )

    @property
    def seconds(self) -> float:
        """Seconds of training, without the measurements after each epoch."""
        return sum(row["seconds"] for row in self.history)

    def table(self, every: int = 1) -> str:
        """The epochs as aligned text, the last and every so many before it."""
        names = ["epoch", "loss", "train_clean", "validation_clean", "validation_fgsm",
                 "validation_pgd", "validation_entropy"]  # fmt: skip
        chosen = self.history[(len(self.history) - 1) % every :: every]
        rows = [[_cell(row.get(name)) for name in names] for row in chosen]
        return str(Table([name.replace("_", " ") for name in names], rows))


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str("" if value is None else value)
