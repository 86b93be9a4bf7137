"""An evaluation that is not finished: what each attack found, kept until all are done.

A draft is a folder named by everything that decides the result (weights, images, labels, attacks,
budget), so that a killed evaluation that is started again finds its own and no other.
"""

from dataclasses import dataclass
from pathlib import Path

from holdfast import kept
from holdfast.evaluation.judge import Case, Outcome
from holdfast.evaluation.suites import Suite
from holdfast.result import AttackResult


@dataclass(frozen=True, kw_only=True)
class Draft:
    """folder: where finished attacks are kept; None: nowhere."""

    folder: Path | None

    def recall(self, place: int, name: str, case: Case) -> Outcome | None:
        """What this attack found before a kill; None where it did not finish, or is damaged."""
        row = kept.read(self._file(place, name))
        if row is None:
            return None
        offered, height = (row.pop(key).to(case.x.device) for key in ("offered", "height"))
        return Outcome(result=AttackResult(**row), offered=offered, height=height)

    def keep(self, place: int, name: str, outcome: Outcome) -> None:
        """Put what an attack found on disk."""
        more = {"offered": outcome.offered, "height": outcome.height}
        kept.write(self._file(place, name), vars(outcome.result) | more)

    def _file(self, place: int, name: str) -> Path | None:
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        return None if self.folder is None else self.folder / f"{place:02d}-{stem}.safetensors"


def draft(folder: Path | None, case: Case, battery: Suite) -> Draft:
    """The draft of this evaluation in `folder`, or one that keeps nothing."""
    held = {"x": case.x, "y": case.y, "index": case.index, "clean": case.clean}
    about = [case.radius, case.norm, battery.attacks, battery.cascade, battery.radii]
    return Draft(folder=kept.place(folder, "evaluation", case.model, held, about))
