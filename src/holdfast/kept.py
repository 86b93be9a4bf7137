"""Finished pieces of work, kept on disk so that a killed run that starts again goes on behind them.

A piece is named tensors with a few facts and a digest; an evaluation, a search or a landscape has a
folder of them, named by all that decides its result.
"""

import dataclasses
import functools
import hashlib
import inspect
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as tensors
from torch import Tensor, nn

from holdfast import record
from holdfast.model import weights
from holdfast.record import Row

log = logging.getLogger("holdfast")
Held = dict[str, Tensor]
DIGESTED = nn.Module | Tensor | np.ndarray
PLAIN = bool | int | float | complex | str | bytes | None


def read(file: Path | None) -> Row | None:
    """What `write` put into this file; None where there is none, or it is damaged, as is said."""
    if file is None or not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            about = dict(json.loads(opened.metadata()["about"]))
        if about.pop("digest") != digest(held):
            raise ValueError("its digest is another")
        return held | about
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        log.warning("%s is damaged (%s); what it held is computed again", file, error)
        return None


def write(file: Path | None, piece: Mapping[str, object]) -> None:
    """Put tensors and plain facts on disk in one step."""
    if file is None:
        return
    held = {k: one.contiguous().cpu() for k, one in piece.items() if isinstance(one, Tensor)}
    facts = {name: one for name, one in piece.items() if name not in held}
    about = json.dumps(facts | {"digest": digest(held)})
    record.write(file, tensors.save(held, metadata={"about": about}))


def computed(file: Path | None, make: Callable[[], Mapping[str, object]]) -> Row:
    """The piece in this file; made and written where there is none, or it is damaged."""
    piece = read(file)
    if piece is None:
        piece = dict(make())
        write(file, piece)
    return piece


def folder_of(
    folder: Path | None, stem: str, model: object, held: Held, about: object
) -> Path | None:
    """The folder of the pieces of this piece of work and no other: named by what decides it.

    Modules are known by their weights, their code and their plain settings, wherever they stand in
    the model and in `about`; functions by their code and the plain values that it holds on to. What
    else they compute with, such as lists and objects, is not looked into: the model's clean logits,
    which belong into `held`, tell most of that apart.
    """
    if folder is None:
        return None
    known = list(_parts([model, about]))
    facts = json.dumps([record.version(), record.plain(about), record.plain(model)])
    name = hashlib.sha256("".join([digest(held), *known, facts]).encode()).hexdigest()
    return folder / f"{stem}-{name[:16]}"


def _parts(value: object) -> Iterator[str]:
    """Fingerprints of the modules, tensors and functions in a value: in its fields, were they left
    out of its settings, and items."""
    if isinstance(value, nn.Module):
        yield digest(_state(value))
        yield from itertools.chain.from_iterable(map(_behaviour, value.modules()))
    elif isinstance(value, Tensor):
        yield digest({"": value})
    elif isinstance(value, np.ndarray):
        yield repr(record.plain(value))
    elif isinstance(value, FunctionType):
        yield from _function(value)
    elif isinstance(value, MethodType):
        yield from _parts([value.__func__, value.__self__])
    elif isinstance(value, functools.partial):
        yield from _parts([value.func, *value.args, value.keywords])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _class(type(value))
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
        yield from _parts([one for one in held.values() if isinstance(one, DIGESTED)])


def _behaviour(module: nn.Module) -> Iterator[str]:
    """What a module does with its weights, as far as its class and its plain settings say it."""
    held = {name: one for name, one in sorted(vars(module).items()) if _plain(one)}
    yield repr(held | {"training": None})  # which whoever asks it decides
    yield from _class(type(module))


@functools.cache
def _class(kind: type) -> tuple[str, ...]:
    """The code of a class and of those that it is made from, without torch's and Python's own."""
    own = [one for one in kind.__mro__ if one.__module__.split(".")[0] not in ("torch", "builtins")]
    members = (inspect.unwrap(one) for part in own for one in vars(part).values() if callable(one))
    return tuple(_code(one.__code__) for one in members if isinstance(one, FunctionType))


def _plain(value: object) -> bool:
    """Whether its repr says all of it, in any process."""
    return all(map(_plain, value)) if isinstance(value, tuple) else isinstance(value, PLAIN)


def _function(function: FunctionType, within: tuple[FunctionType, ...] = ()) -> Iterator[str]:
    """A function's code, and the plain values, tensors, modules and functions that it holds;
    `within` hold it in turn."""
    function = inspect.unwrap(function)
    within = (*within, function)
    yield function.__qualname__ + _code(function.__code__)
    held = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    for one in (*held, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        if _plain(one):
            yield repr(one)
        elif isinstance(one, FunctionType) and inspect.unwrap(one) not in within:
            yield from _function(one, within)
        elif isinstance(one, DIGESTED):
            yield from _parts(one)


def _filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # of a name that is given no value yet
        return False


def _code(code: CodeType) -> str:
    """A fingerprint of what code does, wherever it stands in whichever file."""
    within = [_code(one) if isinstance(one, CodeType) else _spelt(one) for one in code.co_consts]
    facts = [code.co_code.hex(), *code.co_names, *within]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()


def _spelt(constant: object) -> str:
    """The constant in words that are the same in every process."""
    return repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


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
