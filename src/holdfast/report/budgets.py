"""Figures of accuracy over budgets."""

import itertools
from collections.abc import Mapping
from pathlib import Path

from holdfast.record import Row
from holdfast.report.figures import COLOURS, dressed, listed, panels


def budgets(path: Path | str, curves: Mapping[str, Row], title: str) -> None:
    """A line per name from its clean accuracy down, shaded by its 95 % intervals. Written as PNG.

    curves: what `holdfast.evaluation.Curve.as_dict` gives, by name.
    """
    norm = next(iter(curves.values()))["norm"]
    with panels(path, 1, (5.4, 3.6), title) as (axes,):
        for (name, row), colour in zip(curves.items(), itertools.cycle(COLOURS), strict=False):
            clean = {"radius": 0.0, "accuracy": row["clean_accuracy"]}
            places, shares = (
                [point[key] for point in (clean, *row["points"])] for key in ("radius", "accuracy")
            )
            values, label = [100 * share for share in shares], listed(name)
            axes.plot(places, values, "o-", ms=3, label=label, color=colour)
            low, high = ([100 * point[key] for point in row["points"]] for key in ("low", "high"))
            axes.fill_between(places[1:], low, high, color=colour, alpha=0.2)
        axes.set_ylabel("accuracy left (%)")
        axes.set_ylim(0, 100)
        dressed(axes, "", f"radius ({norm})")
        axes.legend(frameon=False, fontsize=8)
