"""Margins on disk: every ray as tensors, the measures as JSON."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import torch as tensors

from holdfast import record
from holdfast.margin.margins import Margins
from holdfast.types import Labels


def save(
    found: Margins, folder: Path | str, y: Labels, about: Mapping[str, object] | None = None
) -> None:
    """Write `margins.safetensors` and `matrix.json` into the folder, each in one step.

    The tensors are `distance`, `step` and `entered`, `[image, direction, sign]`, and `origin`,
    `index` and `y` of the images. The JSON holds the measures with their intervals.
    """
    held = {name: getattr(found, name) for name in
            ("distance", "step", "entered", "origin", "index")}  # fmt: skip
    held["y"] = y.cpu().clone()  # which may be what `origin` is
    record.write(
        Path(folder) / "margins.safetensors",
        tensors.save({name: tensor.contiguous() for name, tensor in held.items()}),
    )
    row = found.as_dict() | record.provenance(**(about or {}))
    record.write_json(Path(folder) / "matrix.json", row)
