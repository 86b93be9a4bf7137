"""`holdfast compare`: runs that are evaluated already, image by image."""

import math
from collections.abc import Sequence
from pathlib import Path

from holdfast import evaluation, record
from holdfast.cli import show
from holdfast.cli.options import parse
from holdfast.cli.runs import distinct
from holdfast.evaluation import Comparison
from holdfast.result import Table, evaluations, radius_of, rows_of

HEAD = ("", "points", "95 % interval", "McNemar's p", "first alone", "other alone", "images")


def compare_options(
    runs: list[str], *, suite: str | None = None, radius: float | None = None, json: bool = False
) -> None:
    """Compare what attacks left of one run with what they left of others, on the same images.

    Any number of runs: holdfast compare RUN OTHER ... [options]. A line is the accuracy of the
    first run minus that of the other, for each attack of the same budget and settings in both.
    Nothing is attacked, and nothing is written.

    Args:
        runs: run folders with an evaluation, two or more.
        suite: the newest evaluation by this suite or attack counts; by default by the one that the
            first run was last evaluated by.
        radius: the newest evaluation within this radius counts, such as 8/255; by default within
            that of the first run's, where the others have one.
        json: print the comparisons as JSON.
    """


def compare(argv: Sequence[str]) -> None:
    o = parse("compare", {compare_options: frozenset()}, {}, argv).values
    first, *others = distinct(o["runs"], 2)
    suite = o["suite"] or _suite(Path(first))
    file = evaluation.latest(first, suite, o["radius"])
    others = {run: _alike(run, suite, o["radius"], _radius(file)) for run in others}
    found = {run: evaluation.compare(file, other) for run, other in others.items()}
    if o["json"]:
        print(record.as_json({"run": first, "suite": suite, "against": record.plain(found)}))
        return
    for run, pairs in found.items():
        rows = [[name, *_cells(pair)] for name, pair in pairs.items()]
        title = f"{first} against {run}{f', evaluated by {suite}' if suite else ''}"
        show.table(title, Table(HEAD, rows))


def _suite(run: Path) -> str | None:
    """What the run was last evaluated by; None: by attacks of Python."""
    found = evaluations(run)
    return found[-1][0].get("battery") if found else None


def _radius(file: Path) -> float | None:
    """Within what the evaluation in this file was made; None where no row says it."""
    radius = radius_of(rows[0]) if (rows := rows_of(file)) else math.nan
    return None if math.isnan(radius) else radius


def _alike(run: str, suite: str | None, asked: float | None, first: float | None) -> Path:
    """The newest evaluation of a run by the suite, within the radius that was asked for; else
    within that of the first run's, or, without one, any."""
    there = first is not None and evaluations(run, suite, first)
    return evaluation.latest(run, suite, first if asked is None and there else asked)


def _cells(pair: Comparison) -> list[str]:
    return [
        f"{100 * pair.difference:+.1f}", f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}",
        f"{pair.p:.2g}", str(pair.only_first), str(pair.only_second), str(pair.images),
    ]  # fmt: skip
