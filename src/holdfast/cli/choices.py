"""Slots: options that name a class, whose fields are options then, and may be slots in turn.

`--objective reward --objective.samples 4 --objective.reward matrix`. In YAML a slot is its name,
or a mapping with `name` and the fields, as `record.plain` writes a dataclass. Without a name the
fields are those of the default; null is `none`.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast import own, record
from holdfast.cli import words
from holdfast.cli.words import Options
from holdfast.errors import BadInput, choose

Kind = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A named choice. `table`: names to classes or functions; None stands for no choice.

    default: as YAML would say it.
    skip: parameters that are filled in later, not by the user.
    find: for names with a colon, such as `module:function`; others: how the help shows those.
    inner: types to slots; a field annotated with such a type is such a slot.
    several: what to do where two are wanted.
    beside: other options and their names, which may be taken for this one's.
    """

    table: Mapping[str, Kind | None]
    default: Any
    skip: frozenset[str] = frozenset()
    find: Callable[[str], Kind | None] | None = None
    others: tuple[str, ...] = ()
    inner: Mapping[object, "Slot"] = field(default_factory=dict)
    several: str = "leave one out"
    beside: Mapping[str, Container[str]] = field(default_factory=dict)

    def kind(self, name: str, path: str) -> Kind | None:
        if self.find and ":" in name:
            return self.find(name)
        what = f"{path} (or MODULE:NAME)" if self.find else path
        return choose(self.table, name, what, self.beside)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a slot holds: a name, what it stands for, the options of that, and the slots in it."""

    name: str
    slot: Slot
    kind: Kind | None
    inner: Mapping[str, "Choice"]
    options: Options = field(default_factory=dict)

    @property
    def skip(self) -> frozenset[str]:
        return self.slot.skip | set(self.inner)

    @property
    def takes_options(self) -> bool:
        return bool(self.kind and _parameters(self.kind))

    def as_dict(self) -> Options | None:
        """Name and options as a file says them, with those of the choices inside; None: none."""
        if self.kind is None:
            return None
        inner = {name: one.as_dict() for name, one in self.inner.items()}
        return {"name": self.name} | self.options | inner

    def told(self, options: Options) -> "Choice":
        """The same choice with its options, those of its inner choices taken out of them."""
        inner = {name: one.told(options.get(name) or {}) for name, one in self.inner.items()}
        own = {name: value for name, value in options.items() if name not in inner}
        return replace(self, inner=inner, options=own)


def pick(slot: Slot, path: str, argv: list[str], config: Options) -> Choice:
    """What words and file choose for the slot at `path`, and for every slot in it.

    The names leave `argv` and `config`; what is left there are options. Raises BadInput.
    """
    key = path.rpartition(".")[2]
    said = words.taken(argv, f"--{path}", slot.several)
    in_file = _fields(config.pop(key), path) if key in config else None
    name, options = _chosen(said, in_file, _fields(slot.default, path))
    kind = slot.kind(name, path)
    slots = {} if kind is None else _slots(slot, kind)
    inner = {name: pick(one, f"{path}.{name}", argv, options) for name, one in slots.items()}
    if options:
        config[key] = options if kind is None else nameless(kind, options, path)
    return Choice(name=name, slot=slot, kind=kind, inner=inner)


def _chosen(said: str | None, in_file: Options | None, default: Options) -> tuple[str, Options]:
    """The name and the options of a slot; those of the file go with the name that it has there, or,
    without one, with that of the command line."""
    if in_file is None:
        given = {"name": said} if said else default
    elif "name" in in_file:
        given = in_file
    elif said:
        given = {"name": said} | in_file
    else:
        given = _merged(default, in_file)
    name = said or str(given["name"])
    options = {key: value for key, value in given.items() if key != "name"}
    return name, options if name == given["name"] else {}


def build(choice: Choice, **filled: object) -> Any:
    """The chosen class, made with its options, its inner choices, and what is filled in."""
    if choice.kind is None:
        return None
    inner = {name: build(one) for name, one in choice.inner.items()}
    options = choice.options | inner | filled
    if ":" in choice.name:
        return own.build(choice.name, choice.kind, options)
    return choice.kind(**options)


def every(choices: Mapping[str, Choice], under: str = "") -> dict[str, Choice]:
    """The choices and those inside them, by path."""
    found: dict[str, Choice] = {}
    for name, choice in choices.items():
        found |= {under + name: choice} | every(choice.inner, f"{under}{name}.")
    return found


def nameless(kind: Kind, options: Options, path: str = "") -> Options:
    """The options without the names that `record.plain` gives to dataclasses that are no choice.

    Raises BadInput where such a name is another class's.
    """
    done = dict(options)
    for name, parameter in _parameters(kind).items():
        value = done.get(name)
        for part in members(parameter.annotation):
            if (
                dataclasses.is_dataclass(part)
                and isinstance(part, type)
                and isinstance(value, dict)
            ):
                done[name] = nameless(part, _unnamed(part, value, where := f"{path}.{name}"), where)
    return done


def _unnamed(kind: type, options: Options, path: str) -> Options:
    own = getattr(kind, "name", kind.__name__)
    if options.get("name", own) != own:
        raise BadInput(
            f"expected {path.strip('.')} without a name, or {own}; got {options['name']}"
        )
    return {key: value for key, value in options.items() if key != "name"}


def _fields(given: Any, path: str) -> Options:
    """A slot as YAML says it, as a mapping with `name` (or without, where none is said)."""
    if isinstance(given, dict):
        return given
    if given is None or isinstance(given, str):
        return {"name": "none" if given is None else given}
    raise BadInput(f"expected {path} as a name, or a mapping with `name`, got {given!r:.60}")


def _slots(slot: Slot, kind: Kind) -> dict[str, Slot]:
    """The fields of a class that are slots."""
    found: dict[str, Slot] = {}
    for name, parameter in _parameters(kind).items():
        parts = members(parameter.annotation)
        for part in (part for part in parts if part in slot.inner):
            nothing: dict[str, Kind | None] = {"none": None} if types.NoneType in parts else {}
            one = slot.inner[part]
            found[name] = replace(
                one, table=nothing | dict(one.table), default=_default(kind, parameter),
                inner=slot.inner,
            )  # fmt: skip
    return found


def _default(kind: Kind, parameter: inspect.Parameter) -> Any:
    """What a parameter is where nothing is said, as YAML would say it; no name if that is open."""
    if dataclasses.is_dataclass(kind):
        factories = {field.name: field.default_factory for field in dataclasses.fields(kind)}
        made = factories.get(parameter.name, dataclasses.MISSING)
        if made is not dataclasses.MISSING:
            return record.plain(made())
    return "" if parameter.default is parameter.empty else record.plain(parameter.default)


def _parameters(kind: Kind) -> Mapping[str, inspect.Parameter]:
    """The parameters, with types for annotations even where those are written as strings."""
    try:
        return inspect.signature(kind, eval_str=True).parameters
    except NameError:  # a name that only the type checker knows
        return inspect.signature(kind).parameters


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; of anything else, itself."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _merged(below: Options, above: Options) -> Options:
    """Two mappings in one, and so for the mappings in them; `above` prevails."""
    both = {k: (below.get(k), v) for k, v in above.items()}
    return below | {
        k: _merged(old, new) if isinstance(old, dict) and isinstance(new, dict) else new
        for k, (old, new) in both.items()
    }
