"""Shapes and types are checked once for each kind of arguments, not at every call.

beartype takes ten times as long as the small functions of an attack's loop. What decides its answer
are types, shapes, dtypes and words: where those were right once, they are right again.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from beartype import BeartypeConf, beartype
from torch import Tensor

CHECKER = beartype(conf=BeartypeConf(is_pep484_tower=True))
SMALL = 16
Check = Callable[..., Any]
made: dict[Hashable, Check] = {}


def checked(function: Check) -> Check:
    """jaxtyping's typechecker: it is shown arguments, or arguments and result, and may raise.

    Made once for each signature, as a function within another is shown here at every call of that.
    """
    name = (function.__module__, function.__qualname__, repr(function.__annotations__))
    return made.setdefault(name, _once(function))


def _once(function: Check) -> Check:
    right = set[Hashable]()
    check = functools.cache(lambda: CHECKER(function))  # most functions are never called

    @functools.wraps(function)
    def once(*args: Any, **kwargs: Any) -> None:
        try:
            kinds = (kind(args), kind(kwargs))
        except RecursionError:  # a list within itself
            return check()(*args, **kwargs)
        if kinds not in right:
            check()(*args, **kwargs)
            right.add(kinds)

    return once


def kind(value: Any) -> Hashable:
    """All of a value that a check of types and shapes may look at."""
    return _teller(type(value))(value)


@functools.cache
def _teller(cls: type) -> Callable[[Any], Hashable]:
    """How values of a class are told apart."""
    if issubclass(cls, Tensor | np.ndarray):
        return lambda value: (cls, value.shape, value.dtype)
    if issubclass(cls, tuple | list | set | frozenset):
        return lambda value: (cls, *map(kind, value))
    if issubclass(cls, dict):
        return lambda value: (cls, *map(kind, value), *map(kind, value.values()))
    if issubclass(cls, str | bool):
        return lambda value: (cls, value)
    if issubclass(cls, int):  # words of settings are small; larger numbers are all alike
        return lambda value: (cls, value if abs(value) < SMALL else SMALL)
    return lambda value: cls
