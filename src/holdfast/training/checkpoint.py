"""Checkpoints: complete folders that appear at once, with `last` and `best` leading to them."""

import copy
import io
import pickle
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from holdfast import model as models
from holdfast import record
from holdfast.data import Dataset
from holdfast.errors import BadInput, cause
from holdfast.types import State

DAMAGES = (RuntimeError, EOFError, LookupError, TypeError, OSError, pickle.UnpicklingError)
COUNTS = ("epoch", "updates", "best", "best_epoch", "rollbacks")
HELD = ("model", "optimizer", "objective", *COUNTS)


@dataclass(eq=False)
class Session:
    """All that changes while a run goes on; what a checkpoint holds.

    model: being trained. ema: its averaged twin, if any. state: the objective's.
    epoch: epochs done; updates: steps done. best, best_epoch: highest criterion so far (a share)
    and where; -1 before the first. rollbacks: how often the guard went back.
    """

    model: models.Network
    ema: models.Network | None
    optimizer: optim.Optimizer
    state: State
    epoch: int = 0
    updates: int = 0
    best: float = -1.0
    best_epoch: int = 0
    rollbacks: int = 0

    @property
    def judged(self) -> models.Network:
        """The model that is measured and kept: the averaged one where there is one."""
        return self.ema or self.model


def save(session: Session, run: Path, data: Dataset, keep_every: int) -> None:
    """Write `checkpoints/epoch-NNN`, lead `last` (and `best`) to it, drop what nobody needs: other
    checkpoints, and a run that this one replaces.

    Raises OSError where there is no room; then the run is as it was before.
    """
    place = run / record.CHECKPOINTS
    name = _of_epoch(run, session.epoch).name
    card = replace(
        session.judged.card, data=data.name, class_names=data.class_names,
        provenance=record.provenance(epoch=session.epoch),
    )  # fmt: skip
    with record.folder(place / name) as draft:
        models.save(session.judged, draft, card)
        record.write(draft / "state.pt", _packed(session))
    record.link(place / "last", name)
    if session.best_epoch == session.epoch:
        record.link(place / "best", name)
    _prune(place, keep_every)
    record.settled(run)


def _of_epoch(run: Path, epoch: int) -> Path:
    return run / record.CHECKPOINTS / f"epoch-{epoch:03d}"


def _epochs(place: Path) -> dict[int, Path]:
    """The checkpoints that are there, by their epochs."""
    names = {one: one.name.removeprefix("epoch-") for one in place.glob("epoch-*")}
    return {int(epoch): folder for folder, epoch in names.items() if epoch.isdigit()}


def _newest(run: Path) -> Path:
    """The last checkpoint, led to or not: a kill may have come between it and its link, and what
    copies a run may know no links."""
    place = run / record.CHECKPOINTS
    known = _epochs(place)
    return known[max(known)] if known and not (place / "last").is_dir() else place / "last"


def _packed(session: Session) -> bytes:
    buffer = io.BytesIO()
    content: dict[str, Any] = {
        "model": models.weights(session.model) if session.ema else None,
        "optimizer": session.optimizer.state_dict(),
        "objective": session.state,
    }
    content |= {name: getattr(session, name) for name in COUNTS}
    torch.save(content, buffer)
    return buffer.getvalue()


def _prune(place: Path, keep_every: int) -> None:
    """Remove checkpoints that are neither last nor best nor a multiple of `keep_every`."""
    led_to = {link.resolve().name for link in (place / "last", place / "best") if link.exists()}
    for epoch, folder in _epochs(place).items():
        kept = keep_every and epoch % keep_every == 0
        if folder.name not in led_to and not kept:
            shutil.rmtree(folder)


def restore(session: Session, run: Path) -> None:
    """Continue from `checkpoints/last`: every field of the session as it was then; writes nothing.

    Raises BadInput where there is no checkpoint, or it is damaged or of another architecture.
    """
    folder = _newest(run)
    if not folder.exists():
        raise BadInput(
            f"expected a checkpoint at {folder}, got none; if the run was stopped in its first "
            "epoch start it again with --force"
        )
    content = _unpacked(folder / "state.pt")
    models.restore(session.judged, models.read_weights(folder), folder)
    if session.ema:
        models.restore(session.model, content["model"], folder)
    session.optimizer.load_state_dict(content["optimizer"])
    where = next(session.model.parameters()).device
    session.state = {name: tensor.to(where) for name, tensor in content["objective"].items()}
    for name in COUNTS:
        setattr(session, name, content[name])
    best = run / record.CHECKPOINTS / "best"
    copied = best.exists() and not best.is_symlink()  # by what knows no links
    if not copied and not _of_epoch(run, session.best_epoch).exists():  # a later one was better
        session.best, session.best_epoch = Session.best, Session.best_epoch


def tidy(session: Session, run: Path) -> None:
    """Mend what a kill left half done beside the checkpoint: the links, and drafts.

    For one process only, when all have read.
    """
    place = run / record.CHECKPOINTS
    if not (place / "last").is_dir():
        record.link(place / "last", _newest(run).name)
    if session.best_epoch:
        record.link(place / "best", _of_epoch(run, session.best_epoch).name)
    elif (place / "best").is_symlink():
        (place / "best").unlink()
    for draft in place.glob(".*"):
        record.remove(draft)


def _unpacked(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        return {name: content[name] for name in HELD}
    except FileNotFoundError:
        raise BadInput(f"expected the state of a run at {file}, got no file") from None
    except DAMAGES as error:
        raise BadInput(
            f"expected the state of a run in {file}, got a damaged file: {cause(error)}"
        ) from None


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """A session's past, in memory."""

    weights: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    state: State
    epoch: int
    updates: int


def snapshot(session: Session) -> Snapshot:
    """Copies of all that an epoch changes."""
    return Snapshot(
        weights=copy.deepcopy(session.model.state_dict()),
        averaged=copy.deepcopy(session.ema.state_dict()) if session.ema else None,
        optimizer=copy.deepcopy(session.optimizer.state_dict()),
        state=copy.deepcopy(session.state), epoch=session.epoch, updates=session.updates,
    )  # fmt: skip


def roll_back(session: Session, past: Snapshot) -> None:
    """The session as it was, but for its best epoch so far and its rollbacks."""
    session.model.load_state_dict(past.weights)
    if session.ema and past.averaged:
        session.ema.load_state_dict(past.averaged)
    session.optimizer.load_state_dict(past.optimizer)
    session.state, session.epoch, session.updates = past.state, past.epoch, past.updates


def average(ema: nn.Module, model: nn.Module, decay: float, updates: int) -> None:
    """Move the averaged twin towards the model; counters and the like are copied.

    The decay is at most (1 + updates) / (10 + updates), so that the first weights are soon left.
    """
    decay = min(decay, (1 + updates) / (10 + updates))
    twin, own = (dict(m.named_parameters()) | dict(m.named_buffers()) for m in (ema, model))
    with torch.no_grad():
        for name, new in own.items():
            kept = twin.get(name)
            if kept is None or kept.shape != new.shape:  # what is made on the way, and not saved
                continue
            if kept.is_floating_point():
                whole = kept.isfinite() & new.isfinite()  # a mask may hold infinities
                kept.copy_(kept.lerp(new, 1 - decay).where(whole, new))
            else:
                kept.copy_(new)
