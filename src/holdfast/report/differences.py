"""How much better one way of training is than another, over seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import record
from holdfast.errors import BadInput
from holdfast.report.groups import cell_text, column_name, in_common, layout
from holdfast.report.intervals import Interval, of_difference, of_mean
from holdfast.report.measured import Measured, require_list
from holdfast.report.summary import Summary

READING = (
    "The first line is the mean over runs, the others are points more than that, with the 95 % "
    "interval over seeds, on these images: of lines with the same seeds, which are paired, "
    "Student's t of the differences, else Welch's."
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two means over runs. paired: whether it is of runs of one seed each; no interval (NaN)
    where one of the two has a single run, or, paired, both."""

    value: float
    interval: Interval
    paired: bool

    def __str__(self) -> str:
        ends = "" if math.isnan(self.interval[0]) else " ({:+.1f} to {:+.1f})".format(
            *(100 * end for end in self.interval)
        )  # fmt: skip
        return f"{100 * self.value:+.1f}{ends}"


def differences(
    runs: Sequence[Path | str], against: Path | str, *, suite: str | None = None
) -> Summary:
    """The lines of `summary(over_seeds=True)`, as differences from the line of the run `against`.

    The line of `against` comes first, with its means. `rows`, for machines, have the mean of every
    line, and its difference with the ends of the interval, all as shares.
    Raises BadInput where `against` is none of the runs that have an evaluation.
    """
    require_list(runs)
    found, names, scores, groups = layout([*runs, against], suite, over_seeds=True)
    place = Path(against).resolve()
    base = next((g for g in groups if any(Path(one.run).resolve() == place for one in g)), None)
    if base is None or len(groups) == 1:
        got = f"no evaluation of {against}" if base is None else "runs of one kind alone"
        raise BadInput(
            f"expected an evaluated run to compare with and runs that differ in more than seeds, "
            f"got {got}; name runs of both kinds"
        )
    others = [group for group in groups if group is not base]
    lines = [_line(base, names, scores, base), *(_line(g, names, scores, base) for g in others)]
    return Summary(
        head=("runs", *map(column_name, names), "paired", *scores),
        lines=tuple(cells for cells, _ in lines), rows=tuple(row for _, row in lines),
        about=" ".join([*in_common(found), READING]),
    )  # fmt: skip


def _line(
    group: Sequence[Measured], names: Sequence[str], scores: Sequence[str], base: Sequence[Measured]
) -> tuple[tuple[str, ...], record.Row]:
    """The cells of a line, and the same for machines: of the base its means alone."""
    settings = {column_name(name): group[0].settings.get(name) for name in names}
    row: record.Row = {"runs": len(group)} | settings | {"paired": None}
    cells = [str(len(group)), *map(cell_text, settings.values())]
    found = {name: None if group is base else difference(group, base, name) for name in scores}
    if any(found.values()):
        row["paired"] = all(one.paired for one in found.values() if one)
    cells.append({True: "yes", False: "no", None: "-"}[row["paired"]])
    for name, one in found.items():
        held = [score for _, score in _by_seed(group, name)]
        row[name] = statistics.fmean(held) if held else None
        mean = f"{100 * row[name]:.1f}" if held and group is base else "-"
        cells.append(str(one) if one else mean)
        if one:
            told = zip(("difference", "low", "high"), (one.value, *one.interval), strict=True)
            row |= {f"{name} {part}": None if math.isnan(n) else n for part, n in told}
    return tuple(cells), row


def difference(group: Sequence[Measured], base: Sequence[Measured], name: str) -> Difference | None:
    """Of an accuracy between the runs of two lines; None where a line lacks it."""
    ours, theirs = (_by_seed(some, name) for some in (group, base))
    if not ours or not theirs:
        return None
    value = statistics.fmean(s for _, s in ours) - statistics.fmean(s for _, s in theirs)
    first, second = dict(ours), dict(theirs)
    paired = first.keys() == second.keys() and len(first) == len(ours) == len(theirs)
    if paired and None not in first:
        apart = [score - second[seed] for seed, score in ours]
        return Difference(value=value, interval=of_mean(apart), paired=True)
    interval = of_difference([s for _, s in ours], [s for _, s in theirs])
    return Difference(value=value, interval=interval, paired=False)


def _by_seed(group: Sequence[Measured], name: str) -> list[tuple[int | None, float]]:
    held = [one for one in group if name in one.accuracy]
    return [(one.settings.get("seed"), one.accuracy[name]) for one in held]
