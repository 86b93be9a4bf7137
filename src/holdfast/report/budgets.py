"""Figures of accuracy over budgets."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from holdfast.errors import BadInput
from holdfast.record import Row
from holdfast.report.figures import COLOURS, label_axes, listed, panels
from holdfast.result import WORST


def budgets(path: Path | str, curves: Mapping[str, Row], title: str) -> None:
    """A line per name from its clean accuracy down, shaded by its 95 % intervals; attacks that were
    run apart are dashed lines, of its colour where there are several names. Written as PNG.

    curves: what `holdfast.evaluation.Curve.as_dict` gives, by name. Raises BadInput for others.
    """
    for name, row in curves.items():
        if not isinstance(row, dict):
            raise BadInput(
                f"expected curves as {{name: found.as_dict()}}, got {row!r:.40} of {name}"
            )
    norm = next(iter(curves.values()))["norm"]
    with panels(path, 1, (5.4, 3.6), title) as (axes,):
        for (name, row), colour in zip(curves.items(), itertools.cycle(COLOURS), strict=False):
            share, (low, high) = row["clean_accuracy"], row["clean_interval"]
            clean = {"radius": 0.0, "accuracy": share, "low": low, "high": high}
            places, values, lows, highs = _columns([clean, *row["points"]])
            label = listed(f"{name}, {WORST}" if row["attacks"] else name)
            axes.plot(places, values, "o-", ms=3, label=label, color=colour)
            axes.fill_between(places, lows, highs, color=colour, alpha=0.2)
            alone = len(curves) == 1  # then each attack has a colour too
            others = itertools.cycle(COLOURS[1:] if alone else [colour])
            lines = zip(row["attacks"].items(), _styles(), others, strict=False)
            for (attack, points), style, own in lines:
                places, values, *_ = _columns([clean, *points])
                label = listed(attack if alone else f"{name}, {attack}")
                axes.plot(places, values, linestyle=style, lw=1.2, label=label, color=own)
        axes.set_ylabel("accuracy left (%)")
        axes.set_ylim(0, 100)
        label_axes(axes, "", f"radius ({norm})")
        axes.legend(frameon=False, fontsize=8)


def _columns(points: Sequence[Row]) -> list[list[float]]:
    """Radii, accuracies and the ends of their intervals, these in per cent."""
    scales = {"radius": 1, "accuracy": 100, "low": 100, "high": 100}
    return [[scale * point[key] for point in points] for key, scale in scales.items()]


def _styles() -> Iterator[tuple[int, tuple[int, ...]]]:
    """Ways to dash a line: one dash more for each attack."""
    return ((0, (5, 2) + (1, 2) * dots) for dots in itertools.count())
