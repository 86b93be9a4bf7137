"""What attacks found of a run, as parts of a page."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from holdfast import record
from holdfast.report.budgets import budgets
from holdfast.report.part import (
    Part,
    Tile,
    about,
    drawn,
    each,
    fields,
    pictures,
    rounded,
    since,
)
from holdfast.result import Table, curve_table, refusals, remarks, remedy_table, transfer_table
from holdfast.result import evaluations as stored


def evaluations(run: Path) -> Iterator[Part]:
    """The newest by each battery within each budget, on each split, of each checkpoint."""
    yield from each("Evaluation", partial(_evaluation, run), stored(run), _asked_of)


def _asked_of(rows: Sequence[record.Row]) -> list[object]:
    """What an evaluation has in common with the one that takes its place."""
    return [_battery(rows), *(rows[-1].get(name) for name in ("budget", "checkpoint", "split"))]


def _battery(rows: Sequence[record.Row]) -> str:
    """What it was made by; the names of attacks that were given from Python."""
    return rows[-1].get("battery") or ", ".join(str(row.get("name")) for row in rows)


def _evaluation(run: Path, rows: Sequence[record.Row]) -> Part:
    last = rows[-1]
    budget, (low, high) = last["budget"], last["worst_case_interval"]
    within = f"{budget['norm']} {budget['radius']:.4g}"
    return Part(
        title=f"Evaluation: {_battery(rows)}",
        tiles=[
            Tile(label="clean", value=f"{last['clean_accuracy']:.1%}", note="accuracy"),
            Tile(label=f"worst case within {within}",
                 value=f"{last['worst_case_accuracy']:.1%}", note=f"{low:.1%} to {high:.1%}"),
        ],
        lines=[", ".join([f"{last['images']} images", *about(last)]) + ".",
               *since(run, last, "evaluation"), *_cascade(rows),
               *(f"{line}." for line in remarks(rows, budget["norm"]))],
        table=_attacks(rows), pictures=pictures(run, Path(last["per_image"]).stem + ".png"),
        findings=last.get("findings", ()),
    )  # fmt: skip


def _cascade(rows: Sequence[record.Row]) -> Iterator[str]:
    if any(row["attacked"] < row["images"] for row in rows):
        yield "Each attack was shown what the ones before it left; accuracies are over all images."


def _attacks(rows: Sequence[record.Row]) -> Table:
    body = [
        [row["name"], f"{row['norm']} {row['radius']:.4g}", f"{row['accuracy']:.1%}",
         f"{row['low']:.1%} to {row['high']:.1%}", str(row["attacked"]), str(row["refused"]),
         rounded(row["median_distance"]), f"{row['forward'] / row['images']:.0f}",
         f"{row['backward'] / row['images']:.0f}", f"{row['seconds']:.1f}"]
        for row in rows
    ]  # fmt: skip
    head = ("attack", "budget", "left", "95 % interval", "attacked", "refused", "median distance",
            "forward/image", "backward/image", "seconds")  # fmt: skip
    return Table(head, body)


def diagnosis(run: Path) -> Iterator[Part]:
    """The newest diagnosis: what each attack takes from the claim, and the findings."""
    found = fields(run / record.FINDINGS)
    if found:
        yield Part(
            title="Diagnosis", findings=found["findings"], pictures=pictures(run, "entropy.png"),
            lines=[
                ", ".join([f"{found['images']} images", *_asked(found)]) + ".",
                f"Points of accuracy that each attack takes from the claim of {found['claim']}, on "
                f"{found['sample']} images:",
                *since(run, found, "diagnosis"),
            ],
            table=remedy_table(found),
        )  # fmt: skip


def _asked(found: record.Row) -> list[str]:
    """Of what a diagnosis was made, and within what."""
    within = [f"within {found['norm']} {found['radius']:.4g}"] if "norm" in found else []
    return [*about(found), *within, *(["quick"] if found.get("quick") else [])]


def over_budgets(run: Path) -> Iterator[Part]:
    """The newest curve of each suite in each norm."""
    where = ("suite", "norm", "checkpoint", "split")
    rows = record.rows(run / record.CURVES)
    yield from each("Accuracy over budgets", partial(_curve, run), rows,
                    lambda row: [row.get(name) for name in where])  # fmt: skip


def _curve(run: Path, row: record.Row) -> Part:
    suite = row.get("suite") or "attacks of Python"
    return Part(
        title=f"Accuracy over budgets: {suite}",
        lines=[
            ", ".join([f"{row['images']} images", row["norm"], *about(row)]) + ".",
            *since(run, row, "curve"),
        ],
        table=curve_table(row),
        findings=row["findings"],
        pictures=[drawn("curve", partial(budgets, curves={suite: row}, title=""))],
    )


def transfers(run: Path) -> Iterator[Part]:
    """The newest matrix of each attack within each budget, in per cent left."""
    where = ("settings", "norm", "radius", "checkpoint", "split", "targets")
    rows = record.rows(run / record.TRANSFERS)
    yield from each("Transfers", partial(_transfer, run), rows,
                    lambda row: [row.get(name) for name in where])  # fmt: skip


def _transfer(run: Path, row: record.Row) -> Part:
    within = f"{row['norm']} {row['radius']:.4g}"
    return Part(
        title=f"Transfers: {row['settings']['name']}",
        lines=[", ".join([f"{row['images']} images", within, *about(row)]) + ". Each line: "
               "what images made on that run leave of the accuracy of each.",
               *since(run, row, "matrix"), *(f"{line}." for line in refusals(row))],
        table=transfer_table(row),
    )  # fmt: skip
