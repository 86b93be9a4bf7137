"""The tables of the documentation, built from the rows in results/.

    python docs/tables.py          # writes them into the pages

A page holds `<!-- table: NAME -->` and `<!-- end -->`; what stands between them is replaced. A test
fails when a page and its rows disagree, so no number in a table is typed by hand.
"""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from holdfast import record
from holdfast.record import Row

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def tested(row: Row) -> list[str]:
    """Clean, attacks and worst case of a row's test results, each with its 95 % interval."""
    found = row["test"]
    cells = [percent(found["clean_accuracy"])]
    cells += [
        f"{percent(a['accuracy'])} ({percent(a['low'])} to {percent(a['high'])})"
        for a in found["attacks"]
    ]
    return [*cells, percent(found["worst_case_accuracy"])]


def cifar10() -> str:
    rows = record.rows(RESULTS / "cifar10-objectives.jsonl")
    last = {row["objective_name"]: row for row in rows if row.get("epoch") == row["epochs"]}
    body = []
    for row in (row for row in rows if "test" in row):
        end = last[row["objective_name"]]
        body.append([
            f"`{row['objective_name']}`", *tested(row), f"{100 * end['gap']:+.1f}",
            f"{end['validation_entropy']:.2f}", f"{row['images']:,}", str(row["seed"]),
        ])  # fmt: skip
    head = ["objective", "clean %", "FGSM %", "PGD-20 %", "worst %", "gap (points)",
            "entropy (bits)", "training images", "seed"]  # fmt: skip
    return table(head, body)


def mnist() -> str:
    rows = [row for row in record.rows(RESULTS / "mnist-reward.jsonl") if "test" in row]
    body = [
        [row["run"], f"{100 * row['test_clean_all']['clean_accuracy']:.2f}", *tested(row)[1:],
         str(row["epochs"]), str(row["seed"])]
        for row in rows
    ]  # fmt: skip
    head = ["training", "clean %, all 10,000", "FGSM %", "PGD-40 %", "PGD-40 margin %", "worst %",
            "epochs", "seed"]  # fmt: skip
    return table(head, body)


def start() -> str:
    rows = record.rows(RESULTS / "mnist-start.jsonl")
    body = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        accuracy = [row["validation_clean"] for row in mine]
        spread = f" ± {percent(statistics.stdev(accuracy))}" if len(accuracy) > 1 else ""
        digits = ", ".join(str(row["digits_known"]) for row in mine)
        cells = [f"{percent(statistics.mean(accuracy))}{spread}", digits]
        body.append([variant, *cells, str(len(mine))])
    return table(["objective", "accuracy %", "digits it predicts", "seeds"], body)


def speed() -> str:
    rows = record.rows(RESULTS / "train-speed.jsonl")
    body = [
        [f"`{row['network']}`", row["method"], row["contender"],
         f"{row['images_per_second']:.0f}", f"{row['ratio']:.2f}", f"{row['times_plain']:.2f}"]
        for row in rows
    ]  # fmt: skip
    head = ["network", "training", "contender", "images/s", "times the peer's speed",
            "times its own plain step"]  # fmt: skip
    return table(head, body)


def demo() -> str:
    rows = record.rows(RESULTS / "demo.jsonl")
    body = [[row["name"], *tested(row), f"{row['test']['entropy_bits']:.2f}",
             f"{row['seconds']:.0f}"] for row in rows]  # fmt: skip
    head = ["classifier", "clean %", "FGSM %", "PGD-20 %", "worst %", "entropy (bits)",
            "training (s)"]  # fmt: skip
    return table(head, body)


TABLES: dict[str, Callable[[], str]] = {
    "cifar10": cifar10, "demo": demo, "mnist": mnist, "speed": speed, "start": start,
}  # fmt: skip


def filled(page: str) -> str:
    """The page with each of its tables built anew."""
    pattern = r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in HERE.glob("*.md"):
        record.write(path, filled(path.read_text()))
