"""Code of the user's own, named `MODULE:NAME`; a module is looked for in the current folder too.

It only runs where the caller names it: no file from elsewhere can choose what is imported.
"""

import copy
import dataclasses
import functools
import hashlib
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import BadInput, cause, require_call, suggest

NO_OPTIONS = frozenset({
    "model", "net", "logits", "output", "outputs", "pred", "preds", "predictions", "x", "images",
    "input", "inputs", "action", "actions", "logit", "scores", "out", "y_pred", "y_hat", "z", "l",
})  # fmt: skip
"""First parameters of what works on a model or its logits, and of no function that makes such."""


def load_name(name: str, what: str) -> Any:
    """What `MODULE:NAME` names; `what` it is expected to be. Raises BadInput."""
    module, _, member = name.partition(":")
    if "/" in module or module.endswith(".py"):
        raise BadInput(
            f"expected {what} as MODULE:NAME, as Python imports it, got the path '{name}'; "
            f"say {Path(module).stem}:{member}"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), member)
        if not callable(found):
            raise TypeError(f"{found!r:.60}, which cannot be called")
        return found
    except (Exception, SystemExit) as error:  # the user's module runs here: anything may come
        near = suggest(member, vars(sys.modules[module])) if module in sys.modules else ""
        raise BadInput(
            f"expected {what} at '{name}', got {cause(error)}; mend the module or correct the name"
            f"{near}"
        ) from error


def factory_of(
    name: str, what: str, call: Sequence[str], offered: Sequence[str] = (),
    remedy: str = "",
) -> Any:  # fmt: skip
    """The class or function that builds the user's own attack, objective or reward from options.

    `MODULE:NAME` is a class, or a function that makes the thing; or it is the thing itself: an
    object, or a function of `call`, under these names or with a first one such as `logits`. Its
    further parameters are its options, but for those in `offered`, which whoever calls it fills in.
    Raises BadInput; `remedy`: another way for a function of another form.
    """
    found = load_name(name, what)
    if inspect.isclass(found):
        return found
    if not inspect.isfunction(found):
        return lambda: found
    takes = list(inspect.signature(found).parameters)
    if takes[: len(call)] != list(call):
        if not takes or takes[0] not in NO_OPTIONS:
            return found
        require_call(name, found, call, offered, remedy)
    return _settings(found, len(call), offered)


def build(name: str, kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What the user's code makes of these options. Raises BadInput where it fails, and where that
    cannot be called."""
    try:
        found = kind(**options)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(
            f"expected {name} to take its options, got {cause(error)}; "
            "correct the options or the code"
        ) from error
    if not callable(found):
        raise BadInput(f"expected what {name} makes to be callable, got {found!r:.60}")
    return found


def as_settings(found: Any, taken: int, offered: Sequence[str] = ()) -> Any:
    """A function or a partial one whose parameters beyond the first `taken`, and but for those
    `offered`, all have defaults, as a value with these settings; anything else as it is."""
    bare = found.func if isinstance(found, functools.partial) and not found.args else found
    if not inspect.isfunction(bare):
        return found
    signature = inspect.signature(found, follow_wrapped=False)
    options = [p for p in [*signature.parameters.values()][taken:] if p.name not in offered]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    fit = (p.kind in named and p.default is not p.empty and p.name != "name" for p in options)
    return _settings(found, taken, offered, signature)() if options and all(fit) else found


def digests(settings: object) -> dict[str, str]:
    """The modules of one's own that settings name, as `record.plain` writes them, and the start of
    the SHA-256 of each one's file. A module that is not imported now is left out."""
    if isinstance(settings, dict):
        return digests(list(settings.values()))
    if isinstance(settings, list):
        return {name: one for part in settings for name, one in digests(part).items()}
    name, colon, _ = settings.partition(":") if isinstance(settings, str) else ("", "", "")
    file = getattr(sys.modules.get(name), "__file__", None)
    if not (colon and file and Path(file).is_file()):
        return {}
    return {name: hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]}


def _settings(
    function: Callable[..., Any], taken: int, offered: Sequence[str],
    signature: inspect.Signature | None = None,
) -> Any:  # fmt: skip
    """A frozen dataclass of a function's options, whose instances are the function with those, and
    have its attributes, such as `minimal` of an attack."""
    named = function.func if isinstance(function, functools.partial) else function
    signature, hints = signature or inspect.signature(function), _hints(named)
    options = [p for p in list(signature.parameters.values())[taken:] if p.name not in offered]
    names = [p.name for p in options]

    def call(self: object, *inputs: object, **filled: object) -> object:
        return function(*inputs, **{name: getattr(self, name) for name in names}, **filled)

    left = [p for p in signature.parameters.values() if p.name not in names]
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = signature.replace(parameters=[itself, *left])
    made = dataclasses.make_dataclass(
        named.__name__,
        [(p.name, hints.get(p.name, Any), _field(p)) for p in options],
        namespace=_attributes(named) | _attributes(function) | {"__call__": call},
        frozen=True, kw_only=True,
    )  # fmt: skip
    for name in ("__module__", "__qualname__", "__doc__"):
        setattr(made, name, getattr(named, name))
    return made


def _attributes(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: value for name, value in vars(function).items() if not name.startswith("__")}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of its parameters, where their names can be looked up."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # such as a name that only the type checker knows
        return {}


def _field(parameter: inspect.Parameter) -> Any:
    """Raises BadInput for an option of any number, `*values` or `**options`."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise BadInput(
            f"expected options with names of their own, got {parameter}; name them one by one"
        )
    if parameter.default is parameter.empty:
        return dataclasses.field()
    given = parameter.default
    if type(given).__hash__ is None:  # a list, which no field may hold as its default
        return dataclasses.field(default_factory=lambda: copy.copy(given))
    return dataclasses.field(default=given)
