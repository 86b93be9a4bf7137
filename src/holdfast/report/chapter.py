"""What one run folder holds, in the order in which a page tells it."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from holdfast import record
from holdfast.errors import BadInput
from holdfast.report.figures import curves

MOODS = {"no sign of masking": "good", "masked": "bad"}  # every other word leaves a doubt
MEASURES = {
    "loss": ("loss", 1.0), "clean": ("clean accuracy (%)", 100.0),
    "fgsm": ("FGSM accuracy (%)", 100.0), "pgd": ("PGD accuracy (%)", 100.0),
    "entropy": ("entropy (bits)", 1.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of text under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


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
    tiles: Sequence[Tile]
    parts: Sequence[Part]
    files: Mapping[str, str]


def chapter(run: Path) -> Chapter:
    """Everything that the run folder has to show. Raises BadInput where it is none."""
    known = ("config.yaml", "evaluation.jsonl", "retraining.jsonl", "checkpoints")
    if not any((run / name).exists() for name in known):
        raise BadInput(f"expected a run folder, got {run}: none of {', '.join(known)} is there")
    found = _json(run / "findings.json")
    word = found.get("word", "not diagnosed")
    parts = [part for make in PARTS for part in make(run)]
    texts = {name: run / name for name in ("config.yaml", "provenance.json")}
    return Chapter(
        name=str(run), word=word, mood=MOODS.get(word, "doubt" if found else "unknown"),
        verdict=found.get("verdict", ""), tiles=[*_tiles(run)], parts=parts,
        files={name: path.read_text() for name, path in texts.items() if path.exists()},
    )  # fmt: skip


def _tiles(run: Path) -> Iterator[Tile]:
    """The newest evaluation in three numbers."""
    for row in record.rows(run / "evaluation.jsonl")[-1:]:
        low, high = row["worst_case_interval"]
        within = f"{row['norm']} {row['radius']:.4g}"
        yield Tile(label="clean", value=f"{row['clean_accuracy']:.1%}", note="accuracy")
        yield Tile(label=f"worst case, {within}", value=f"{row['worst_case_accuracy']:.1%}",
                   note=f"{low:.1%} to {high:.1%}")  # fmt: skip
        about = [str(row[key]) for key in ("split", "battery") if row.get(key)]
        yield Tile(label="images", value=str(row["images"]), note=", ".join(about))


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
    said = f"{rows[-1]['epoch']} epochs in {seconds:.0f} s."
    warnings = [f"Epoch {row['epoch']}: {row['warning']}." for row in rows if "warning" in row]
    yield Part(title="Training", lines=[said, *warnings], pictures=[picture])


def _of(split: str, row: record.Row) -> record.Row:
    """The measurements of one split, by the names of MEASURES."""
    own = {key: row.get(f"{split}_{key}") for key in MEASURES}
    return own | ({"loss": row.get("loss")} if split == "train" else {})


def _evaluations(run: Path) -> Iterator[Part]:
    """The newest by each battery; of those that Python saved without a name, the newest."""
    newest: dict[Any, list[record.Row]] = {}
    for row in record.rows(run / "evaluation.jsonl"):
        before = newest.get(row.get("battery"), [])
        same = bool(before) and before[-1]["per_image"] == row["per_image"]
        newest[row.get("battery")] = [*before, row] if same else [row]
    for battery, rows in reversed(newest.items()):
        last = rows[-1]
        named = f"{last['norm']} {max(row['radius'] for row in rows):.4g}"
        about = [f"{key} {last[key]}" for key in ("checkpoint", "split", "seed") if key in last]
        yield Part(
            title=f"Evaluation: {battery or 'attacks of Python'}",
            lines=[", ".join([f"{last['images']} images", *about, f"within {named}"])],
            table=_attacks(rows), findings=last.get("findings", ()),
        )  # fmt: skip


def _attacks(rows: Sequence[record.Row]) -> Table:
    low, high = rows[-1]["worst_case_interval"]
    body = [
        [row["name"], f"{row['norm']} {row['radius']:.4g}", f"{row['accuracy']:.1%}",
         f"{row['low']:.1%} to {row['high']:.1%}", _number(row["median_distance"]),
         f"{row['forward'] / row['images']:.0f}", f"{row['backward'] / row['images']:.0f}",
         f"{row['seconds']:.1f}"]
        for row in rows
    ]  # fmt: skip
    worst = ["worst case", "", f"{rows[-1]['worst_case_accuracy']:.1%}",
             f"{low:.1%} to {high:.1%}"]  # fmt: skip
    head = ("attack", "budget", "accuracy", "95 % interval", "median distance", "forward/image",
            "backward/image", "seconds")  # fmt: skip
    return Table(head=head, rows=[*body, worst + [""] * 4])


def _diagnosis(run: Path) -> Iterator[Part]:
    found = _json(run / "findings.json")
    if found:
        rows = [[one["name"], f"{100 * one['alone']:.1f}", f"{100 * one['beyond']:.1f}"]
                for one in found["remedies"]]  # fmt: skip
        yield Part(
            title="Diagnosis", findings=found["findings"], pictures=_pictures(run, "entropy.png"),
            lines=[f"Points of accuracy that each attack takes from the claim of {found['claim']}, "
                   f"on {found['sample']} images:"],
            table=Table(head=("attack", "alone", "beyond all others"), rows=rows),
        )  # fmt: skip


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


PARTS = (_evaluations, _diagnosis, _looks, _margins, _rounds, _training)


def _json(path: Path) -> record.Row:
    return record.read_json(path) if path.exists() else {}


def _pictures(place: Path, names: str) -> list[Picture]:
    return [_picture(file) for file in sorted(place.glob(names))]


def _picture(file: Path) -> Picture:
    return Picture(name=file.stem, data=base64.b64encode(file.read_bytes()).decode())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
