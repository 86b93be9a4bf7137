"""Shapes and types are checked once for each kind of arguments, not at every call.

jaxtyping and beartype take many times as long as the small functions of an attack's loop. What
decides their answer are types, shapes, dtypes and words: where those were right once, with what
came back, they are right again.
"""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
from torch import Tensor

CHECKER = beartype(conf=BeartypeConf(is_pep484_tower=True))
SMALL = 16
Call = Callable[..., Any]
at_every_call = jaxtyping.jaxtyped
right = defaultdict[Hashable, set[Hashable]](set)  # by function, kinds of arguments


def watch(package: str) -> None:
    """From now on what is imported of the package is checked; it must not have been before."""
    jaxtyping.jaxtyped = lambda *, typechecker: functools.partial(once, typechecker=typechecker)
    jaxtyping.install_import_hook(package, "shapes.CHECKER")


def once(function: Any, typechecker: Any = CHECKER) -> Any:
    """The function, or the class (where it is a dataclass, its fields), checked.

    The check is made where it is first needed: most functions are never called. What is known to be
    right belongs to the signature, as a function within another is shown here at its every call.
    """
    if isinstance(function, type):
        if dataclasses.is_dataclass(function) and "__init__" in vars(function):
            function.__init__ = once(function.__init__, typechecker)
        return function
    seen = right[function.__module__, function.__qualname__, repr(function.__annotations__)]
    checked = functools.cache(lambda: at_every_call(function, typechecker=typechecker))

    @functools.wraps(function)
    def sparing(*args: Any, **kwargs: Any) -> Any:
        try:
            kinds = kind(args), kind(kwargs)
        except RecursionError:  # a list within itself
            return checked()(*args, **kwargs)
        if kinds in seen:
            return function(*args, **kwargs)
        result = checked()(*args, **kwargs)
        seen.add(kinds)
        return result

    return sparing


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
