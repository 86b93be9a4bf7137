"""The tables of the documentation, built from the rows in results/.

    python docs/tables.py          # writes them into the pages

A page holds `<!-- table: NAME -->` and `<!-- end -->`; what stands between them is replaced. A test
fails when a page and its rows disagree, so no number in a table is typed by hand.
"""

import re
from pathlib import Path

from rows import judging, training

from holdfast import record

HERE = Path(__file__).parent
TABLES = training.TABLES | judging.TABLES


def filled(page: str) -> str:
    """The page with each of its tables built anew."""
    pattern = r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in HERE.glob("*.md"):
        record.write(path, filled(path.read_text()))
