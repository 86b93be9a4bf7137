"""The command line as read from signatures: options, choices with options of their own, errors."""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import jsonargparse
import yaml

from holdfast import noise, record
from holdfast.cli import words
from holdfast.cli.choices import Choice, Slot, every, members, nameless, pick
from holdfast.cli.help import Formatter, explain, titled
from holdfast.cli.words import Options
from holdfast.errors import BadInput, suggest

Functions = Mapping[Callable[..., Any], frozenset[str]]
"""Functions whose parameters become options, each with the parameters that do not."""
OWN = {"help", "config", "print_config"}  # the parser's, not the functions'
MOST = 2**63  # whole numbers are below, as those of tensors are
LIST = "a list, such as '[1, 2]'"
KINDS = {"int": "a whole number", "float": "a finite number", "bool": "true or false",
         "tuple": LIST, "list": LIST}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """values: options by name, dataclasses made; slots: the choice of each slot."""

    values: Options
    slots: dict[str, Choice]


def parse(
    command: str,
    functions: Functions,
    slots: Mapping[str, Slot],
    argv: Sequence[str],
    config: Options | None = None,
) -> Parsed:
    """Options of `functions` (from signatures and docstrings) and of the chosen classes.

    `config` is read first, then `--config FILE.yaml`; the command line overrides both. Raises
    BadInput.
    """
    argv, said = words.read(argv)
    config = (config or {}) | said
    shown = "--print_config" in argv
    argv = [word for word in argv if word != "--print_config"]
    choices = {name: pick(slot, name, argv, config) for name, slot in slots.items()}
    for function in functions:
        config = nameless(function, config)
    parser = _parser(command, functions, choices)
    if "--help" in argv or "-h" in argv:
        print(re.sub(r"--[a-z][a-z_.]+", lambda m: m[0].replace("_", "-"), parser.format_help()))
        raise SystemExit(0)
    names = _names(parser, choices)
    _known(names, config)
    found = _instantiated(parser, _checked(parser, names, argv, config)).as_dict()
    told = {name: choice.told(found.pop(name, None) or {}) for name, choice in choices.items()}
    if shown:
        print(_as_file(found, told), end="")
        raise SystemExit(0)
    return Parsed(values=found, slots=told)


def _as_file(values: Options, slots: Mapping[str, Choice]) -> str:
    """Options as a file for `--config`."""
    chosen = {name: choice.as_dict() for name, choice in slots.items()}
    return yaml.safe_dump(record.plain(values | chosen), sort_keys=False, allow_unicode=True)


def asked(function: Callable[..., Any], o: Options, supplied: frozenset[str]) -> Options:
    """The values of this function's parameters, but for those that the command supplies itself."""
    names = inspect.signature(function).parameters.keys() & o.keys() - supplied
    return {name: o[name] for name in names}


def _parser(
    command: str, functions: Functions, choices: Mapping[str, Choice]
) -> jsonargparse.ArgumentParser:
    front = next(iter(functions))
    wanted = [
        f"--{p.name} {p.name.upper()}" if p.kind is p.KEYWORD_ONLY else p.name.upper()
        for p in inspect.signature(front).parameters.values() if p.default is p.empty
    ]  # fmt: skip
    parser = jsonargparse.ArgumentParser(
        prog=f"holdfast {command}",
        usage=" ".join(["%(prog)s", *wanted, "[options]"]),
        description=(inspect.getdoc(front) or "").partition("\n\nArgs")[0],
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    parser.add_argument("--config", action="config")
    for function, skip in functions.items():
        kept: set[str | int] = {*skip, *choices}
        with titled(parser, "options" if function is front else "", function):
            parser.add_function_arguments(function, skip=kept, as_positional=True)
    for path, choice in every(choices).items():
        _add(parser, path, choice)
    explain(parser, every(choices))
    return parser


def _add(parser: jsonargparse.ArgumentParser, path: str, choice: Choice) -> None:
    """The options of a choice, and the slot itself."""
    kind = choice.kind
    skip: set[str | int] = {*choice.skip, *(_unspoken(kind) if kind else ())}
    with titled(parser, path if choice.name == path else f"{path} {choice.name}", kind):
        if inspect.isclass(kind):
            parser.add_class_arguments(kind, path, skip=skip, instantiate=False, fail_untyped=False)
        elif kind is not None:
            parser.add_function_arguments(kind, path, skip=skip, fail_untyped=False)
    if path not in {action.dest for action in parser._actions}:
        own = parser._action_groups[2]  # that of the command's function
        own.add_argument(f"--{path}")  # taken out before parsing; here for the help


def _unspoken(kind: Callable[..., Any]) -> set[str]:
    """Parameters without a type whose defaults no word can stand for, such as a class."""
    plain = (bool, int, float, str, list, tuple, dict, NoneType)
    return {
        p.name for p in inspect.signature(kind).parameters.values()
        if p.annotation is p.empty and p.default is not p.empty and not isinstance(p.default, plain)
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of all options, those that begin with -- too, and how to say that a name is none of
    them."""

    command: str
    known: tuple[str, ...]
    flagged: tuple[str, ...]
    choices: Mapping[str, Choice]

    def refused(self, name: str, flag: str = "") -> BadInput:
        """What to raise for an unknown option: whose it is not, and the nearest that is.

        flag: what an option begins with, on the command line.
        """
        at = name
        while at and at not in self.choices:
            at = at.rpartition(".")[0]
        if at and self.choices[at].kind is None:
            first = next(one for one, kind in self.choices[at].slot.table.items() if kind)
            return BadInput(
                f"expected {flag}{at} by name beside {flag}{name}, got {self.choices[at].name}; "
                f"such as {first}"
            )
        owner = f"{at} {self.choices[at].name}" if at else self.command
        near = self.flagged if flag else self.known
        got = f"{flag}{name}{suggest(flag + name, [flag + one for one in near])}"
        return BadInput(
            f"expected an option of {owner}, got {got.replace('_', '-') if flag else got}"
        )


def _names(parser: jsonargparse.ArgumentParser, choices: Mapping[str, Choice]) -> Names:
    actions = [a for a in parser._actions if a.dest.rpartition(".")[2] not in OWN]
    known = tuple(sorted({a.dest for a in actions}))
    flagged = tuple(sorted({a.dest for a in actions if a.option_strings}))
    return Names(command=parser.prog, known=known, flagged=flagged, choices=every(choices))


def _known(names: Names, config: Options, under: str = "") -> None:
    """Raises BadInput for the first setting of a file that is no option, or no mapping where one
    is due."""
    for key, value in config.items():
        path = under + key
        group = any(name.startswith(f"{path}.") for name in names.known)
        if isinstance(value, dict) and (group or path in names.choices):
            _known(names, value, f"{path}.")
        elif group:
            raise BadInput(f"expected {path} as a mapping, `option: value`, got {value!r:.60}")
        elif path not in names.known:
            raise names.refused(path)


def _checked(
    parser: jsonargparse.ArgumentParser, names: Names, argv: list[str], config: Options
) -> jsonargparse.Namespace:
    """The parsed options. Raises BadInput in one line, with the nearest known word."""
    flags = {
        a.option_strings[0] for a in parser._actions
        if a.option_strings and set(members(getattr(a, "_typehint", None))) - {NoneType} == {bool}
    }  # fmt: skip
    file = ["--config", json.dumps(config)] if config else []
    lists = [a for a in parser._actions if list[str] in members(getattr(a, "_typehint", None))]
    many = {a.option_strings[0] for a in lists if a.option_strings}
    if len(lists) > len(many):  # several runs
        argv = words.listed(argv, flags)
    argv = words.switches(words.gathered(argv, many), flags)
    for before, word in zip(["", *argv], argv, strict=False):
        _require_option(word, names)
        name, equals, value = word.partition("=")
        if not word or (name.startswith("--") and equals and not value):
            raise BadInput(f"expected a value after {word or before}, got nothing")
    try:
        found = parser.parse_args([*file, *argv])
    except jsonargparse.ArgumentError as error:
        raise BadInput(_one_line(str(error))) from None
    found.pop("config", None)
    for action in parser._actions:
        if action.dest in found:
            _sound(action.dest, getattr(action, "_typehint", NoneType), found.get(action.dest))
    return found


def _require_option(word: str, names: Names) -> None:
    """Raises BadInput for `--name` that is no option."""
    name = word.partition("=")[0].removeprefix("--")
    if word.startswith("--") and name not in names.flagged:
        raise names.refused(name, "--")


def _sound(name: str, hint: Any, value: object) -> None:
    """Raises BadInput for a null where none is allowed, a seed out of range, and a whole number
    that no tensor can have."""
    if value is None and not {NoneType, Any} & set(members(hint)):
        kind = getattr(hint, "__name__", str(hint))
        raise BadInput(f"expected {name} to be {KINDS.get(kind, kind)}, got null")
    if name.rpartition(".")[2] == "seed" and isinstance(value, int):
        noise.require_seed(value, name)
    elif isinstance(value, int) and abs(value) >= MOST:
        raise BadInput(f"expected {name} between -2**63 and 2**63, got {value}")


def _instantiated(
    parser: jsonargparse.ArgumentParser, found: jsonargparse.Namespace
) -> jsonargparse.Namespace:
    """The options with every dataclass made. Raises BadInput where one refuses its settings."""
    try:
        return parser.instantiate(found)
    except (jsonargparse.ArgumentError, TypeError) as error:
        raise BadInput(_one_line(str(error))) from None


def _one_line(message: str) -> str:
    """jsonargparse's message as `expected ..., got ...`, with the nearest allowed word."""
    text = " ".join(message.split())
    match = re.search(r'key "([^"]+)":? (.*)', text)
    key, text = match.groups() if match else ("", text)
    stray = re.search(r"[Uu]nrecognized arguments: (.*)", text)
    if stray:
        return f"expected options, --name value; got '{stray[1]}'; leave it out or name its option"
    missing = re.search(r"arguments are required: (.*)|argument (--\S+): expected one", text)
    if missing:
        return f"expected a value for {missing[1] or missing[2]}, got nothing"
    if group := re.search(r"Unable to load config ['\"]([^'\"]*)['\"]$", text):
        return f"expected --{key}.OPTION VALUE, got '{group[1]}' as {key}; --help names its options"
    got = re.search(r".*(?:Got|Given) value: ?(.*)$", text)
    if not got:
        return f"{key}: {text}" if key else text
    return f"expected {key} {_wanted(text, got[1].strip(chr(39)))}"


def _wanted(text: str, got: str) -> str:
    """What jsonargparse's message says of a value's type, and the value."""
    allowed = re.search(r"Literal\[([^\]]*)\]", text)
    words = [word.strip(" '") for word in allowed[1].split(",")] if allowed else []
    listed = re.search(r"Subtypes: \[(tuple|list)\[", text)
    if words and not listed:
        return f"out of {', '.join(words)}; got '{got}'{suggest(got, words)}"
    named = re.findall(r"Expected an? <class '(\w+)'>", text)
    kinds = [listed[1]] if listed else [kind for kind in named if kind != "NoneType"]
    told = [*dict.fromkeys(KINDS.get(kind, kind) for kind in kinds), *words]
    return f"to be {' or '.join(told) or 'of its type'}, got '{got}'"
