"""Settings as JSON and YAML know them."""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Row = dict[str, Any]


def plain(value: object) -> Any:
    """A setting as JSON and YAML know it.

    A dataclass becomes `{"name": ..., field: ...}`, its name the one of the command line where
    it has one (`name` as a class attribute), else that of its class; a class of one's own is
    `MODULE:NAME`, and where it is no dataclass, its fields are the attributes that are called as
    its parameters. A field with `repr=False` is no setting, and is left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = [f.name for f in dataclasses.fields(value) if f.repr]
        return {"name": _called(type(value))} | {key: plain(getattr(value, key)) for key in kept}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        held = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
        return _digest(value, held.numpy().tobytes())
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return _digest(value, value.tobytes())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if inspect.isfunction(value):
        return f"{value.__module__}:{value.__qualname__}"
    if inspect.ismethod(value):
        return {"name": plain(value.__func__), "of": plain(value.__self__)}
    if isinstance(value, functools.partial):
        return {"name": plain(value.func), "given": plain([*value.args, value.keywords])}
    if type(value).__repr__ is object.__repr__:  # which names an address
        held = {k: getattr(value, k) for k in _parameters(type(value)) if hasattr(value, k)}
        return {"name": _called(type(value))} | plain(held)
    return repr(value)


def _digest(value: Tensor | np.ndarray, held: bytes) -> Row:
    digest = hashlib.sha256(str(value.dtype).encode() + held).hexdigest()
    return {"shape": list(value.shape), "sha256": digest[:16]}


def _parameters(kind: type) -> Iterable[str]:
    """Of its constructor; none where that does not say them."""
    try:
        return inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return ()


def _called(kind: type) -> str:
    """How the command line calls a class; `MODULE:NAME` where it is not one of holdfast."""
    if kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return f"{kind.__module__}:{kind.__qualname__}"
    return str(getattr(kind, "name", kind.__name__))
