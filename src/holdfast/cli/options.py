"""The command line as read from signatures: named choices with options of their own, YAML, errors.

A slot is an option that names a class, `--objective reward`, whose fields then become options,
`--objective.samples 4`. In YAML a slot is its name, or a mapping with `name` and the fields.
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse

from holdfast import record
from holdfast.errors import BadInput, choose, suggest

Options = dict[str, Any]
Functions = Mapping[Callable[..., Any], frozenset[str]]
"""Functions whose parameters become options, each with the parameters that do not."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A named choice. `table`: names to classes or functions; None stands for no choice.

    skip: parameters that are filled in later, not by the user.
    find: for names outside the table, such as `module:function`.
    """

    table: Mapping[str, Callable[..., Any] | None]
    default: str
    skip: frozenset[str] = frozenset()
    find: Callable[[str], Callable[..., Any] | None] | None = None

    def kind(self, name: str, slot: str) -> Callable[..., Any] | None:
        found = self.find(name) if self.find and name not in self.table else None
        return found or choose(self.table, name, slot)


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """values: options by name, dataclasses made; slots: the name and options of each slot."""

    values: Options
    slots: dict[str, tuple[str, Options]]


def parse(
    command: str,
    functions: Functions,
    slots: Mapping[str, Slot],
    argv: Sequence[str],
) -> Parsed:
    """Options of `functions` (from signatures and docstrings) and of the chosen classes.

    `--config FILE.yaml` is read first, the command line overrides it. Raises BadInput.
    """
    argv, config = _without_config([_underscored(word) for word in argv])
    names = {slot: _name(slot, made, argv, config) for slot, made in slots.items()}
    config = _nameless(config)
    parser = _parser(command, functions, slots, names)
    if "--help" in argv or "-h" in argv:
        print(re.sub(r"--[a-z][a-z_.]+", lambda m: m[0].replace("_", "-"), parser.format_help()))
        raise SystemExit(0)
    rest = [json.dumps(config)] if config else []
    words = [*(("--config", *rest) if rest else ()), *_budgets(_switches(parser, argv))]
    found = _checked(parser, words)
    found.pop("config", None)
    chosen = {slot: (names[slot], _plain(found.pop(slot, None), slot)) for slot in slots}
    plain = _parser(command, _without(functions, slots), {}, {})
    return Parsed(values=_instantiated(plain, found).as_dict(), slots=chosen)


def _plain(found: object, slot: str) -> Options:
    """A slot's options as a dictionary; a lone word was meant for another choice."""
    if found is not None and not isinstance(found, jsonargparse.Namespace):
        raise BadInput(f"expected no option --{slot}.{{...}} with this choice of --{slot}, got one")
    return {} if found is None else found.as_dict()


def _without(functions: Functions, slots: Mapping[str, Slot]) -> Functions:
    """The functions less those parameters that are slots."""
    return {function: skip | set(slots) for function, skip in functions.items()}


def build(slot: Slot, name: str, options: Options, what: str, **filled: object) -> Any:
    """The chosen class, made with its options; nested dataclasses are made on the way."""
    kind = slot.kind(name, what)
    if kind is None:
        return None
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    _add(parser, kind, "it", slot.skip | set(filled))
    made = _instantiated(parser, parser.parse_object({"it": options})).get("it")
    return dataclasses.replace(made, **filled) if filled else made


def _instantiated(
    parser: jsonargparse.ArgumentParser, found: jsonargparse.Namespace
) -> jsonargparse.Namespace:
    """The options with every dataclass made. Raises BadInput where one refuses its settings."""
    try:
        return parser.instantiate(found)
    except (jsonargparse.ArgumentError, TypeError) as error:
        raise BadInput(_one_line(str(error))) from None


def budget(text: str) -> float:
    """`8/255`, `8px` (of 255) or `0.031` as a number. Raises BadInput."""
    match = re.fullmatch(r"\s*([\d.eE+-]+)\s*(?:/\s*([\d.]+)|(px))?\s*", text)
    try:
        number, divisor, pixels = match.groups() if match else (text, None, None)
        return float(number) / (255 if pixels else float(divisor or 1))
    except (ValueError, ZeroDivisionError):
        raise BadInput(f"expected a budget such as 8/255, 8px or 0.031, got '{text}'") from None


def _underscored(word: str) -> str:
    """`--batch-size` is `--batch_size`."""
    name, equals, value = word.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value if name[:2] == "--" else word
    )


def _without_config(argv: list[str]) -> tuple[list[str], Options]:
    """The words without `--config FILE`, and the file's content."""
    config: Options = {}
    rest, words = [], iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--config":
            path = value if equals else next(words, "")
            config |= record.read_yaml(Path(path))
        else:
            rest.append(word)
    return rest, _budgets_in(config)


def _name(slot: str, made: Slot, argv: list[str], config: Options) -> str:
    """The slot's name, taken out of words and configuration."""
    named = config.pop(slot, None)
    name = named.get("name", made.default) if isinstance(named, dict) else named
    options = _nameless(named) if isinstance(named, dict) else {}
    said = _taken(argv, f"--{slot}")
    final = str(said or name or made.default)
    if options and said in (None, name):  # the options belong to the file's choice
        config[slot] = options
    return final


def _nameless(options: Options) -> Options:
    """Without the `name` by which `record.plain` calls each dataclass: its fields tell enough."""
    return {
        key: _nameless(value) if isinstance(value, dict) else value
        for key, value in options.items()
        if key != "name"
    }


def _taken(argv: list[str], flag: str) -> str | None:
    """The value of the last `flag VALUE` or `flag=VALUE`; both words leave the list."""
    value = None
    for i in range(len(argv) - 1, -1, -1):
        if argv[i] == flag:
            if i + 1 == len(argv):
                raise BadInput(f"expected a name after {flag}, got nothing")
            value = value or argv[i + 1]
            del argv[i : i + 2]
        elif argv[i].startswith(f"{flag}="):
            last = argv.pop(i).partition("=")[2]
            value = value or last
    return value


def _parser(
    command: str, functions: Functions, slots: Mapping[str, Slot], names: Mapping[str, str]
) -> jsonargparse.ArgumentParser:
    front = next(iter(functions))
    wanted = [p.name for p in inspect.signature(front).parameters.values() if p.default is p.empty]
    parser = jsonargparse.ArgumentParser(
        prog=f"holdfast {command}",
        usage=" ".join(["%(prog)s", *(name.upper() for name in wanted), "[options]"]),
        description=(inspect.getdoc(front) or "").partition("\n\nArgs")[0],
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of options; others override")
    for function, skip in _without(functions, slots).items():
        parser.add_function_arguments(function, skip=set(skip), as_positional=True)
    for slot, made in slots.items():
        kind = made.kind(names[slot], slot)
        if kind is not None:
            _add(parser, kind, slot, made.skip)
        if slot not in {action.dest for action in parser._actions}:
            parser.add_argument(f"--{slot}")  # taken out before parsing; here for the help
    _explain(parser, slots, names)
    return parser


def _explain(
    parser: jsonargparse.ArgumentParser, slots: Mapping[str, Slot], names: Mapping[str, str]
) -> None:
    """Help in our words where jsonargparse's own would puzzle."""
    for action in parser._actions:
        if action.dest in slots:
            made = slots[action.dest]
            known = ", ".join(made.table) + (", MODULE:FUNCTION" if made.find else "")
            action.metavar = "NAME"
            action.help = f"one of {known}; shown here with the options of {names[action.dest]}"
        elif action.help and action.help.startswith("Path to a configuration"):
            action.metavar, action.help = "MAPPING", "all of the following as {option: value, ...}"


def _add(
    parser: jsonargparse.ArgumentParser, kind: Callable[..., Any], key: str, skip: frozenset[str]
) -> None:
    if inspect.isclass(kind):
        parser.add_class_arguments(kind, key, skip=set(skip))
    else:
        parser.add_function_arguments(kind, key, skip=set(skip))


def _checked(parser: jsonargparse.ArgumentParser, argv: Sequence[str]) -> jsonargparse.Namespace:
    """The parsed options. Raises BadInput in one line, with the nearest known word."""
    try:
        return parser.parse_args(list(argv))
    except jsonargparse.ArgumentError as error:
        text = str(error)
    unknown = re.match(r"[Uu]nrecognized arguments: (\S+)", text)
    if unknown is None:
        raise BadInput(_one_line(text))
    flag = unknown[1].partition("=")[0]
    known = sorted({word for action in parser._actions for word in action.option_strings})
    near = suggest(flag, known)
    raise BadInput(f"expected an option of {parser.prog}, got {flag}{near}".replace("_", "-"))


def _one_line(message: str) -> str:
    """jsonargparse's message as `expected ..., got ...`, with the nearest allowed word."""
    text = " ".join(message.split())
    match = re.search(r'key "([^"]+)":? (.*)', text)
    key, text = match.groups() if match else ("", text)
    allowed = re.search(r"Literal\[([^\]]*)\]", text)
    got = re.search(r"Got value: ?'?([^']*?)'?$", text)
    if allowed and got:
        words = re.findall(r"'([^']*)'", allowed[1])
        return f"expected {key} out of {', '.join(words)}; got '{got[1]}'{suggest(got[1], words)}"
    if got:
        kind = re.search(r"<class '([^']+)'>", text)
        return f"expected {key} to be {kind[1] if kind else 'of its type'}, got '{got[1]}'"
    return f"{key}: {text}" if key else text


def _switches(parser: jsonargparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """`--json` and `--no-json` with the value that jsonargparse wants to see."""
    flags = {a.option_strings[0] for a in parser._actions if getattr(a, "_typehint", None) is bool}
    out: list[str] = []
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        positive = word.replace("--no_", "--", 1)
        if positive in flags and (positive != word or following not in ("true", "false")):
            word = f"{positive}={'true' if positive == word else 'false'}"
        out.append(word)
    return out


def _budgets(argv: Sequence[str]) -> list[str]:
    """Values of options that end in `radius`, as plain numbers."""
    out: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if name.endswith("radius") and name.startswith("--") and equals:
            word = f"{name}={budget(value)}"
        elif out and out[-1].startswith("--") and out[-1].endswith("radius"):
            word = str(budget(word))
        out.append(word)
    return out


def _budgets_in(config: Options) -> Options:
    """The same for a configuration."""
    done: Options = {}
    for key, value in config.items():
        if isinstance(value, dict):
            value = _budgets_in(value)
        elif key.endswith("radius") and isinstance(value, str):
            value = budget(value)
        done[key] = value
    return done
