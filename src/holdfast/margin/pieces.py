"""A search in pieces, each saved when it is done, so that a killed search goes on behind them."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as tensors
from torch import Tensor, nn

from holdfast import record
from holdfast.model import weights

log = logging.getLogger("holdfast")


@dataclass(frozen=True, eq=False, kw_only=True)
class Piece:
    """What was found on the rays of some images.

    step, entered, distance: `[image, ray]`. audited, differing: rays of the audit. forward: passes
    through the network, without the audit's. seconds: wall time, with it.
    """

    step: Tensor
    entered: Tensor
    distance: Tensor
    audited: int
    differing: int
    forward: int
    seconds: float


COUNTS = ("audited", "differing", "forward", "seconds")
TENSORS = ("step", "entered", "distance")


def read(file: Path | None) -> Piece | None:
    """The piece in this file; None where there is none, or it is damaged, which is said."""
    if file is None or not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            held = {name: opened.get_tensor(name) for name in TENSORS}
            about = json.loads(opened.metadata()["about"])
        if about.pop("digest") != digest(held):
            raise ValueError("its digest is another")
        return Piece(**held, **about)
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        log.warning("%s is damaged (%s); its rays are searched again", file, error)
        return None


def write(file: Path | None, piece: Piece) -> None:
    """Put the piece on disk in one step."""
    if file is None:
        return
    held = {name: getattr(piece, name).contiguous().cpu() for name in TENSORS}
    about = {name: getattr(piece, name) for name in COUNTS} | {"digest": digest(held)}
    record.write(file, tensors.save(held, metadata={"about": json.dumps(about)}))


def place(
    folder: Path | None, model: object, held: dict[str, Tensor], about: object
) -> Path | None:
    """The folder of the pieces of this search and no other: named by what decides its result.

    A model that is a function is known by its name alone.
    """
    if folder is None:
        return None
    known = weights(model) if isinstance(model, nn.Module) else {}
    facts = json.dumps([record.version(), record.plain(about), record.plain(model)[:80]])
    name = hashlib.sha256((digest(held) + digest(known) + facts).encode()).hexdigest()
    return folder / f"search-{name[:16]}"


def digest(held: dict[str, Tensor]) -> str:
    """A fingerprint of named tensors."""
    made = hashlib.sha256()
    for name, value in sorted(held.items()):
        made.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        made.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return made.hexdigest()
