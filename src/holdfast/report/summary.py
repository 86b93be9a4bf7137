"""Runs side by side: what was set otherwise in each, and what attacks left of it."""

import csv
import io
import json
import logging
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import record
from holdfast.report.measured import ABOUT, ELSEWHERE, STARTS, WORST, Measured, is_seed, measured
from holdfast.result import aligned

log = logging.getLogger("holdfast")
LATEX = str.maketrans(
    {one: f"\\{one}" for one in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A table: a line for each run, or for the runs that differ in seeds alone.

    rows: the same for machines, accuracies as shares. Of several runs `runs` says how many, and of
    each accuracy the mean, the standard deviation and a 95 % interval of the mean over runs, which
    Student's t makes wide for few. about: what all lines have in common, and how they are read.
    """

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    rows: tuple[record.Row, ...] = ()
    about: str = ""

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Aligned columns, and below them what they have in common."""
        return "\n".join([aligned(self.head, self.lines), *([self.about] if self.about else [])])

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
    interval: bool = False,
) -> Summary:  # fmt: skip
    """The newest evaluation of each run, in per cent, beside the settings in which the runs differ.

    runs: run folders; those without an evaluation are left out, which is said.
    suite: only evaluations of this suite or attack count.
    over_seeds: runs that differ in seeds alone, and were attacked alike, become one line, mean ±
        standard deviation. Where they started from other runs, these must do so too.
    interval: of several runs the 95 % interval of the mean by Student's t instead.
    Raises BadInput where nothing is left.
    """
    found = measured(runs, suite)
    _warn_of_other_attacks(found)
    names = _differing(found)
    if over_seeds:
        hidden = STARTS if len({one.origin for one in found}) == 1 else ()
        names = [name for name in names if not is_seed(name) and name not in hidden]
    groups = _grouped(found, names) if over_seeds else [[one] for one in found]
    scores = [*dict.fromkeys(n for one in found for n in one.accuracy if n != WORST), WORST]
    lines = [
        (str(len(group)) if over_seeds else group[0].run,
         *(_said(group[0].settings.get(name)) for name in names),
         *(_share([o.accuracy[name] for o in group if name in o.accuracy], interval)
           for name in scores),
         *(() if over_seeds else [_range(group[0].interval)]))
        for group in groups
    ]  # fmt: skip
    head = ("runs" if over_seeds else "run", *map(_shown, names), *scores)
    told = _over_runs if over_seeds else _alone
    return Summary(
        head=head if over_seeds else (*head, "95 % interval"), lines=tuple(lines),
        rows=tuple(told(group, names, scores) for group in groups),
        about=_about(found, over_seeds, interval),
    )  # fmt: skip


def _about(found: Sequence[Measured], over_seeds: bool, interval: bool) -> str:
    """What all evaluations have in common, in a sentence, and how a line is read."""
    held = {name: {one.settings.get(f"evaluation.{name}") for one in found} for name in ABOUT}
    same = {name: next(iter(held[name])) for name in ABOUT if len(held[name]) == 1}
    known = {name: value for name, value in same.items() if value is not None}
    asked = (
        ("images", "{images} images"),
        ("split", "{split} split"),
        ("data", "data {data}"),
        ("norm", "norm {norm}"),
        ("radius", "radius {radius:.4g}"),
        ("battery", "by {battery}"),
        ("checkpoint", "checkpoint {checkpoint}"),
    )
    said = [text.format(**known) for name, text in asked if name in known]
    lines = [f"Accuracy in per cent: {', '.join(said)}."] if said else []
    if any(one.cascade for one in found):
        lines.append("An attack of a cascade was shown what those before it had left.")
    if over_seeds:
        reach = "95 % interval of the mean (Student's t)" if interval else "standard deviation"
        lines.append(f"Mean and {reach} over runs.")
    return " ".join(lines)


def _alone(group: Sequence[Measured], names: Sequence[str], scores: Sequence[str]) -> record.Row:
    (one,) = group
    settings = {_shown(name): one.settings.get(name) for name in names}
    shares = {name: one.accuracy.get(name) for name in scores}
    return (
        {"run": one.run} | settings | shares | dict(zip(("low", "high"), one.interval, strict=True))
    )


def _over_runs(
    group: Sequence[Measured], names: Sequence[str], scores: Sequence[str]
) -> record.Row:
    row: record.Row = {"runs": len(group)}
    row |= {_shown(name): group[0].settings.get(name) for name in names}
    for name in scores:
        values = [one.accuracy[name] for one in group if name in one.accuracy]
        mean = statistics.fmean(values) if values else math.nan
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        known = zip(("", " sd", " low", " high"), (mean, spread, *_ends(values)), strict=True)
        row |= {name + part: None if math.isnan(one) else one for part, one in known}
    return row


def student(freedom: int) -> float:
    """The 97.5 percentile of Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _differing(found: Sequence[Measured]) -> list[str]:
    """Settings that are not the same in all runs; of a choice, those of runs that chose alike."""
    paths = dict.fromkeys(path for one in found for path in one.settings)
    return [
        path for path in paths
        if path not in ELSEWHERE and any(len(kinds) > 1 for kinds in _kinds(found, path))
    ]  # fmt: skip


def _kinds(found: Sequence[Measured], path: str) -> Iterable[set[str]]:
    """The values of a setting, among runs that agree in the choices above it."""
    parts = path.split(".")
    above = [".".join(parts[:n]) for n in range(1, len(parts))]
    groups: dict[str, set[str]] = {}
    for one in found:
        unknown = path == "evaluation.data" and one.settings[path] is None
        if not unknown and (path in one.settings or (len(parts) == 1 and one.trained)):
            chosen = json.dumps([one.settings.get(name) for name in above])
            groups.setdefault(chosen, set()).add(json.dumps(one.settings.get(path)))
    return groups.values()


def _grouped(found: Sequence[Measured], names: Sequence[str]) -> list[list[Measured]]:
    groups: dict[str, list[Measured]] = {}
    for one in found:
        attacks = {
            f"{name}.{key}": value for name, held in one.attacks.items()
            for key, value in held.items() if not is_seed(key)
        }  # fmt: skip
        chosen = [one.settings.get(name) for name in names if name not in STARTS]
        key = json.dumps([chosen, one.origin, attacks], sort_keys=True)
        groups.setdefault(key, []).append(one)
    for group in groups.values():
        _warn_of_twins(group)
    return list(groups.values())


def _warn_of_twins(group: Sequence[Measured]) -> None:
    """Says which runs of a line have the seeds of another: they tell nothing of the spread."""
    first: dict[str, str] = {}
    for one in (one for one in group if one.trained):
        seeds = {k: v for k, v in one.settings.items() if is_seed(k) or k in STARTS}
        twin = first.setdefault(json.dumps(seeds, sort_keys=True), one.run)
        if twin != one.run:
            log.warning("%s has the seeds of %s and counts as a run of its own", one.run, twin)


def _warn_of_other_attacks(found: Sequence[Measured]) -> None:
    """Says where one name stands for attacks of other settings."""
    for name in dict.fromkeys(name for one in found for name in one.attacks):
        held = [one.attacks[name] for one in found if name in one.attacks]
        others = (k for k in held[0] if len({json.dumps(one.get(k)) for one in held}) > 1)
        other = [key for key in others if not is_seed(key)]
        if other:
            log.warning("%s was not the same attack in all runs: other %s", name, ", ".join(other))


def _shown(path: str) -> str:
    return "evaluated on" if path == "evaluation.data" else path.removeprefix("evaluation.")


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _range(interval: tuple[float, float]) -> str:
    return " to ".join(f"{100 * end:.1f}" for end in interval)


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
    """The 95 % interval of the mean over runs by Student's t, within [0, 1]; NaN for one run."""
    if len(scores) < 2:
        return math.nan, math.nan
    mean, error = statistics.fmean(scores), statistics.stdev(scores) / math.sqrt(len(scores))
    half = student(len(scores) - 1) * error
    return max(mean - half, 0.0), min(mean + half, 1.0)
