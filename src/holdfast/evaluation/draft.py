"""An evaluation that is not finished: what each attack found, kept until all are done.

A draft is a folder named by everything that decides the result (weights, images, labels, attacks,
budget, seed), so that a killed evaluation that is started again finds its own and no other.
"""

from collections.abc import Callable
from pathlib import Path

from holdfast import kept
from holdfast.evaluation.judge import Case, Outcome
from holdfast.evaluation.suites import Suite
from holdfast.result import AttackResult

ON_DEVICE = ("offered", "height")  # what the attacks to come begin with


def draft_folder(folder: Path | str | None, case: Case, battery: Suite, seed: int) -> Path | None:
    """Where this evaluation keeps what its attacks found; None: nowhere."""
    held = {"x": case.x, "y": case.y, "index": case.index, "clean": case.clean}
    about = [case.radius, case.norm, battery.attacks, battery.cascade, battery.radii, seed]
    return kept.folder_of(Path(folder) if folder else None, "evaluation", case.model, held, about)


def recalled(draft: Path | None, name: str, case: Case, attack: Callable[[], Outcome]) -> Outcome:
    """What the attack `name` found before a kill; where it did not finish, it is run now."""

    def piece() -> dict[str, object]:
        outcome = attack()
        return vars(outcome.result) | {key: getattr(outcome, key) for key in ON_DEVICE}

    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    row = kept.computed(draft and draft / f"{stem}.safetensors", piece)
    begun = {key: row.pop(key).to(case.x.device) for key in ON_DEVICE}
    return Outcome(result=AttackResult(**row), **begun)
