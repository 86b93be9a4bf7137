"""Figures from records. Matplotlib is imported when a figure is drawn, not before."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

from torch import Tensor

from holdfast import record
from holdfast.errors import BadInput
from holdfast.record import Row

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
STROKES = ("-", "--", ":")  # of more lines than colours
CROWD = 60  # points of a line from which on they have no marks
KINDS = (".png", ".pdf", ".svg")
DPI = 150  # pixels of a figure to the inch


@contextmanager
def panels(
    path: Path | str, count: int, size: tuple[float, float], title: str, **settings: Any
) -> Iterator[list[Any]]:
    """Axes side by side to draw in; behind the block the figure lies at `path`, as PNG, PDF or SVG
    by its suffix.

    size: width and height of each panel in inches; settings: for Matplotlib's `subplots`. The file
    is put there in one step, and no name is read as a formula. Raises BadInput for another suffix.
    """
    kind = Path(path).suffix.lower()
    if kind not in KINDS:
        raise BadInput(f"expected a figure as {', '.join(KINDS)}, got {path}; name it so")
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figure = Figure(figsize=(size[0] * count, size[1]), layout="constrained")
    yield list(figure.subplots(1, count, squeeze=False, **settings)[0])
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    content = BytesIO()
    figure.savefig(content, dpi=DPI, format=kind[1:], bbox_inches="tight")  # no label is cut
    record.write(Path(path), content.getvalue())


def label_axes(axes: Any, title: str, label: str) -> None:
    """A panel's title and the label of its horizontal axis; no frame above and beside it."""
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def bars(path: Path | str, groups: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Shares as grouped bars: a group per key, in it a bar per inner key. Written as PNG."""
    series = list(next(iter(groups.values())))
    wide = 0.8 / len(series)
    with panels(path, 1, (7.2, 3.6), title) as (axes,):
        for i, name in enumerate(series):
            places = [g + (i - (len(series) - 1) / 2) * wide for g in range(len(groups))]
            shares = [100 * group[name] for group in groups.values()]
            colour = COLOURS[i % len(COLOURS)]
            drawn = axes.bar(places, shares, wide * 0.92, label=name, color=colour)
            axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=8)
        axes.set_xticks(range(len(groups)), [fill(name, 12) for name in groups])
        axes.set_ylabel("accuracy (%)")
        axes.set_ylim(0, 109)
        label_axes(axes, "", "")
        axes.legend(ncols=len(series), loc="upper right", frameon=False, bbox_to_anchor=(1, 1.12))


def curves(
    path: Path | str,
    runs: Mapping[str, Sequence[Row]],
    measures: Mapping[str, tuple[str, float]],
    title: str,
) -> None:
    """Metrics over epochs, a panel per measure and a line per run. Written as PNG.

    runs: rows of `metrics.jsonl` by name of the run.
    measures: row key -> (label of the panel, factor by which values are multiplied).
    """
    with panels(path, len(measures), (2.9, 3.2), title) as drawn:
        for axes, (key, (label, factor)) in zip(drawn, measures.items(), strict=True):
            for i, (name, rows) in enumerate(runs.items()):
                held = [row for row in rows if row.get(key) is not None]
                axes.plot(
                    [row["epoch"] for row in held], [factor * row[key] for row in held],
                    marker="o" if len(held) < CROWD else "", ms=2.5, label=listed(name),
                    color=COLOURS[i % len(COLOURS)],
                    ls=STROKES[i // len(COLOURS) % len(STROKES)],
                )  # fmt: skip
            label_axes(axes, label, "epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        drawn[0].legend(frameon=False, fontsize=8)


def histograms(
    path: Path | str,
    groups: Mapping[str, Mapping[str, Tensor]],
    highest: float,
    label: str,
    title: str,
) -> None:
    """Counts in equal ranges from 0 to `highest` as stacked bars: a panel per key, in it a colour
    per inner key, the first at the bottom. Written as PNG."""
    with panels(path, len(groups), (2.9, 3.0), title, sharey=True) as drawn:
        for axes, (name, stack) in zip(drawn, groups.items(), strict=True):
            under = 0
            for (part, counts), colour in zip(stack.items(), COLOURS, strict=False):
                wide = highest / len(counts)
                places = [wide * (i + 0.5) for i in range(len(counts))]
                axes.bar(
                    places, counts.numpy(), wide * 0.92, bottom=under, label=part, color=colour
                )
                under = under + counts.numpy()
            label_axes(axes, name, label)
        drawn[0].set_ylabel("images")
        drawn[-1].legend(frameon=False, fontsize=8)


def heat(path: Path | str, matrices: Mapping[str, Tensor], title: str) -> None:
    """Mean margin matrices as heat maps on one colour scale, NaN in grey. Written as PNG.

    matrices: `[origin, adjacent]` by name (Song et al. 2019, arXiv 1909.05443, Figure 4).
    """
    highest = max((m[m.isfinite()].max().item() for m in matrices.values() if m.isfinite().any()),
                  default=1.0)  # fmt: skip
    with panels(path, len(matrices), (3.6, 3.6), title) as drawn:
        images = []
        for axes, (name, matrix) in zip(drawn, matrices.items(), strict=True):
            axes.set_facecolor("0.8")
            images.append(axes.imshow(matrix.numpy(), cmap="viridis", vmin=0, vmax=highest))
            axes.set_title(name, loc="left", fontsize=9)
            axes.set_xlabel("adjacent class")
        drawn[0].set_ylabel("class of the image")
        drawn[0].figure.colorbar(images[0], ax=drawn, shrink=0.8, label="mean margin")


def listed(name: str) -> str:
    """The name as a legend shows it: Matplotlib leaves out those that begin with `_`."""
    return f" {name}" if name.startswith("_") else name
