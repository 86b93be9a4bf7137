"""Accuracy over budgets: a battery run anew at each radius, on what the smaller ones left."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from holdfast import record
from holdfast.errors import choose, require_call
from holdfast.evaluation.evaluate import evaluate
from holdfast.evaluation.inputs import attacks_of, require_settings
from holdfast.evaluation.suites import SUITES
from holdfast.loss import right
from holdfast.model import clean_logits, usable
from holdfast.record import Row
from holdfast.result import Finding, Standing, aligned, cells, doubted, numbers
from holdfast.types import Attack, Classifier, Images, Labels, Norm, Said

Battery = str | Callable[[float], Mapping[str, Attack]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """What a battery left at each of several radii, of the same images.

    radii: rising, pixel units of [0, 1], in `norm`. clean: before any attack.
    correct: which images stood, at each radius; one that fell at a smaller one has fallen.
    findings: what casts doubt on these numbers, each named once.
    """

    radii: tuple[float, ...]
    norm: Norm
    clean: Standing
    correct: Bool[Tensor, "radii images"]
    findings: tuple[Finding, ...] = ()

    @property
    def standings(self) -> list[Standing]:
        """Accuracy and interval at each radius: upper bounds on what is robust."""
        return [Standing(correct=flags) for flags in self.correct]

    def as_dict(self) -> Row:
        """Radii, accuracies and their 95 % intervals (Wilson), as shares."""
        points = [
            {"radius": radius, "accuracy": one.accuracy, "low": one.interval.low,
             "high": one.interval.high}
            for radius, one in zip(self.radii, self.standings, strict=True)
        ]  # fmt: skip
        return {
            "norm": self.norm, "images": len(self.clean.correct),
            "clean_accuracy": self.clean.accuracy, "points": points,
            "findings": [asdict(finding) for finding in self.findings],
        }  # fmt: skip

    head = ("radius", "accuracy", "95 % interval")

    def rows(self) -> list[list[str]]:
        """The cells of the table under `head`, clean images first."""
        named = zip(("clean", *(f"{one:.4g}" for one in self.radii)),
                    (self.clean, *self.standings), strict=True)  # fmt: skip
        return [[name, *cells(one)] for name, one in named]

    def table(self) -> str:
        """Accuracy at each radius as aligned text, and what casts doubt on it."""
        return doubted(aligned(self.head, self.rows()), self.findings)

    def save(self, folder: Path | str, about: Mapping[str, object] | None = None) -> Row:
        """Add a row to `curve.jsonl` in the folder, a run's or another. about: what else it says,
        such as `suite`, `checkpoint`, `split` and `seed`, as those of the command line do.
        Gives the row."""
        row = self.as_dict() | record.provenance(**(about or {}))
        record.append(Path(folder) / "curve.jsonl", row)
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
    batch_size: int | None = None,
    index: Labels | None = None,
    seed: int = 0,
    folder: Path | str | None = None,
    said: Said | None = None,
) -> Curve:
    """Accuracy over budgets, which an attack within one budget cannot tell: it looks no nearer than
    that. So the battery is run at each radius, the smallest first, each time on the images that
    still stand: what falls within a ball falls within every larger one.

    Args:
        model, x, y, norm, batch_size, index, seed: as for `evaluate`.
        radii: in any order, each 0 or more, pixel units of [0, 1].
        battery: a suite by name, or a function from a radius to attacks by name, such as
            `lambda radius: {"pgd": PGD(radius=radius, steps=100)}`.
        folder: where finished attacks are kept, as for `evaluate`.
        said: called with ("radii", radii done, radii).

    Raises BadInput: no radius, one out of range, and as `evaluate`.
    """
    wanted = sorted(set(numbers("radii", radii)))
    for radius in wanted:
        require_settings(radius, norm, batch_size)
    if isinstance(battery, str):
        choose(SUITES, battery, "a suite")
    else:
        require_call("battery", battery, ("radius",))
    x, y, index = usable(model, x, y, index)
    standing = right(clean_logits(model, x, y, batch_size), y)
    clean, correct, doubts = Standing(correct=standing.cpu()), [], {}
    for done, radius in enumerate(wanted, 1):
        rows = standing.nonzero().flatten()
        if len(rows) and radius > 0:
            named = isinstance(battery, str)
            found = evaluate(
                model, x[rows], y[rows], battery if named else "quick",
                attacks=None if named else _made(battery, radius),
                radius=radius, norm=norm, batch_size=batch_size, index=index[rows], seed=seed,
                folder=folder,
            )  # fmt: skip
            standing = standing.index_copy(0, rows, found.worst_case.correct.to(standing.device))
            doubts = {finding.name: finding for finding in found.findings} | doubts
        correct.append(standing.cpu())
        if said:
            said("radii", done, len(wanted))
    return Curve(
        radii=tuple(wanted), norm=norm, clean=clean, correct=torch.stack(correct),
        findings=tuple(doubts.values()),
    )  # fmt: skip


def _made(battery: Callable[[float], Mapping[str, Attack]], radius: float) -> Mapping[str, Attack]:
    """The attacks of this radius. Raises BadInput where those are none."""
    return attacks_of(battery(radius))
