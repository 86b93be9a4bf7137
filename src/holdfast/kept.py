"""Finished pieces of work, kept on disk so that a killed run that starts again goes on behind them.

A piece is named tensors with a few facts and a digest; an evaluation, a search or a landscape has a
folder of them, named by all that decides its result.
"""

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, MethodType

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as tensors
from torch import Tensor, nn

from holdfast import record
from holdfast.model import weights
from holdfast.record import Row

log = logging.getLogger("holdfast")
Held = dict[str, Tensor]


def read(file: Path | None) -> tuple[Held, Row] | None:
    """The tensors and the facts in this file; None where there is none, or it is damaged, which is
    said."""
    if file is None or not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            about = dict(json.loads(opened.metadata()["about"]))
        if about.pop("digest") != digest(held):
            raise ValueError("its digest is another")
        return held, about
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        log.warning("%s is damaged (%s); what it held is computed again", file, error)
        return None


def write(file: Path | None, held: Held, about: Mapping[str, object]) -> None:
    """Put a piece on disk in one step."""
    if file is None:
        return
    held = {name: value.contiguous().cpu() for name, value in held.items()}
    facts = json.dumps({**about, "digest": digest(held)})
    record.write(file, tensors.save(held, metadata={"about": facts}))


def place(folder: Path | None, stem: str, model: object, held: Held, about: object) -> Path | None:
    """The folder of the pieces of this piece of work and no other: named by what decides it.

    Modules are known by their weights, wherever they stand in the model and in `about`; a function
    by its name alone, and so is what else a module computes with. The model's clean logits, which
    belong into `held`, tell those apart.
    """
    if folder is None:
        return None
    known = list(_parts([model, about]))
    facts = json.dumps([record.version(), record.plain(about), record.plain(model)])
    name = hashlib.sha256("".join([digest(held), *known, facts]).encode()).hexdigest()
    return folder / f"{stem}-{name[:16]}"


def _parts(value: object) -> Iterator[str]:
    """Fingerprints of the modules and tensors in a value, and the names of its functions: in its
    fields, were they left out of its settings, and items."""
    if isinstance(value, nn.Module):
        yield digest(_state(value))
    elif isinstance(value, Tensor):
        yield digest({"": value})
    elif isinstance(value, FunctionType):
        yield value.__qualname__
    elif isinstance(value, MethodType):
        yield from _parts([value.__func__, value.__self__])
    elif isinstance(value, functools.partial):
        yield from _parts([value.func, *value.args, value.keywords])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from _parts(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item)
    elif type(value).__repr__ is object.__repr__:  # which names an address, no setting
        held = vars(value) if hasattr(value, "__dict__") else {}
        yield f"{type(value).__qualname__} {record.plain(held)}"
        yield from _parts([v for v in held.values() if isinstance(v, nn.Module | Tensor)])


def _state(module: nn.Module) -> Held:
    return {**weights(module), **dict(module.named_buffers())}


def digest(held: Held) -> str:
    """A fingerprint of named tensors."""
    made = hashlib.sha256()
    for name, value in sorted(held.items()):
        made.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        plain = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        made.update(plain.view(-1).view(torch.uint8).numpy().tobytes())
    return made.hexdigest()
