"""Loss landscapes as contours over the predicted classes, and as surfaces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from holdfast.report.figures import panels

GREY_LEVEL = 1 / 255  # how far outside the pixel box the dashed line is drawn


def contour(
    path: Path | str,
    places: Tensor,
    losses: Mapping[str, Tensor],
    labels: tuple[str, str],
    title: str,
    classes: Tensor | None = None,
    outside: Tensor | None = None,
) -> None:
    """Losses over a plane as lines of equal height, a panel for each. Written as PNG.

    places: of columns and rows, `[size]`; losses and maps: `[up, across]`. Behind the lines are
    the predicted classes, without them the loss itself; the cross is the middle of the plane.
    outside: how far points lie outside the pixel box; dashed: one grey level.
    """
    at = places.numpy()
    with panels(path, len(losses), (4.6, 4.2), title) as drawn:
        for axes, (name, loss) in zip(drawn, losses.items(), strict=True):
            if classes is None:
                mesh = axes.pcolormesh(at, at, loss.numpy(), cmap="viridis", rasterized=True)
                axes.figure.colorbar(mesh, ax=axes, shrink=0.8)
            else:
                _regions(axes, places, classes)
            if loss.max() > loss.min():
                lines = axes.contour(at, at, loss.numpy(), 12, colors="0.15", linewidths=0.7)
                axes.clabel(lines, fontsize=6)
            if outside is not None and outside.min() < GREY_LEVEL < outside.max():
                axes.contour(at, at, outside.numpy(), [GREY_LEVEL], colors="k", linestyles="--")
                name += " (dashed: one grey level outside the pixel box)"
            axes.plot(0, 0, "x", color="k")
            axes.set(xlabel=labels[0], ylabel=labels[1], aspect="equal")
            axes.set_title(name, loc="left", fontsize=9)


def _regions(axes: Any, places: Tensor, classes: Tensor) -> None:
    """Each predicted class in a colour of its own, named beside the plane."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    found = classes.unique()
    colours: Any = colormaps["tab20" if len(found) > 10 else "tab10"]
    inks = [colours(i % colours.N) for i in range(len(found))]
    picture = torch.tensor(inks)[torch.searchsorted(found, classes.contiguous())]
    step = (places[1] - places[0]).item() / 2
    ends = places[0].item() - step, places[-1].item() + step
    axes.imshow(picture.numpy(), origin="lower", extent=(*ends, *ends), alpha=0.45)
    shown = [Patch(color=ink, alpha=0.45, label=f"{label}") for ink, label in
             zip(inks, found.tolist(), strict=True)][:20]  # fmt: skip
    axes.legend(handles=shown, title="class", fontsize=7, frameon=False, loc="upper left",
                bbox_to_anchor=(1, 1))  # fmt: skip


def surface(
    path: Path | str,
    places: Tensor,
    losses: Mapping[str, Tensor],
    labels: tuple[str, str],
    title: str,
) -> None:
    """Losses over a plane as hills, a panel for each. Arguments as for `contour`. Written as
    PNG."""
    across, up = torch.meshgrid(places, places, indexing="xy")
    solid = {"projection": "3d"}
    with panels(path, len(losses), (4.8, 4.4), title, subplot_kw=solid) as drawn:
        for axes, (name, loss) in zip(drawn, losses.items(), strict=True):
            axes.plot_surface(
                across.numpy(), up.numpy(), loss.numpy(), cmap="viridis", rcount=100, ccount=100,
                linewidth=0,
            )  # fmt: skip
            axes.set_xlabel(labels[0], fontsize=7)
            axes.set_ylabel(labels[1], fontsize=7)
            axes.tick_params(labelsize=7, pad=0)
            axes.set_box_aspect(None, zoom=0.85)
            axes.set_title(name, loc="left", fontsize=9)
