"""What a run folder says of its evaluations."""

import math
from collections.abc import Sequence
from pathlib import Path

from holdfast import record
from holdfast.errors import suggest
from holdfast.record import Row


def evaluations(
    run: Path | str, battery: str | None = None, radius: float | None = None
) -> list[list[Row]]:
    """The rows of each evaluation of a run, the oldest first, one for each attack; of those by this
    suite or attack, and within this radius, alone, if they are given. A run without any has none.
    A damaged row is within no radius."""
    found: dict[str, list[Row]] = {}
    for row in record.rows(Path(run) / record.EVALUATIONS):
        within = radius is None or math.isclose(radius_of(row), radius, rel_tol=1e-6)
        if battery in (None, row.get("battery")) and within:
            found.setdefault(str(row.get("per_image")), []).append(row)
    return list(found.values())


def others(runs: Sequence[Path | str], asked: str | None) -> str:
    """What evaluations runs have, in words, where there is none by the suite that was asked for;
    with the nearest name."""
    found = [rows[0] for run in runs for rows in evaluations(run)]
    told = {f"{row.get('battery') or 'attacks'} within {radius_of(row):.4g}": 0 for row in found}
    near = suggest(asked or "", {str(row.get("battery")) for row in found})
    return f"{' and '.join(told) or 'none'}{near}"


def radius_of(row: Row) -> float:
    """Within what the evaluation of a row was made; NaN where the row does not say it."""
    budget = row.get("budget")
    radius = budget.get("radius") if isinstance(budget, dict) else None
    return radius if isinstance(radius, float | int) else math.nan


def rows_of(file: Path, battery: str | None = None) -> list[Row]:
    """The rows of the evaluation whose per-image results are in this file, if it is by this suite
    or attack, where one is named; none where no row tells of it."""
    found = evaluations(file.parent, battery)
    return next((rows for rows in found if rows[0].get("per_image") == file.name), [])
