"""Runs side by side: what was set otherwise in each, and what attacks left of it."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import record
from holdfast.report.groups import cell_text, column_name, in_common, layout
from holdfast.report.intervals import of_mean
from holdfast.report.measured import Measured
from holdfast.result import Table

LATEX = str.maketrans(
    {one: f"\\{one}" for one in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A table: a line for each run, or for the runs that differ in seeds alone.

    rows: the same for machines, accuracies as shares, of several runs with all that the function
    which made it says of them. about: what all lines have in common, and how they are read.
    """

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    rows: tuple[record.Row, ...] = ()
    about: str = ""

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Aligned columns, and below them what they have in common."""
        return "\n".join([str(Table(self.head, self.lines)), *([self.about] if self.about else [])])

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        lines = ([cell.replace("|", r"\|") for cell in line] for line in (self.head, *self.lines))
        head, *body = (f"| {' | '.join(line)} |" for line in lines)
        below = ["", self.about] if self.about else []
        return "\n".join([head, f"| {' | '.join(rule)} |", *body, *below])

    def latex(self) -> str:
        """A `tabular` with the rules of the package booktabs, below a comment that says what the
        lines have in common."""
        head, *lines = (
            " & ".join(cell.translate(LATEX).replace("±", r"$\pm$") for cell in line) + r" \\"
            for line in (self.head, *self.lines)
        )
        begin = rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}"
        parts = [begin, r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
        return "\n".join([*([f"% {self.about}"] if self.about else []), *parts])

    def csv(self) -> str:
        """The rows for machines."""
        told, names = io.StringIO(), dict.fromkeys(name for row in self.rows for name in row)
        writer = csv.DictWriter(told, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return told.getvalue()


def summary(
    runs: Sequence[Path | str], *, suite: str | None = None, over_seeds: bool = False,
    interval: bool = False, every: bool = False,
) -> Summary:  # fmt: skip
    """The newest evaluation of each run, in per cent, beside the settings in which the runs differ.

    runs: run folders; those without an evaluation are left out, which is said.
    suite: only evaluations of this suite or attack count.
    over_seeds: runs that differ in seeds alone, and were attacked alike, become one line, mean ±
        standard deviation. Where they started from other runs, these must do so too. In `rows`
        also a 95 % interval of the mean, which Student's t makes wide for few runs.
    interval: of several runs the 95 % interval of the mean by Student's t instead.
    every: all evaluations of each run, the newest of those by one suite or attack within one budget
        on the same images, a line each.
    Raises BadInput where nothing is left.
    """
    found, names, scores, groups = layout(runs, suite, over_seeds, every)
    lines = [
        (str(len(group)) if over_seeds else group[0].run,
         *(cell_text(group[0].settings.get(name)) for name in names),
         *(_share([o.accuracy[name] for o in group if name in o.accuracy], interval)
           for name in scores),
         *(() if over_seeds else [_range(group[0].interval)]))
        for group in groups
    ]  # fmt: skip
    head = ("runs" if over_seeds else "run", *map(column_name, names), *scores)
    told = _over_runs if over_seeds else _alone
    return Summary(
        head=head if over_seeds else (*head, "95 % interval"), lines=tuple(lines),
        rows=tuple(told(group, names, scores) for group in groups),
        about=" ".join([*in_common(found), *([_reach(interval)] if over_seeds else [])]),
    )  # fmt: skip


def _alone(group: Sequence[Measured], names: Sequence[str], scores: Sequence[str]) -> record.Row:
    (one,) = group
    settings = {column_name(name): one.settings.get(name) for name in names}
    shares = {name: one.accuracy.get(name) for name in scores}
    return (
        {"run": one.run} | settings | shares | dict(zip(("low", "high"), one.interval, strict=True))
    )


def _over_runs(
    group: Sequence[Measured], names: Sequence[str], scores: Sequence[str]
) -> record.Row:
    row: record.Row = {"runs": len(group)}
    row |= {column_name(name): group[0].settings.get(name) for name in names}
    for name in scores:
        values = [one.accuracy[name] for one in group if name in one.accuracy]
        mean = statistics.fmean(values) if values else math.nan
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        known = zip(("", " sd", " low", " high"), (mean, spread, *_ends(values)), strict=True)
        row |= {name + part: None if math.isnan(one) else one for part, one in known}
    return row


def _range(interval: tuple[float, float]) -> str:
    return " to ".join(f"{100 * end:.1f}" for end in interval)


def _reach(interval: bool) -> str:
    reach = "95 % interval of the mean (Student's t)" if interval else "standard deviation"
    return f"Mean and {reach} over runs."


def _share(scores: Sequence[float], interval: bool) -> str:
    """Per cent; of several runs the mean and the standard deviation, or the mean's interval."""
    if not scores:
        return "-"
    mean = f"{100 * statistics.fmean(scores):.1f}"
    if len(scores) == 1:
        return mean
    if interval:
        return f"{mean} ({_range(_ends(scores))})"
    return f"{mean} ± {100 * statistics.stdev(scores):.1f}"


def _ends(scores: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean over runs, within [0, 1]; NaN for one run."""
    low, high = of_mean(scores)
    return max(low, 0.0), min(high, 1.0)
