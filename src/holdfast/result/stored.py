"""What a run folder says of its evaluations."""

from pathlib import Path

from holdfast import record
from holdfast.record import Row


def evaluations(run: Path | str, battery: str | None = None) -> list[list[Row]]:
    """The rows of each evaluation of a run, the oldest first, one for each attack; of those by this
    suite or attack alone, if one is named. A run without any has none."""
    found: dict[str, list[Row]] = {}
    for row in record.rows(Path(run) / record.EVALUATIONS):
        if battery in (None, row.get("battery")):
            found.setdefault(str(row.get("per_image")), []).append(row)
    return list(found.values())
