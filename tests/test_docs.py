import re
from pathlib import Path

import pytest
import torch
from tables import filled

from holdfast import report
from holdfast.result import Sign

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda p: p.stem)
def test_tables_are_what_the_rows_say(path):
    page = path.read_text()
    assert filled(page) == page, "run python docs/tables.py"
    assert "_TABLE" not in page


@pytest.mark.parametrize("path", [*DOCS.glob("*.md"), DOCS.parent / "README.md"], ids=str)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", [*DOCS.glob("*.md"), DOCS.parent / "README.md"], ids=str)
def test_anchors_are_headings(path):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        page = (path.parent / target).read_text() if target else path.read_text()
        heads = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert anchor in slugs, f"{target}#{anchor}"


def test_curves_are_drawn_from_rows(tmp_path):
    rows = [{"epoch": e, "a": 0.1 * e} for e in range(1, 4)]
    file = tmp_path / "figure.png"
    report.curves(
        file,
        {"one": [*rows, {"epoch": 9, "a": None}], "none": []},
        {"a": ("share (%)", 100.0)},
        "title",
    )
    assert file.read_bytes().startswith(b"\x89PNG")
    report.curves(str(tmp_path / "other.png"), {"one": rows}, {"a": ("a", 1.0)}, "title")
    assert (tmp_path / "other.png").exists()


def test_no_name_is_a_formula(tmp_path):
    name, row = "a$\\q$b", {"epoch": 1, "a": 0.1}
    report.bars(tmp_path / "bars.png", {name: {name: 0.5}}, name)
    report.curves(tmp_path / "curves.png", {name: [row]}, {"a": (name, 1.0)}, name)
    report.heat(tmp_path / "heat.png", {name: torch.eye(2)}, name)
    report.ranges(tmp_path / "ranges.png", {name: {name: [[1.0]]}}, [0.0], (name, name), name)
    assert len(list(tmp_path.glob("*.png"))) == 4


def explained(page: str, heading: str) -> set[str]:
    """What the first column of the table below a heading names."""
    below = (DOCS / page).read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", below, re.MULTILINE)[1:]
    return {name for cell in cells for name in cell.split(", ")}


def test_every_sign_is_explained():
    warnings = explained("evaluation.md", "Warnings")
    signs = explained("diagnosis.md", "The signs and their thresholds")
    assert warnings | signs == {*Sign}
    source = "".join(path.read_text() for path in (DOCS.parent / "src").rglob("*.py"))
    assert not [sign.name for sign in Sign if f"Sign.{sign.name}" not in source]
