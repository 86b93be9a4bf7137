"""Figures of several runs of the same thing: their mean and their range."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from holdfast.report.figures import COLOURS, save

Runs = Mapping[str, Sequence[Sequence[float]]]


def ranges(
    path: Path | str, panels: Mapping[str, Runs], places: Sequence[float], labels: tuple[str, str],
    title: str,
) -> None:  # fmt: skip
    """A panel per key, a line per name for the mean of its runs, shaded between the lowest and the
    highest of them. Written as PNG.

    panels: for each name its runs, each with a value for each of the places. labels: of both axes.
    """
    import matplotlib.pyplot as plt

    figure, drawn = plt.subplots(
        1, len(panels), figsize=(3.1 * len(panels), 3.4), layout="constrained", squeeze=False,
        sharey=True,
    )  # fmt: skip
    for axes, (name, lines) in zip(drawn[0], panels.items(), strict=True):
        for (label, runs), colour in zip(lines.items(), itertools.cycle(COLOURS), strict=False):
            values = torch.tensor(runs)
            axes.plot(places, values.mean(0), label=label, color=colour)
            axes.fill_between(places, values.amin(0), values.amax(0), color=colour, alpha=0.2)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_xlabel(labels[0])
        axes.spines[["top", "right"]].set_visible(False)
    drawn[0][0].set_ylabel(labels[1])
    drawn[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    save(figure, path)
