"""An evaluation that is not finished: what each attack found, kept until all are done.

A draft is a folder named by everything that decides the result (weights, images, labels, attacks,
budget), so that a killed evaluation that is started again finds its own and no other.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from holdfast import kept
from holdfast.evaluation.judge import Case, Outcome
from holdfast.evaluation.suites import Suite
from holdfast.record import Row
from holdfast.result import AttackResult

NEEDED = {"correct", "distance", "prediction", "target", "offered", "height"}
TENSORS = (
    "correct",
    "distance",
    "prediction",
    "target",
    "queries",
)  # of an AttackResult; the last may be None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """folder: where finished attacks are kept; None: nowhere."""

    folder: Path | None

    def recall(self, place: int, name: str, case: Case) -> Outcome | None:
        """What this attack found before a kill; None where it did not finish, or is damaged."""
        found = kept.read(self._file(place, name))
        if found is None or not found[0].keys() >= NEEDED:  # an earlier holdfast kept less
            return None
        held, row = found
        offered, height = (held.pop(key).to(case.x.device) for key in ("offered", "height"))
        result: Row = row | held
        return Outcome(result=AttackResult(**result), offered=offered, height=height)

    def keep(self, place: int, name: str, outcome: Outcome) -> None:
        """Put what an attack found on disk."""
        result = outcome.result
        row = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
        held = {key: row.pop(key) for key in TENSORS}
        held |= {"offered": outcome.offered, "height": outcome.height}
        there = {key: value for key, value in held.items() if value is not None}
        kept.write(self._file(place, name), there, row)

    def _file(self, place: int, name: str) -> Path | None:
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        return None if self.folder is None else self.folder / f"{place:02d}-{stem}.safetensors"


def draft(folder: Path | None, case: Case, battery: Suite) -> Draft:
    """The draft of this evaluation in `folder`, or one that keeps nothing."""
    held = {"x": case.x, "y": case.y, "index": case.index, "clean": case.clean}
    about = [case.radius, case.norm, battery.attacks, battery.cascade, battery.radii]
    return Draft(folder=kept.place(folder, "evaluation", case.model, held, about))
