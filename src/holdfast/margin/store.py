"""Margins on disk: every ray as tensors, the measures as JSON."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors import torch as tensors

from holdfast import record
from holdfast.errors import BadInput, cause
from holdfast.margin.margins import Audit, Margins
from holdfast.margin.rays import Grid
from holdfast.types import Labels

TENSORS = ("distance", "step", "entered", "origin", "index")


def save(
    found: Margins, folder: Path | str, y: Labels, about: Mapping[str, object] | None = None
) -> None:
    """Write `margins.safetensors` and `matrix.json` into the folder, each in one step.

    The tensors are `distance`, `step` and `entered`, `[image, direction, sign]`, and `origin`,
    `index` and `y` of the images. The JSON holds the measures with their intervals.
    """
    held = {name: getattr(found, name) for name in TENSORS}
    held["y"] = y.cpu().clone()  # which may be what `origin` is
    raw = tensors.save({name: tensor.contiguous() for name, tensor in held.items()})
    record.write(Path(folder) / "margins.safetensors", raw)
    row = found.as_dict() | {"tensors": _digest(raw)} | record.provenance(**(about or {}))
    record.write_json(Path(folder) / "matrix.json", row)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def load(folder: Path | str) -> Margins:
    """The margins that `save` wrote into this folder, such as `runs/a/margins`. Raises BadInput
    where there are none, or they are damaged."""
    file, sheet = Path(folder) / "margins.safetensors", Path(folder) / "matrix.json"
    try:
        raw, told = file.read_bytes(), record.read_json(sheet)
        if told["tensors"] != _digest(raw):
            raise ValueError(f"{file.name} and {sheet.name} are not of one search")
        held = tensors.load(raw)
        grid = Grid(
            reach=told["reach"], step=told["step"], scale=told["scale"], clip=told["clip"],
            signs=held["distance"].shape[2],
        )  # fmt: skip
        return Margins(
            **{name: held[name] for name in TENSORS}, grid=grid, classes=told["classes"],
            tolerance=told["tolerance"], method=told["method"], forward=told["forward"],
            seconds=told["seconds"],
            audit=Audit(rays=told["audited"], differing=told["differing"]),
        )  # fmt: skip
    except (OSError, SafetensorError, LookupError, ValueError) as error:
        raise BadInput(
            f"expected margins in {folder}, got {cause(error)}; search them with holdfast margins, "
            "or in Python margin.save"
        ) from None
