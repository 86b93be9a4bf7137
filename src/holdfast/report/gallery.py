"""Images beside what attacks made of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from holdfast.errors import BadInput
from holdfast.report.figures import panels
from holdfast.types import Images

MOST = 8  # images in a row
SIZE = 1.1  # of each, in inches


def images(
    path: Path | str,
    clean: Images,
    attacked: Mapping[str, Images],
    title: str = "",
    *,
    captions: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Images in a first row, what each attack made of them in a row by its name, and under it the
    change, grey where there is none and as strong as its largest over the row. Written as PNG.

    clean, attacked: the same images, `[image, channel, height, width]` in [0, 1], one channel or
    three; the first MOST of them are drawn. captions: words under each, by the name of its row
    ("clean" for the first). Raises BadInput for images of another shape.
    """
    for name, some in attacked.items():
        if some.shape != clean.shape or clean.ndim != 4 or clean.shape[1] not in (1, 3):
            raise BadInput(
                "expected images [image, channel, height, width] of one channel or three, the same "
                f"of each attack, got {list(clean.shape)} and {list(some.shape)} of {name}"
            )
    first = clean[:MOST].cpu()
    rows: dict[str, Tensor] = {"clean": first}
    for name, some in attacked.items():
        change = some[:MOST].cpu() - first
        largest = change.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        rows |= {name: some[:MOST].cpu(), f"change by {name}": 0.5 + change / largest / 2}
    size = (SIZE * (len(first) + 1), SIZE * len(rows))
    with panels(path, 1, size, title) as (axes,):
        axes.set_axis_off()
        for place, (name, some) in enumerate(rows.items()):
            _row(axes, len(rows) - 1 - place, name, some, (captions or {}).get(name, ()))
        axes.set_xlim(-1, len(first))
        axes.set_ylim(-0.1, len(rows))
        axes.set_aspect("equal")


def _row(axes: Any, height: int, name: str, some: Tensor, words: Sequence[str]) -> None:
    """One row of images from the left, its name before it, words at their feet."""
    axes.text(-0.08, height + 0.5, name, ha="right", va="center", fontsize=8, wrap=True)
    for column, image in enumerate(some):
        extent = (column + 0.03, column + 0.97, height + 0.03, height + 0.97)
        pixels = image.permute(1, 2, 0).squeeze(-1).numpy().clip(0, 1)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    for column, word in enumerate(words[: len(some)]):
        axes.text(column + 0.5, height + 0.03, word, ha="center", va="bottom", fontsize=6,
                  color="white", bbox={"color": "black", "alpha": 0.5, "pad": 1})  # fmt: skip
