"""An evaluation that is not finished: what each attack found, kept until all are done.

A draft is a folder named by everything that decides the result (weights, images, labels, attacks,
budget), so that a killed evaluation that is started again finds its own and no other.
"""

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors import torch as tensors
from torch import Tensor, nn

from holdfast import record
from holdfast.evaluation.judge import Case, Outcome
from holdfast.evaluation.suites import Suite
from holdfast.result import AttackResult

log = logging.getLogger(__name__)
TENSORS = ("correct", "distance", "queries")  # of an AttackResult; the last may be None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """folder: where finished attacks are kept; None: nowhere."""

    folder: Path | None

    def recall(self, place: int, name: str, case: Case) -> Outcome | None:
        """What this attack found before a kill; None where it did not finish, or is damaged."""
        file = self._file(place, name)
        if file is None or not file.exists():
            return None
        try:
            with safe_open(file, framework="pt", device=str(case.x.device)) as opened:
                held = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
                row = json.loads(opened.metadata()["row"])
        except (SafetensorError, KeyError, ValueError, TypeError, OSError):
            log.warning("%s is damaged; %s runs again", file, name)
            return None
        found = {key: held[key].cpu() for key in TENSORS if key in held}
        return Outcome(
            result=AttackResult(**row, **found), offered=held["offered"], height=held["height"]
        )

    def keep(self, place: int, name: str, outcome: Outcome) -> None:
        """Put what an attack found on disk."""
        file = self._file(place, name)
        if file is None:
            return
        result = outcome.result
        row = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
        held = {key: row.pop(key) for key in TENSORS}
        held |= {"offered": outcome.offered, "height": outcome.height}
        whole = {key: t.contiguous().cpu() for key, t in held.items() if t is not None}
        record.write(file, tensors.save(whole, metadata={"row": json.dumps(row)}))

    def _file(self, place: int, name: str) -> Path | None:
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        return None if self.folder is None else self.folder / f"{place:02d}-{stem}.safetensors"


def draft(folder: Path | None, case: Case, battery: Suite) -> Draft:
    """The draft of this evaluation in `folder`, or one that keeps nothing."""
    if folder is None:
        return Draft(folder=None)
    facts = {
        "version": record.version(), "model": record.plain(case.model), "radius": case.radius,
        "norm": case.norm, "attacks": record.plain(battery.attacks), "cascade": battery.cascade,
        "radii": record.plain(battery.radii),
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts).encode())
    sources = [getattr(attack, "source", None) for attack in battery.attacks.values()]
    held = [tensor for model in (case.model, *sources) for tensor in _weights(model)]
    for tensor in (*held, case.x, case.y, case.index):
        digest.update(tensors.save({"": tensor.detach().contiguous().cpu()}))
    return Draft(folder=folder / digest.hexdigest()[:16])


def _weights(model: object) -> list[Tensor]:
    return list(model.state_dict().values()) if isinstance(model, nn.Module) else []
