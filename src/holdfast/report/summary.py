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
from holdfast.errors import BadInput
from holdfast.model import trained_on
from holdfast.result import aligned

log = logging.getLogger("holdfast")
ABOUT = ("battery", "norm", "radius", "checkpoint", "split", "images")  # of an evaluation
ELSEWHERE = ("device", "processes")  # where a run was made, which is no setting of it
WORST = "worst case"
LATEX = str.maketrans(
    {one: f"\\{one}" for one in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run: its settings by dotted path, those of its evaluation, and accuracies as shares:
    `clean`, what each attack left, and `worst case`, the least per image, with its interval.

    attacks: the settings of each attack.
    """

    run: str
    settings: record.Row
    accuracy: dict[str, float]
    interval: tuple[float, float]
    attacks: record.Row


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A table: a line for each run, or for the runs that differ in seeds alone.

    rows: the same for machines, accuracies as shares. Of several runs `runs` says how many, and of
    each accuracy the mean, the standard deviation and a 95 % interval of the mean over runs, which
    Student's t makes wide for few.
    """

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    rows: tuple[record.Row, ...] = ()

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Aligned columns."""
        return aligned(self.head, self.lines)

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        lines = ([cell.replace("|", r"\|") for cell in line] for line in (self.head, *self.lines))
        head, *body = (f"| {' | '.join(line)} |" for line in lines)
        return "\n".join([head, f"| {' | '.join(rule)} |", *body])

    def latex(self) -> str:
        """A `tabular` with the rules of the package booktabs."""
        head, *lines = (
            " & ".join(cell.translate(LATEX).replace("±", r"$\pm$") for cell in line) + r" \\"
            for line in (self.head, *self.lines)
        )
        begin = rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}"
        parts = [begin, r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
        return "\n".join(parts)

    def csv(self) -> str:
        """The rows for machines."""
        told, names = io.StringIO(), dict.fromkeys(name for row in self.rows for name in row)
        writer = csv.DictWriter(told, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return told.getvalue()


def summary(
    runs: Sequence[Path | str], *, battery: str | None = None, over_seeds: bool = False
) -> Summary:
    """The newest evaluation of each run, in per cent, beside the settings in which the runs differ.

    runs: run folders; those without an evaluation are left out, which is said.
    battery: only evaluations of this suite or attack count.
    over_seeds: runs that differ in seeds alone, and were attacked alike, become one line, mean ±
        standard deviation.
    Raises BadInput where nothing is left.
    """
    found = measured(runs, battery)
    _warn_of_other_attacks(found)
    names = [name for name in _differing(found) if not (over_seeds and _is_drawn(name))]
    groups = _grouped(found, names) if over_seeds else [[one] for one in found]
    scores = [*dict.fromkeys(n for one in found for n in one.accuracy if n != WORST), WORST]
    lines = [
        (str(len(group)) if over_seeds else group[0].run,
         *(_said(group[0].settings.get(name)) for name in names),
         *(_share([o.accuracy[name] for o in group if name in o.accuracy]) for name in scores),
         *(() if over_seeds else [_range(group[0].interval)]))
        for group in groups
    ]  # fmt: skip
    head = ("runs" if over_seeds else "run", *map(_shown, names), *scores)
    told = _over_runs if over_seeds else _alone
    return Summary(
        head=head if over_seeds else (*head, "95 % interval"), lines=tuple(lines),
        rows=tuple(told(group, names, scores) for group in groups),
    )  # fmt: skip


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
        half = student(len(values) - 1) * spread / math.sqrt(max(len(values), 1))
        ends = max(mean - half, 0.0), min(mean + half, 1.0)
        known = zip(("", " sd", " low", " high"), (mean, spread, *ends), strict=True)
        row |= {name + part: None if math.isnan(one) else one for part, one in known}
    return row


def student(freedom: int) -> float:
    """The 97.5 percentile of Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def measured(runs: Sequence[Path | str], battery: str | None = None) -> list[Measured]:
    """The newest evaluation of each run that has one, by this battery if one is named.

    Raises BadInput where none has.
    """
    if isinstance(runs, (str, Path)):
        raise BadInput(f"expected a list of runs, got {str(runs)!r}; put it into brackets")
    found = [one for run in runs if (one := _measured(Path(run), battery))]
    if not found:
        raise BadInput(
            f"expected runs with an evaluation{f' by {battery}' if battery else ''}, got none in "
            f"{', '.join(map(str, runs)) or 'no run'}; run holdfast evaluate first"
        )
    return found


def _measured(run: Path, battery: str | None) -> Measured | None:
    """The newest evaluation of a run; None, which is said, where it has none."""
    rows = [r for r in record.rows(run / "evaluation.jsonl") if battery in (None, r.get("battery"))]
    if not rows:
        log.warning("%s has no evaluation%s: left out", run, f" by {battery}" if battery else "")
        return None
    if since := trained_on(run, rows[-1]):
        log.warning("%s", since)
    newest = [row for row in rows if row["per_image"] == rows[-1]["per_image"]]
    last, config = newest[-1], run / "config.yaml"
    about = last | last.get("budget", {})  # which an earlier holdfast did not write
    settings = _flat(record.read_yaml(config)) if config.exists() else {}
    scores = {"clean": last["clean_accuracy"]} | {row["name"]: row["accuracy"] for row in newest}
    low, high = last["worst_case_interval"]
    return Measured(
        run=str(run), settings=settings | {f"evaluation.{k}": about.get(k) for k in ABOUT},
        accuracy=scores | {WORST: last["worst_case_accuracy"]}, interval=(low, high),
        attacks={row["name"]: _flat(row["settings"]) for row in newest},
    )  # fmt: skip


def _flat(value: record.Row, under: str = "") -> record.Row:
    """A mapping of mappings as one, by dotted path; `name` is what its mapping is."""
    flat: record.Row = {}
    for key, one in value.items():
        path = under.removesuffix(".") if under and key == "name" else under + key
        flat |= _flat(one, f"{path}.") if isinstance(one, dict) else {path: one}
    return flat


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
        if path in one.settings or len(parts) == 1:
            chosen = json.dumps([one.settings.get(name) for name in above])
            groups.setdefault(chosen, set()).add(json.dumps(one.settings.get(path)))
    return groups.values()


def _grouped(found: Sequence[Measured], names: Sequence[str]) -> list[list[Measured]]:
    groups: dict[str, list[Measured]] = {}
    for one in found:
        attacks = {
            f"{name}.{key}": value for name, held in one.attacks.items()
            for key, value in held.items() if not _is_seed(key)
        }  # fmt: skip
        key = json.dumps([[one.settings.get(name) for name in names], attacks], sort_keys=True)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _warn_of_other_attacks(found: Sequence[Measured]) -> None:
    """Says where one name stands for attacks of other settings."""
    for name in dict.fromkeys(name for one in found for name in one.attacks):
        held = [one.attacks[name] for one in found if name in one.attacks]
        others = (k for k in held[0] if len({json.dumps(one.get(k)) for one in held}) > 1)
        other = [key for key in others if not _is_seed(key)]
        if other:
            log.warning("%s was not the same attack in all runs: other %s", name, ", ".join(other))


def _is_seed(path: str) -> bool:
    return path.rpartition(".")[2] == "seed"


def _is_drawn(path: str) -> bool:
    """Whether a setting differs from seed to seed: a run may start from one of the same seed."""
    return _is_seed(path) or path == "weights"


def _shown(path: str) -> str:
    return path.removeprefix("evaluation.")


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _range(interval: tuple[float, float]) -> str:
    return " to ".join(f"{100 * end:.1f}" for end in interval)


def _share(scores: Sequence[float]) -> str:
    """Per cent; of several runs the mean and the standard deviation."""
    if not scores:
        return "-"
    mean = f"{100 * statistics.fmean(scores):.1f}"
    return f"{mean} ± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else mean
