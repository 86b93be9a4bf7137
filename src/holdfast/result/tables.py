"""Tables, made of the row of a result that is stored: what is printed is what the page shows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdfast.record import Row
from holdfast.result.finding import Finding
from holdfast.result.standing import WORST, Standing, wilson

FEW = 0.001  # share of refused images that need no word


@dataclass(frozen=True)
class Table:
    """Cells of text under a head; as text, the first column to the left and the others to the
    right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        wide = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        return "\n".join(
            "  ".join([
                first.ljust(wide[0]), *(c.rjust(w) for c, w in zip(others, wide[1:], strict=True))
            ])
            for first, *others in lines
        )  # fmt: skip


def curve_table(row: Row) -> Table:
    """Accuracy at each radius of a curve, clean images first, and before it that of each attack
    that was run apart."""
    apart = row["attacks"]
    low, high = row["clean_interval"]
    clean = {"accuracy": row["clean_accuracy"], "low": low, "high": high}
    lines = [("clean", [clean] * (len(apart) + 1))] + [
        (f"{one['radius']:.4g}", [*(points[place] for points in apart.values()), one])
        for place, one in enumerate(row["points"])
        if one["radius"] > 0  # which are the clean images
    ]
    body = [
        [name, *(f"{one['accuracy']:.1%}" for one in some), _range(some[-1])]
        for name, some in lines
    ]  # fmt: skip
    return Table(("radius", *apart, WORST if apart else "accuracy", "95 % interval"), body)


def transfer_table(row: Row) -> Table:
    """What images made on each source leave of the accuracy of each target, clean images first,
    with 95 % intervals over images."""
    shares = zip(("clean", *row["sources"]), [row["clean_accuracy"], *row["accuracy"]], strict=True)
    body = [[name, *(_near(share, row["images"]) for share in some)] for name, some in shares]
    return Table(("made on", *row["targets"]), body)


def _near(share: float, images: int) -> str:
    near = wilson(round(share * images), images)
    return f"{share:.1%} ({near.low:.0%} to {near.high:.0%})"


def refusals(row: Row) -> list[str]:
    """Of which sources of a transfer matrix images do not count."""
    return [
        f"{share:.1%} of the images made on {name} were outside the budget or the pixel box, or no "
        "numbers, and count as if they had not been attacked"
        for name, share in zip(row["sources"], row["refused"], strict=True) if share > FEW
    ]  # fmt: skip


def remarks(rows: Sequence[Row], norm: str) -> list[str]:
    """Which attacks of an evaluation in this norm are in another one; how many images each attack
    that leads to a class led there, in a line each."""
    apart = [row["name"] for row in rows if row["norm"] != norm]
    other = f"not in the worst case, as in another norm than {norm}: {', '.join(apart)}"
    return ([other] if apart else []) + [
        "{}: of {} images led to another class, {:.1%} ({:.1%} to {:.1%}) are taken for it".format(
            row["name"], row["led"], row["reached"], *row["reached_interval"]
        )
        for row in rows if "led" in row
    ]  # fmt: skip


def remedy_table(row: Row) -> Table:
    """What each attack of a diagnosis takes from the claim, in points of accuracy."""
    body = [
        [one["name"], f"{100 * one['alone']:.1f}", f"{100 * one['beyond']:.1f}"]
        for one in row["remedies"]
    ]
    return Table(("attack", "takes alone", "beyond all others"), body)


def margin_table(row: Row) -> Table:
    """Margins by the class that is left: images, mean margin, share of all rays that enter it from
    elsewhere, robustness, level; those of all classes last."""
    columns = zip(
        row["class_images"], row["class_margins"], row["shares"][:-1], row["class_robustness"],
        row["levels"], strict=True,
    )  # fmt: skip
    body = [
        [str(label), str(count), _number(margin, ".4f"), _number(share, ".2%"),
         _number(strength, ".3f"), level]
        for label, (count, margin, share, strength, level) in enumerate(columns)
    ]  # fmt: skip
    entered = 1 - row["shares"][-1]
    last = ["all", str(row["images"]), f"{row['mean_margin']:.4f}", f"{entered:.2%}", "", ""]
    head = ("class left", "images", "mean margin", "entered by", "class robustness", "level")
    return Table(head, [*body, last])


def round_table(rows: Iterable[Row]) -> Table:
    """Rounds of retraining: what grew, what it cost, and whether it was kept."""
    body = [
        [str(number), str(sum(row["examples"])),
         f"{row['before']['mean_margin']:.4f} to {row['after']['mean_margin']:.4f}",
         f"{row['gain']:+.4f}", " to ".join(_number(end, "+.4f") for end in row["gain_interval"]),
         f"{row['clean_before']:.1%} to {row['clean_after']:.1%}",
         "kept" if row["kept"] else "undone"]
        for number, row in enumerate(rows, 1)
    ]  # fmt: skip
    return Table(("round", "examples", "mean margin", "gain", "95 % interval", "clean", ""), body)


def doubted(text: object, findings: Iterable[Finding]) -> str:
    """A table, and below it what casts doubt on its numbers."""
    return "\n".join([str(text), *(f"warning: {finding}" for finding in findings)])


def cells(standing: Standing) -> tuple[str, str]:
    """The cells of a table that say an accuracy and its interval."""
    return f"{standing.accuracy:.1%}", str(standing.interval)


def _range(one: Row) -> str:
    return f"{one['low']:.1%} to {one['high']:.1%}"


def _number(value: float | None, form: str) -> str:
    """A dash for none."""
    return "-" if value is None or math.isnan(value) else format(value, form)
