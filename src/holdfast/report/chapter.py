"""What one run folder holds, in the order in which a page tells it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from holdfast import record
from holdfast.errors import BadInput
from holdfast.report.attacked import diagnosis, evaluations, over_budgets, transfers
from holdfast.report.figures import curves
from holdfast.report.part import Part, drawn, fields, pictures, rounded, safely, since
from holdfast.result import Word, margin_table, round_table

MOODS: dict[str, str] = {
    Word.NO_SIGN: "good",
    Word.MASKED: "bad",
}  # every other word leaves a doubt
MEASURES = {
    "loss": ("loss", 1.0), "clean": ("clean accuracy (%)", 100.0),
    "fgsm": ("FGSM accuracy (%)", 100.0), "pgd": ("PGD accuracy (%)", 100.0),
    "entropy": ("entropy (bits)", 1.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One run. word, mood: what its diagnosis came to. files: small ones, as text."""

    name: str
    word: str
    mood: str
    verdict: str
    parts: Sequence[Part]
    files: Mapping[str, str]


def chapter(run: Path) -> Chapter:
    """Everything that the run folder has to show. Raises BadInput where it is none."""
    known = (record.CONFIG, record.EVALUATIONS, record.ROUNDS, record.CHECKPOINTS, record.FINDINGS,
             record.CURVES, record.TRANSFERS, "margins", "landscape")  # fmt: skip
    if not any((run / name).exists() for name in known):
        raise BadInput(f"expected a run folder, got {run}: none of {', '.join(known)} is there")
    parts = [part for title, make in PARTS.items() for part in safely(title, make, run)]
    texts = {name: run / name for name in (record.CONFIG, record.PROVENANCE)}
    word, verdict = _verdict(run)
    mood = "doubt" if verdict else "unknown"
    return Chapter(
        name=str(run) if run.name else run.resolve().name, word=word, mood=MOODS.get(word, mood),
        verdict=verdict, parts=parts or [Part(title="Nothing to show yet")],
        files={name: path.read_text("utf-8", "replace") for name, path in texts.items()
               if path.exists()},
    )  # fmt: skip


def _verdict(run: Path) -> tuple[str, str]:
    """The word and the line of the diagnosis; no word of ours where the run has been trained
    further since."""
    try:
        found = fields(run / record.FINDINGS)
        line = str(found.get("verdict", ""))
        if later := since(run, found, "diagnosis"):
            return f"diagnosed at epoch {found['epoch']}", f"{later[0]} It was: {line}"
        return str(found.get("word", "not diagnosed")), line
    except (BadInput, AttributeError, ValueError):  # as its part will say
        return "not diagnosed", ""


def _training(run: Path) -> Iterator[Part]:
    rows = record.rows(run / record.METRICS)
    if not rows:
        return
    splits = {
        split: [{"epoch": row["epoch"], **_of(split, row)} for row in rows]
        for split in ("train", "validation")
    }
    epochs = {
        key: {row["epoch"] for some in splits.values() for row in some if row[key] is not None}
        for key in MEASURES
    }
    shown = {key: told for key, told in MEASURES.items() if len(epochs[key]) > 1}
    once = [key for key in MEASURES if len(epochs[key]) == 1]
    make = partial(curves, runs=splits, measures=shown, title="Over the epochs")
    seconds = sum(row["seconds"] for row in rows)
    averaged = ""
    if "raw_validation_clean" in rows[-1]:
        averaged = "; the curves are those of averaged weights"
    said = [f"{rows[-1]['epoch']} epochs in {seconds:.0f} s{averaged}."]
    lines = [*said, *(_measured_once(splits, key) for key in once), *_warnings(rows)]
    yield Part(title="Training", lines=lines, pictures=[drawn("curves", make)] if shown else [])


def _measured_once(splits: Mapping[str, Sequence[record.Row]], key: str) -> str:
    """What makes no curve."""
    label, factor = MEASURES[key]
    held = [(split, row) for split in splits for row in splits[split] if row[key] is not None]
    told = [f"{factor * row[key]:.4g} on {split}" for split, row in held]
    return (
        f"{label[0].upper()}{label[1:]}, at epoch {held[0][1]['epoch']} alone: {', '.join(told)}."
    )


def _warnings(rows: Sequence[record.Row]) -> Iterator[str]:
    """Each once, with the first epochs that gave it."""
    warned: dict[str, list[str]] = {}
    for row in (row for row in rows if "warning" in row):
        warned.setdefault(row["warning"], []).append(str(row["epoch"]))
    for text, epochs in warned.items():
        more = f" and {len(epochs) - 5} more" if len(epochs) > 5 else ""
        yield f"Epoch {', '.join(epochs[:5])}{more}: {text}."


def _of(split: str, row: record.Row) -> record.Row:
    """The measurements of one split, by the names of MEASURES."""
    own = {key: row.get(f"{split}_{key}") for key in MEASURES}
    return own | ({"loss": row.get("loss")} if split == "train" else {})


def _landscapes(run: Path) -> Iterator[Part]:
    if drawings := pictures(run / "landscape", "*.png"):
        yield Part(title="Loss landscapes", pictures=drawings)


def _margins(run: Path) -> Iterator[Part]:
    found = fields(run / "margins" / "matrix.json")
    if found:
        low, high = found["robustness_interval"]
        yield Part(
            title="Margins", table=margin_table(found),
            pictures=pictures(run / "margins", "matrix.png"),
            lines=[
                f"Mean margin {found['mean_margin']:.4f} of {found['reach']:g} ({found['scale']}) "
                f"over {found['images']} images, {found['rays']} rays each; of these "
                f"{found['none_share']:.1%} meet no other class.",
                f"Robustness R = {found['robustness']:.3f} ({rounded(low)} to {rounded(high)}).",
                f"Audit: {found['differing']} of {found['audited']} rays differ.",
                *since(run, found, "search"),
            ],
        )  # fmt: skip


def _rounds(run: Path) -> Iterator[Part]:
    rows = record.rows(run / record.ROUNDS)
    if rows:
        yield Part(title="Retraining beyond the boundary", table=round_table(rows))


PARTS: dict[str, Callable[[Path], Iterator[Part]]] = {
    "Evaluation": evaluations, "Diagnosis": diagnosis, "Accuracy over budgets": over_budgets,
    "Transfers": transfers, "Loss landscapes": _landscapes, "Margins": _margins,
    "Retraining": _rounds, "Training": _training,
}  # fmt: skip
