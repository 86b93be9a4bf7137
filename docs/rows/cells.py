"""Cells of tables, and where their rows are."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast import report
from holdfast.record import Row
from holdfast.study import song

HERE = Path(__file__).parents[1]
RESULTS = HERE.parent / "results"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return report.Summary(head=tuple(head), lines=tuple(map(tuple, rows))).markdown()


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def tested(row: Row) -> list[str]:
    """Clean, attacks and worst case of a row's test results, each with its 95 % interval."""
    found = row["test"]
    cells = [percent(found["clean_accuracy"])]
    cells += [
        f"{percent(a['accuracy'])} ({percent(a['low'])} to {percent(a['high'])})"
        for a in found["attacks"]
    ]
    return [*cells, percent(found["worst_case_accuracy"])]


def spread(shares: Sequence[float]) -> str:
    """Mean and, over several seeds, standard deviation, in per cent."""
    return song.spread(shares, 1, 100)
