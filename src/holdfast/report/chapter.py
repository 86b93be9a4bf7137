"""What one run folder holds, in the order in which a page tells it."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from holdfast import record
from holdfast.errors import BadInput, cause
from holdfast.model import trained_on
from holdfast.report.figures import curves

ASKED = ("checkpoint", "split", "seed")
MOODS = {"no sign of masking": "good", "masked": "bad"}  # every other word leaves a doubt
MEASURES = {
    "loss": ("loss", 1.0), "clean": ("clean accuracy (%)", 100.0),
    "fgsm": ("FGSM accuracy (%)", 100.0), "pgd": ("PGD accuracy (%)", 100.0),
    "entropy": ("entropy (bits)", 1.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of text under a head, and a note below them."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number that is seen first."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG in base64."""

    name: str
    data: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One kind of result. findings: as `record.plain` writes them."""

    title: str
    lines: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    table: Table | None = None
    findings: Sequence[Mapping[str, Any]] = ()
    pictures: Sequence[Picture] = ()


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
    known = ("config.yaml", "evaluation.jsonl", "retraining.jsonl", "checkpoints")
    if not any((run / name).exists() for name in known):
        raise BadInput(f"expected a run folder, got {run}: none of {', '.join(known)} is there")
    parts = [part for title, make in PARTS.items() for part in _safely(title, make, run)]
    texts = {name: run / name for name in ("config.yaml", "provenance.json")}
    word, verdict = _verdict(run)
    mood = "doubt" if verdict else "unknown"
    return Chapter(
        name=str(run) if run.name else run.resolve().name, word=word, mood=MOODS.get(word, mood),
        verdict=verdict, parts=parts or [Part(title="Nothing to show yet")],
        files={name: path.read_text("utf-8", "replace") for name, path in texts.items()
               if path.exists()},
    )  # fmt: skip


def _safely(title: str, make: Callable[[Path], Iterator[Part]], run: Path) -> list[Part]:
    """What is made of one kind of result; where a file is damaged, that it is."""
    try:
        return [*make(run)]
    except (BadInput, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return [Part(title=title, lines=[f"This cannot be read: {cause(error)}."])]


def _verdict(run: Path) -> tuple[str, str]:
    """The word and the line of the diagnosis."""
    try:
        found = _json(run / "findings.json")
        return str(found.get("word", "not diagnosed")), str(found.get("verdict", ""))
    except (BadInput, AttributeError, ValueError):  # as its part will say
        return "not diagnosed", ""


def _training(run: Path) -> Iterator[Part]:
    rows = record.rows(run / "metrics.jsonl")
    if not rows:
        return
    splits = {
        split: [{"epoch": row["epoch"], **_of(split, row)} for row in rows]
        for split in ("train", "validation")
    }
    known = {key for some in splits.values() for row in some for key in row if row[key] is not None}
    shown = {key: told for key, told in MEASURES.items() if key in known}
    with TemporaryDirectory() as place:
        curves(file := Path(place) / "curves.png", splits, shown, "Over the epochs")
        picture = _picture(file)
    seconds = sum(row["seconds"] for row in rows)
    warned: dict[str, list[str]] = {}
    for row in (row for row in rows if "warning" in row):
        warned.setdefault(row["warning"], []).append(str(row["epoch"]))
    averaged = "; the curves are those of averaged weights" * ("raw_validation_clean" in rows[-1])
    said = [f"{rows[-1]['epoch']} epochs in {seconds:.0f} s{averaged}."]
    for text, epochs in warned.items():
        more = f" and {len(epochs) - 5} more" if len(epochs) > 5 else ""
        said.append(f"Epoch {', '.join(epochs[:5])}{more}: {text}.")
    yield Part(title="Training", lines=said, pictures=[picture])


def _of(split: str, row: record.Row) -> record.Row:
    """The measurements of one split, by the names of MEASURES."""
    own = {key: row.get(f"{split}_{key}") for key in MEASURES}
    return own | ({"loss": row.get("loss")} if split == "train" else {})


def _evaluations(run: Path) -> Iterator[Part]:
    """The newest by each battery within each budget, on each split, of each checkpoint."""
    made: dict[str, list[record.Row]] = {}
    for row in record.rows(run / "evaluation.jsonl"):
        made.setdefault(row["per_image"], []).append(row)
    where = ("battery", "budget", "checkpoint", "split")
    newest = {repr([rows[-1].get(name) for name in where]): rows for rows in made.values()}
    for rows in reversed(newest.values()):
        last = rows[-1]
        budget, (low, high) = last["budget"], last["worst_case_interval"]
        about = [f"{name} {last[name]}" for name in (*ASKED, "epoch") if last.get(name) is not None]
        within = f"{budget['norm']} {budget['radius']:.4g}"
        yield Part(
            title=f"Evaluation: {last.get('battery') or 'attacks of Python'}",
            tiles=[
                Tile(label="clean", value=f"{last['clean_accuracy']:.1%}", note="accuracy"),
                Tile(label=f"worst case within {within}",
                     value=f"{last['worst_case_accuracy']:.1%}", note=f"{low:.1%} to {high:.1%}"),
            ],
            lines=[", ".join([f"{last['images']} images", *about]) + ".",
                   *_remarks(run, rows, budget["norm"])],
            table=_attacks(rows), findings=last.get("findings", ()),
        )  # fmt: skip


def _remarks(run: Path, rows: Sequence[record.Row], norm: str) -> Iterator[str]:
    if since := trained_on(run, rows[-1]):
        yield f"{since}."
    if apart := [row["name"] for row in rows if row["norm"] != norm]:
        yield f"Not in the worst case, as in another norm than {norm}: {', '.join(apart)}."
    if any(row["attacked"] < row["images"] for row in rows):
        yield "Each attack was shown what the ones before it left; accuracies are over all images."
    for row in (row for row in rows if "led" in row):
        yield (f"{row['name']}: of {row['led']} images led to another class, {row['reached']:.1%} "
               "are taken for it.")  # fmt: skip


def _attacks(rows: Sequence[record.Row]) -> Table:
    body = [
        [row["name"], f"{row['norm']} {row['radius']:.4g}", f"{row['accuracy']:.1%}",
         f"{row['low']:.1%} to {row['high']:.1%}", str(row["attacked"]), str(row["refused"]),
         _number(row["median_distance"]), f"{row['forward'] / row['images']:.0f}",
         f"{row['backward'] / row['images']:.0f}", f"{row['seconds']:.1f}"]
        for row in rows
    ]  # fmt: skip
    head = ("attack", "budget", "left", "95 % interval", "attacked", "refused", "median distance",
            "forward/image", "backward/image", "seconds")  # fmt: skip
    return Table(head=head, rows=body)


def _diagnosis(run: Path) -> Iterator[Part]:
    found = _json(run / "findings.json")
    if found:
        rows = [[one["name"], f"{100 * one['alone']:.1f}", f"{100 * one['beyond']:.1f}"]
                for one in found["remedies"]]  # fmt: skip
        yield Part(
            title="Diagnosis", findings=found["findings"], pictures=_pictures(run, "entropy.png"),
            lines=[
                ", ".join([f"{found['images']} images", *_about(found)]) + ".",
                f"Points of accuracy that each attack takes from the claim of {found['claim']}, on "
                f"{found['sample']} images:",
            ],
            table=Table(head=("attack", "alone", "beyond all others"), rows=rows),
        )  # fmt: skip


def _about(found: record.Row) -> list[str]:
    """Of what a diagnosis was made, and within what."""
    said = [f"{name} {found[name]}" for name in ASKED if found.get(name) is not None]
    said += [f"within {found['norm']} {found['radius']:.4g}"] if "norm" in found else []
    return said + (["quick"] if found.get("quick") else [])


def _margins(run: Path) -> Iterator[Part]:
    found = _json(run / "margins" / "matrix.json")
    if found:
        low, high = found["robustness_interval"]
        yield Part(
            title="Margins", pictures=_pictures(run / "margins", "matrix.png"),
            lines=[
                f"Mean margin {found['mean_margin']:.4f} of {found['reach']:g} ({found['scale']}) "
                f"over {found['images']} images, {found['rays']} rays each; of these "
                f"{found['none_share']:.1%} meet no other class.",
                f"Robustness R = {found['robustness']:.3f} ({_number(low)} to {_number(high)}).",
                f"Audit: {found['differing']} of {found['audited']} rays differ.",
            ],
        )  # fmt: skip


def _rounds(run: Path) -> Iterator[Part]:
    rows = record.rows(run / "retraining.jsonl")
    if rows:
        body = [
            [str(number), str(sum(row["examples"])), f"{row['gain']:+.4f}",
             " to ".join(map(_number, row["gain_interval"])),
             f"{row['clean_before']:.1%} to {row['clean_after']:.1%}",
             "kept" if row["kept"] else "undone"]
            for number, row in enumerate(rows, 1)
        ]  # fmt: skip
        head = ("round", "examples", "gain of margin", "95 % interval", "clean accuracy", "")
        yield Part(title="Retraining beyond the boundary", table=Table(head=head, rows=body))


def _looks(run: Path) -> Iterator[Part]:
    """Pictures that other commands left."""
    left = {"Accuracy over budgets": (run, "curve.png"),
            "Loss landscapes": (run / "landscape", "*.png")}  # fmt: skip
    for title, (place, names) in left.items():
        if pictures := _pictures(place, names):
            yield Part(title=title, pictures=pictures)


PARTS: dict[str, Callable[[Path], Iterator[Part]]] = {
    "Evaluation": _evaluations, "Diagnosis": _diagnosis, "Pictures": _looks, "Margins": _margins,
    "Retraining": _rounds, "Training": _training,
}  # fmt: skip


def _json(path: Path) -> record.Row:
    return record.read_json(path) if path.exists() else {}


def _pictures(place: Path, names: str) -> list[Picture]:
    """Those that are whole."""
    files = (file for file in sorted(place.glob(names)) if b"IEND" in file.read_bytes()[-12:])
    return [_picture(file) for file in files]


def _picture(file: Path) -> Picture:
    return Picture(name=file.stem, data=base64.b64encode(file.read_bytes()).decode())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
