"""Accuracy over budgets: a battery run anew at each radius, on what the smaller ones left."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from holdfast import record
from holdfast.errors import BadInput, choose, require_call
from holdfast.evaluation.evaluate import evaluate
from holdfast.evaluation.inputs import as_attacks, require_settings
from holdfast.evaluation.suites import SUITES, Task
from holdfast.limits import require_numbers
from holdfast.loss import is_correct
from holdfast.model import check_inputs, clean_logits
from holdfast.record import Row
from holdfast.result import WORST, Evaluation, Finding, Flags, Standing, Table, curve_table, doubted
from holdfast.types import Attack, Classifier, Images, Labels, Norm, Progress

Battery = str | Callable[[float], Mapping[str, Attack]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """What a battery left at each of several radii, of the same images.

    radii: rising, pixel units of [0, 1], in `norm`. clean: before any attack.
    correct: which images stood, at each radius; one that fell at a smaller one has fallen.
    attacks: the same of each attack alone, where they were run apart.
    findings: what casts doubt on these numbers, each named once.
    """

    radii: tuple[float, ...]
    norm: Norm
    clean: Standing
    correct: Bool[Tensor, "radii images"]
    attacks: Mapping[str, Bool[Tensor, "radii images"]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def standings(self) -> list[Standing]:
        """Accuracy and interval at each radius: upper bounds on what is robust."""
        return [Standing(correct=flags) for flags in self.correct]

    def as_dict(self) -> Row:
        """Radii, accuracies and their 95 % intervals (Wilson), as shares."""
        near = self.clean.interval
        return {
            "norm": self.norm, "images": len(self.clean.correct),
            "clean_accuracy": self.clean.accuracy, "clean_interval": [*near],
            "points": self._points(self.correct),
            "attacks": {name: self._points(flags) for name, flags in self.attacks.items()},
            "findings": [asdict(finding) for finding in self.findings],
        }  # fmt: skip

    def _points(self, correct: Bool[Tensor, "radii images"]) -> list[Row]:
        standings = [Standing(correct=flags) for flags in correct]
        return [
            {"radius": radius, "accuracy": one.accuracy, "low": one.interval.low,
             "high": one.interval.high}
            for radius, one in zip(self.radii, standings, strict=True)
        ]  # fmt: skip

    def as_table(self) -> Table:
        """Accuracy at each radius, clean images first."""
        return curve_table(self.as_dict())

    def table(self) -> str:
        """The same as aligned text, and what casts doubt on it."""
        return doubted(self.as_table(), self.findings)

    def save(self, folder: Path | str, about: Mapping[str, object] | None = None) -> Row:
        """Add a row to `curve.jsonl` in the folder, a run's or another. about: what else it says,
        such as `suite`, `checkpoint`, `split` and `seed`, as those of the command line do.
        Gives the row."""
        row = self.as_dict() | record.provenance(**(about or {}))
        record.append(Path(folder) / record.CURVES, row)
        return row

    def __repr__(self) -> str:
        return f"Curve of {len(self.clean.correct)} images in {self.norm}\n{self.table()}"


def curve(
    model: Classifier,
    x: Images,
    y: Labels,
    radii: Iterable[float],
    battery: Battery = "quick",
    *,
    norm: Norm = "linf",
    apart: bool = False,
    batch_size: int | None = None,
    index: Labels | None = None,
    seed: int = 0,
    folder: Path | str | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Accuracy over budgets, which an attack within one budget cannot tell: it looks no nearer than
    that. So the battery is run at each radius, the smallest first, each time on the images that
    still stand: what falls within a ball falls within every larger one.

    Args:
        model, x, y, norm, batch_size, index, seed: as for `evaluate`.
        radii: in any order, each 0 or more, pixel units of [0, 1].
        battery: a suite by name, or a function from a radius to attacks by name, such as
            `lambda radius: {"pgd": PGD(radius=radius, steps=100)}`.
        apart: each attack goes on with the images that withstood it, whatever the others found, so
            that each has a curve of its own; for attacks of the same names at every radius, and
            for none that see only what others leave.
        folder: where finished attacks are kept, as for `evaluate`.
        progress: called with ("radii", radii done, radii).

    Raises BadInput: no radius, one out of range, attacks that cannot be taken apart, and as
    `evaluate`.
    """
    wanted = sorted(set(require_numbers("radii", radii)))
    for radius in wanted:
        require_settings(radius, norm, batch_size)
    if isinstance(battery, str):
        made = choose(SUITES, battery, "a suite")
        task = Task(radius=max(wanted), norm=norm, classes=10, pixels=1)  # a cascade for any
        if apart and made(task).cascade:
            raise BadInput(
                f"expected attacks that all see every image, to be taken apart, got {battery}, a "
                "cascade; leave apart out, or name the attacks yourself"
            )
    else:
        require_call("battery", battery, ("radius",))
    x, y, index = check_inputs(model, x, y, index)
    clean = is_correct(clean_logits(model, x, y, batch_size), y).cpu()
    held, path, doubts = {WORST: clean}, [], {}
    for done, radius in enumerate(wanted, 1):
        rows = torch.stack([*held.values()]).any(0).nonzero().flatten()
        if len(rows) and radius > 0:
            here = rows.to(x.device)
            found = evaluate(
                model, x[here], y[here], battery if isinstance(battery, str) else None,
                attacks=None if isinstance(battery, str) else as_attacks(battery(radius)),
                radius=radius, norm=norm, batch_size=batch_size, index=index[here], seed=seed,
                folder=folder,
            )  # fmt: skip
            held = _after(held, found, rows, apart)
            doubts = {finding.name: finding for finding in found.findings} | doubts
        path.append(held)
        if progress:
            progress("radii", done, len(wanted))
    stood = {name: torch.stack([one.get(name, clean) for one in path]) for name in held}
    return Curve(
        radii=tuple(wanted), norm=norm, clean=Standing(correct=clean), correct=stood.pop(WORST),
        attacks=stood, findings=tuple(doubts.values()),
    )  # fmt: skip


def _after(
    held: Mapping[str, Flags], found: Evaluation, rows: Int[Tensor, " rows"], apart: bool
) -> dict[str, Flags]:
    """Which of all images stand once these rows were attacked: in the worst case and, where asked
    for, against each attack alone. Raises BadInput for attacks that cannot be taken apart."""
    stood: dict[str, Standing] = {WORST: found.worst_case}
    if apart:
        stood |= {one.name: one for one in found.attacks}
        if len(held) > 1 and held.keys() != stood.keys():
            names = [name for name in held if name != WORST]
            raise BadInput(
                f"expected the attacks {', '.join(names)} at every radius, to be taken apart, got "
                f"{', '.join(one.name for one in found.attacks)}; name them alike"
            )
    everywhere = torch.ones_like(held[WORST])
    return {
        name: held.get(name, held[WORST]) & everywhere.index_copy(0, rows, one.correct)
        for name, one in stood.items()
    }
