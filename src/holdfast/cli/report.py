"""`holdfast report`: run folders as one page of HTML."""

from collections.abc import Sequence
from pathlib import Path

from holdfast import record
from holdfast import report as reports
from holdfast.cli.options import parse


def report_options(runs: list[str], *, out: str | None = None, json: bool = False) -> None:
    """Put what run folders hold on one page of HTML, its pictures inside.

    Any number of runs: holdfast report RUN RUN ... [options]. The page shows what other commands
    found (evaluations, diagnosis, margins, curves, landscapes, retraining) and how each run was
    trained; nothing is computed anew. An earlier page is replaced.

    Args:
        runs: run folders.
        out: the file; by default RUN/report.html, or report.html here for several runs.
        json: print the path as JSON.
    """


def report(argv: Sequence[str]) -> None:
    o = parse("report", {report_options: frozenset()}, {}, argv).values
    alone = Path(o["runs"][0]) if len(o["runs"]) == 1 else Path()
    made = reports.page(o["runs"], o["out"] or alone / "report.html")
    print(record.as_json({"page": str(made)}) if o["json"] else f"{made}: open it in a browser")
