"""Which runs are one line of a table, and what differs between its lines."""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from holdfast.report.measured import ABOUT, ELSEWHERE, STARTS, Measured, is_seed, measured
from holdfast.result import WORST

log = logging.getLogger("holdfast")


def layout(
    runs: Sequence[Path | str], suite: str | None, over_seeds: bool, every: bool = False
) -> tuple[list[Measured], list[str], list[str], list[list[Measured]]]:
    """What a table is made of: the evaluated runs, the settings and the scores that are its
    columns, and the runs of each line."""
    found = measured(runs, suite, every)
    _warn_of_other_attacks(found)
    names = _columns(found, over_seeds)
    groups = _grouped(found, names) if over_seeds else [[one] for one in found]
    return found, names, _scores(found), groups


def _columns(found: Sequence[Measured], over_seeds: bool) -> list[str]:
    """The settings that a table shows: those that differ, without seeds where these become one."""
    names = _differing(found)
    if not over_seeds:
        return names
    hidden = STARTS if len({one.origin for one in found}) == 1 else ()
    return [name for name in names if not is_seed(name) and name not in hidden]


def _scores(found: Sequence[Measured]) -> list[str]:
    """`clean`, every attack, the worst case."""
    return [*dict.fromkeys(n for one in found for n in one.accuracy if n != WORST), WORST]


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
    """Runs that agree in these settings and in their attacks, seeds left out."""
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
        other = [key for key in others if not is_seed(key) and key not in _budgets(found)]
        if other:
            log.warning("%s was not the same attack in all runs: other %s", name, ", ".join(other))


def _budgets(found: Sequence[Measured]) -> list[str]:
    """Radius and norm, where evaluations differ in them: columns that need no further word."""
    return [key for key in ("radius", "norm")
            if len({one.settings.get(f"evaluation.{key}") for one in found}) > 1]  # fmt: skip


def in_common(found: Sequence[Measured]) -> list[str]:
    """What all evaluations have in common, in sentences."""
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
    told = [text.format(**known) for name, text in asked if name in known]
    lines = [f"Accuracy in per cent: {', '.join(told)}."] if told else []
    if any(one.cascade for one in found):
        lines.append("An attack of a cascade was shown what those before it had left.")
    return lines


def column_name(path: str) -> str:
    """What the column of this setting is called."""
    return "evaluated on" if path == "evaluation.data" else path.removeprefix("evaluation.")


def cell_text(value: Any) -> str:
    """A setting as a cell."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
