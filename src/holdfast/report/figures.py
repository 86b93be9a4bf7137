"""Figures from records. Matplotlib is imported when a figure is drawn, not before."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill

from torch import Tensor

from holdfast import record
from holdfast.record import Row

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito


def bars(path: Path | str, groups: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Shares as grouped bars: a group per key, in it a bar per inner key. Written as PNG."""
    import matplotlib.pyplot as plt

    series = list(next(iter(groups.values())))
    figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    wide = 0.8 / len(series)
    for i, name in enumerate(series):
        places = [g + (i - (len(series) - 1) / 2) * wide for g in range(len(groups))]
        shares = [100 * group[name] for group in groups.values()]
        drawn = axes.bar(places, shares, wide * 0.92, label=name, color=COLOURS[i % len(COLOURS)])
        axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=8)
    axes.set_xticks(range(len(groups)), [fill(name, 12) for name in groups])
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, 109)
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=len(series), loc="upper right", frameon=False, bbox_to_anchor=(1, 1.12))
    save(figure, path)


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
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(measures), figsize=(2.9 * len(measures), 3.2), layout="constrained", squeeze=False
    )
    for axes, (key, (label, factor)) in zip(panels[0], measures.items(), strict=True):
        for i, (name, rows) in enumerate(runs.items()):
            points = [(row["epoch"], factor * row[key]) for row in rows if row.get(key) is not None]
            axes.plot(
                [p[0] for p in points],
                [p[1] for p in points],
                label=listed(name),
                color=COLOURS[i % len(COLOURS)],
            )
        axes.set_title(label, loc="left", fontsize=9)
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save(figure, path)


def histograms(
    path: Path | str,
    panels: Mapping[str, Mapping[str, Tensor]],
    highest: float,
    label: str,
    title: str,
) -> None:
    """Counts in equal ranges from 0 to `highest` as stacked bars: a panel per key, in it a colour
    per inner key, the first at the bottom. Written as PNG."""
    import matplotlib.pyplot as plt

    figure, drawn = plt.subplots(
        1, len(panels), figsize=(2.9 * len(panels), 3.0), layout="constrained", squeeze=False,
        sharey=True,
    )  # fmt: skip
    for axes, (name, groups) in zip(drawn[0], panels.items(), strict=True):
        under = 0
        for (group, counts), colour in zip(groups.items(), COLOURS, strict=False):
            wide = highest / len(counts)
            places = [wide * (i + 0.5) for i in range(len(counts))]
            axes.bar(places, counts.numpy(), wide * 0.92, bottom=under, label=group, color=colour)
            under = under + counts.numpy()
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    drawn[0][0].set_ylabel("images")
    drawn[0][-1].legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save(figure, path)


def heat(path: Path | str, matrices: Mapping[str, Tensor], title: str) -> None:
    """Mean margin matrices as heat maps on one colour scale, NaN in grey. Written as PNG.

    matrices: `[origin, adjacent]` by name (Song et al. 2019, arXiv 1909.05443, Figure 4).
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(matrices), figsize=(3.4 * len(matrices) + 0.8, 3.6), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    highest = max((m[m.isfinite()].max().item() for m in matrices.values() if m.isfinite().any()),
                  default=1.0)  # fmt: skip
    drawn = []
    for axes, (name, matrix) in zip(panels[0], matrices.items(), strict=True):
        axes.set_facecolor("0.8")
        drawn.append(axes.imshow(matrix.numpy(), cmap="viridis", vmin=0, vmax=highest))
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_xlabel("adjacent class")
    panels[0][0].set_ylabel("class of the image")
    figure.colorbar(drawn[0], ax=list(panels[0]), shrink=0.8, label="mean margin")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save(figure, path)


def listed(name: str) -> str:
    """The name as a legend shows it: Matplotlib leaves out those that begin with `_`."""
    return f" {name}" if name.startswith("_") else name


def save(figure, path: Path | str) -> None:
    """Put a figure at `path` as PNG, in one step, and forget it. No name is read as a formula."""
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    content = BytesIO()
    figure.savefig(content, dpi=150, format="png", bbox_inches="tight")  # no label is cut
    plt.close(figure)
    record.write(Path(path), content.getvalue())
