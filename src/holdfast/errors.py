"""The one error for bad input, and the look-up that suggests the nearest name."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, SupportsFloat, TypeVar, Union, get_args, get_origin


class BadInput(ValueError):
    """Input that cannot be used. One line: what was expected, what came, what to do.

    The command line prints the line alone and ends with exit code 2.
    """


def cause(error: BaseException) -> str:
    """The kind of an error and its words, in one line of not too many letters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].removesuffix(":")


ELSEWHERE = {
    "rate": "lr", "learning_rate": "lr", "eps": "radius", "epsilon": "radius",
    "alpha": "rel_stepsize", "eps_step": "rel_stepsize", "stride": "rel_stepsize",
    "step_size": "rel_stepsize", "n_steps": "steps",
    "iterations": "steps", "max_iter": "steps", "autoattack": "standard", "n_restarts": "restarts",
    "against": "twin", "dataset": "data", "arch": "model", "bs": "batch_size",
    "cw": "margin", "std": "deviation", "sigma": "deviation", "eot_iter": "draws",
    "p_init": "share", "kappa": "confidence", "alpha_max": "pull", "eta": "overshoot",
    "n_queries": "queries", "diversity_prob": "diversity", "gamma": "change",
    "attack": "adversary", "loss": "objective", "criterion": "objective", "network": "model",
    "amp": "precision", "bf16": "precision", "pretrained": "weights", "checkpoint": "weights",
    "init": "weights", "opt": "optimizer", "scheduler": "schedule", "gpu": "device",
    "cuda": "device", "workers": "processes", "save": "out", "save_dir": "out", "log_dir": "out",
    "output": "out", "data_dir": "data_root", "data_path": "data_root", "root": "data_root",
    "n": "images", "n_ex": "images", "n_examples": "images", "num_samples": "images",
    "iters": "steps", "num_steps": "steps", "version": "suite", "aa": "standard",
    "wandb": "tensorboard",
}  # fmt: skip
"""Words of other tools, and ours for them."""
CLOSE = 0.61  # of the letters of two names that are taken for one, misspelt


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a line, `; did you mean 'X'?`, for the closest known name, or for our name of what
    other tools call so; empty where there is none."""
    known = sorted(known, key=lambda one: "optimizer" not in one)  # whose lr is meant
    bare = {one.removeprefix("--"): one for one in known}
    meant = next(_meant(name.removeprefix("--"), bare), None)
    if meant is None:
        close = difflib.get_close_matches(name.removeprefix("--"), bare, n=1, cutoff=CLOSE)
        meant = bare[close[0]] if close else None
    return f"; did you mean '{meant}'?" if meant else ""


def _meant(name: str, known: Mapping[str, str]) -> Iterator[str]:
    """Names of the same meaning or spelling, the likeliest first. known: by their bare form."""
    front, _, last = name.rpartition(".")
    choice, ours = ELSEWHERE.get(front, front), ELSEWHERE.get(last, last)
    if front:  # last, of the command and not of that choice; or the choice that is called so here
        near = [f"{front}.{ours}", f"{choice}.{ours}", last, ours]
        near += [] if choice == front else [choice]
        yield from (known[one] for one in near if one in known)
    else:
        if ours in known:
            yield known[ours]
        for wanted in (ours, last):
            yield from (one for word, one in known.items() if word.rpartition(".")[2] == wanted)
    yield from (one for word, one in known.items() if word.lower() == name.lower())


T = TypeVar("T")


def choose(
    table: Mapping[str, T], name: str, what: str, beside: Mapping[str, Container[str]] = {}
) -> T:
    """The entry called `name`; `what` says in the error what was asked for. Raises BadInput.

    beside: other options and their names, one of which may have been meant.
    """
    if name in table:
        return table[name]
    meant = ELSEWHERE.get(name.lower(), name.lower())
    other = next((option for option, names in beside.items() if meant in names), None)
    near = f"; did you mean '{other} {meant}'?" if other else suggest(name, table)
    raise BadInput(f"expected {what} out of {', '.join(table)}; got '{name}'{near}")


def require_value(name: str, value: object, example: str, kinds: Any = Callable) -> None:
    """Raises BadInput unless `value` is an instance of `kinds`: not a class, nor a word that names
    one on the command line. `example` shows a valid value."""
    if isinstance(value, type) or not isinstance(value, kinds):
        got = f"'{value:.60}'" if isinstance(value, str) else " ".join(repr(value).split())[:60]
        raise BadInput(f"expected {name} as a value such as holdfast.{example}, got {got}")


def require_call(
    name: str, value: Any, call: Sequence[str], filled: Iterable[str] = (),
    remedy: str = "",
) -> None:  # fmt: skip
    """Raises BadInput unless `value` accepts `call` in their places and requires nothing else but
    names in `filled`, which the caller passes by keyword where it declares them. `remedy`: another
    way than to wrap it in such a function."""
    if not callable(value):
        raise BadInput(f"expected {name} as a function of ({', '.join(call)}), got {value!r:.60}")
    try:
        known = [inspect.signature(value, follow_wrapped=wrapped) for wrapped in (True, False)]
    except (TypeError, ValueError):  # as for functions written in C
        return
    if not _named_parameters(known[1]):  # passes on whatever it is given, as torch.no_grad does
        known = known[:1]
    passed_on = any(p.kind == p.VAR_POSITIONAL for one in known for p in one.parameters.values())
    forward = getattr(value, "forward", None)
    if passed_on and forward is not None:  # as of torch modules, and of attacks of torchattacks
        known = [inspect.signature(forward)]
    if not any(_fits(one, call, filled) for one in known):
        raise BadInput(
            f"expected {name} to be called as ({', '.join(call)}), got {name_of(value)}, which "
            f"takes {known[-1]}; wrap it in a function of these{remedy}"
        )


def _named_parameters(takes: inspect.Signature) -> list[inspect.Parameter]:
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one for one in takes.parameters.values() if one.kind not in many]


def _fits(takes: inspect.Signature, call: Sequence[str], filled: Iterable[str]) -> bool:
    try:
        placed = takes.bind_partial(*call).arguments
    except TypeError:
        return False
    needed = {one.name for one in _named_parameters(takes) if one.default is one.empty}
    return not needed - {*placed, *filled}


def name_of(value: object, default: str = "") -> str:
    """What a value is called: its `name`, or that of its code; else the default, or its repr."""
    named = getattr(value, "name", None) or getattr(value, "__name__", None)
    return str(named or default or f"{value!r:.60}")


def require_field_types(settings: Any) -> None:
    """Raises BadInput where a field of a dataclass that takes one of some words holds another, or
    one that takes a number holds a word."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.type in (int, float) and isinstance(value, str):
            raise BadInput(
                f"expected {field.name} as a number, got '{value}'; leave the quotes out"
            )
        if field.type in (int, float) and not isinstance(value, SupportsFloat):
            raise BadInput(f"expected {field.name} as a number, got {value!r:.60}")
        if field.type is int and isinstance(value, float):
            raise BadInput(f"expected {field.name} as a whole number, got {value}")
        if field.type is bool and not isinstance(value, bool):
            raise BadInput(f"expected {field.name} as True or False, got {value!r:.60}")
        if _made_of_settings(field.type) and isinstance(value, (str, int, float, type)):
            raise BadInput(
                f"expected {field.name} as a value with settings, such as {_example(field)}, "
                f"got {value!r:.60}"
            )
        if get_origin(field.type) is Literal and value not in get_args(field.type):
            choose(dict.fromkeys(get_args(field.type)), str(value), field.name)


def _made_of_settings(kind: Any) -> bool:
    """Whether values of a type are dataclasses or what a protocol says, and nothing plainer."""
    union = get_origin(kind) in (Union, UnionType)
    parts = [part for part in (get_args(kind) if union else (kind,)) if part is not NoneType]
    return all(dataclasses.is_dataclass(p) or getattr(p, "_is_protocol", False) for p in parts)


def _example(field: "dataclasses.Field[Any]") -> str:
    """The field's default, else a class of its type."""
    made = field.default_factory
    known = [field.type, *get_args(field.type)]
    kinds = [one for one in (made, *known) if isinstance(one, type)]
    return f"{kinds[0].__name__}()" if kinds else "one of holdfast's"
