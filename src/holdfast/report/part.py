"""What a page is made of: parts with tiles, lines, tables, findings and pictures."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from holdfast import record
from holdfast.errors import BadInput, cause
from holdfast.model import trained_on
from holdfast.report.figures import DPI
from holdfast.result import Table

ASKED = ("checkpoint", "epoch", "split", "seed")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number that is seen first."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG in base64. width: in pixels of a style sheet, by which all lettering is of one size."""

    name: str
    data: str
    width: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """One kind of result. findings: as `record.plain` writes them."""

    title: str
    lines: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    table: Table | None = None
    findings: Sequence[Mapping[str, Any]] = ()
    pictures: Sequence[Picture] = ()

    def __post_init__(self) -> None:
        """Raises KeyError or TypeError for a finding that is damaged."""
        for finding in self.findings:
            itemgetter("name", "meaning", "advice")(finding)


def safely(title: str, make: Callable[[Any], Iterator[Part]], of: object) -> list[Part]:
    """What is made of one kind of result; where a file is damaged, that it is."""
    try:
        return [*make(of)]
    except (BadInput, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        line = (
            f"This cannot be read: {cause(error)}. Of an earlier holdfast, or damaged: repeat it."
        )
        return [Part(title=title, lines=[line])]


def each(
    title: str, make: Callable[[Any], Part], rows: Sequence[Any], kind: Callable[[Any], object]
) -> list[Part]:
    """What is made of the last row of each kind, the newest first; said where one is damaged."""
    newest: dict[str, Any] = {}
    for row in rows:
        newest.pop(repr(kind(row)), None)
        newest[repr(kind(row))] = row
    found = reversed(newest.values())
    return [part for row in found for part in safely(title, lambda of: iter([make(of)]), row)]


def fields(path: Path) -> record.Row:
    """What a file of JSON holds; nothing where there is none."""
    return record.read_json(path) if path.exists() else {}


def pictures(place: Path, names: str) -> list[Picture]:
    """Those that are whole."""
    files = (file for file in sorted(place.glob(names)) if b"IEND" in file.read_bytes()[-12:])
    return [picture(file) for file in files]


def picture(file: Path) -> Picture:
    """The file as a picture."""
    content = file.read_bytes()
    pixels = int.from_bytes(content[16:20], "big")  # the first field of a PNG's header
    return Picture(
        name=file.stem, data=base64.b64encode(content).decode(), width=round(pixels * 96 / DPI)
    )


def drawn(name: str, draw: Callable[[Path], None]) -> Picture:
    """What `draw` writes to the file that it is given."""
    with TemporaryDirectory() as place:
        draw(file := Path(place) / f"{name}.png")
        return picture(file)


def about(row: record.Row) -> list[str]:
    """Of what a result was made."""
    return [f"{name} {row[name]}" for name in ASKED if row.get(name) is not None]


def since(run: Path, row: record.Row, what: str) -> list[str]:
    """Where the run has been trained further since a result of it."""
    said = trained_on(run, row, what)
    return [f"{said[0].upper()}{said[1:]}."] if said else []


def rounded(value: float | None) -> str:
    """Four digits, or a dash for none."""
    return "-" if value is None else f"{value:.4g}"
