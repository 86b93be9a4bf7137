"""Figures of several runs of the same thing: their mean and their range."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from holdfast.report.figures import COLOURS, label_axes, panels

Runs = Mapping[str, Sequence[Sequence[float]]]


def ranges(
    path: Path | str, groups: Mapping[str, Runs], places: Sequence[float], labels: tuple[str, str],
    title: str,
) -> None:  # fmt: skip
    """A panel per key, a line per name for the mean of its runs, shaded between the lowest and the
    highest of them. Written as PNG.

    groups: for each name its runs, each with a value for each of the places. labels: of both axes;
    where the second is empty, each panel has a scale of its own.
    """
    with panels(path, len(groups), (3.1, 3.4), title, sharey=bool(labels[1])) as drawn:
        for axes, (name, lines) in zip(drawn, groups.items(), strict=True):
            for (label, runs), colour in zip(lines.items(), itertools.cycle(COLOURS), strict=False):
                values = torch.tensor(runs)
                axes.plot(places, values.mean(0), label=label, color=colour)
                axes.fill_between(places, values.amin(0), values.amax(0), color=colour, alpha=0.2)
            label_axes(axes, name, labels[0])
        drawn[0].set_ylabel(labels[1])
        drawn[0].legend(frameon=False, fontsize=8)
