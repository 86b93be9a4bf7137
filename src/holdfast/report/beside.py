"""Several runs side by side, as parts of a page."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from holdfast import record
from holdfast.report.budgets import budgets
from holdfast.report.part import Part, drawn, safely
from holdfast.report.summary import summary
from holdfast.result import Table, evaluations


def beside(runs: Sequence[Path]) -> list[Part]:
    """Of each run its newest evaluation, and its newest curve over budgets: what two or more have
    in common."""
    makers = {"Newest evaluations": _evaluations, "Accuracy over budgets": _curves}
    return [part for title, make in makers.items() for part in safely(title, make, runs)]


def _evaluations(runs: Sequence[Path]) -> Iterator[Part]:
    judged = [run for run in runs if evaluations(run)]
    if len(judged) > 1:
        found = summary(judged)
        yield Part(
            title="Newest evaluations", table=Table(found.head, found.lines),
            lines=[found.about],
        )  # fmt: skip


def _curves(runs: Sequence[Path]) -> Iterator[Part]:
    """Curves of one suite in one norm in one picture."""
    rows = {run: record.rows(run / record.CURVES) for run in runs}
    alike: dict[tuple[str, str], dict[str, record.Row]] = {}
    for run, last in ((run, some[-1]) for run, some in rows.items() if some):
        kind = (last.get("suite") or "attacks of Python", last["norm"])
        alike.setdefault(kind, {})[str(run)] = last
    for (suite, norm), some in alike.items():
        if len(some) > 1:
            yield Part(
                title=f"Accuracy over budgets: {suite}, {norm}",
                pictures=[drawn("curves", partial(budgets, curves=some, title=""))],
            )
