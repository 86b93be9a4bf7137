"""Help in few words: what an option takes, its default where it has one, a command's own first."""

import inspect
import re
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import jsonargparse

from holdfast.cli.choices import Choice, members

TAKEN = {int: "N", float: "X", bool: "true|false", dict: "MAPPING", tuple: "LIST", list: "LIST"}
OURS = ("NAME", "MAPPING", "FILE")
UNSAID = (None, False, "", SUPPRESS)  # defaults that tell nothing


class Formatter(jsonargparse.DefaultHelpFormatter):
    """Writes `--images N` and `(default: 1000)` where jsonargparse shows Python's types."""

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if not action.option_strings or any(action.default is one for one in UNSAID):
            return text
        return f"{text.removesuffix('.')} (default: %(default)s)"

    def _format_action(self, action: Action) -> str:
        return "" if action.dest.endswith(".help") else super()._format_action(action)

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return action.dest.upper()
        hint = getattr(action, "_typehint", None)
        if hint is bool:
            return action.option_strings[0].replace("--", "--[no-]" if action.default else "--", 1)
        if action.nargs == 0:
            return ", ".join(action.option_strings)
        said = action.metavar if action.metavar in OURS else _taken(action.dest, hint)
        return f"{action.option_strings[0]} {said}"


def _taken(name: str, hint: Any) -> str:
    """What may be given for an option of this type."""
    words: dict[str, None] = {}  # each once, in order
    for kind in members(hint):
        if get_origin(kind) is Literal:
            words |= dict.fromkeys(map(str, get_args(kind)))
        elif get_origin(kind) is Callable:
            words["MODULE:NAME"] = None
        elif kind == list[str]:  # given as often as there are values
            words[name.upper()] = None
        elif kind is not NoneType:
            words[TAKEN.get(get_origin(kind) or kind, name.rpartition(".")[2].upper())] = None
    return "|".join(words)


@contextmanager
def titled(
    parser: jsonargparse.ArgumentParser, title: str, of: Callable[..., Any] | None
) -> Iterator[None]:
    """What the block adds to the parser stands under this title, and below it what it is in full;
    without a title, under the beginning of that."""
    before = len(parser._action_groups)
    yield
    for group in parser._action_groups[before : before + 1]:
        said = " ".join((inspect.getdoc(of) or "").partition("\n\n")[0].split())
        group.title = title or re.split(r" \(|[.:]", said)[0]
        group.description = said if title not in ("", "options") else None


def explain(parser: jsonargparse.ArgumentParser, choices: Mapping[str, Choice]) -> None:
    """Say what jsonargparse's own words would leave dark; what all commands share comes last."""
    shown = {
        "help": "show this, and end; of a choice that is named, its options too",
        "config": "options as YAML; those of the command line override",
        "print_config": "print all options as a file for --config, and end",
    }
    for action in parser._actions:
        if action.dest in choices:
            choice = choices[action.dest]
            known = ", ".join([*choice.slot.table, *choice.slot.others])
            shown_too = f"; shown here with the options of {choice.name}"
            own = shown_too if choice.takes_options else ""
            action.metavar, action.help = "NAME", f"one of {known}{own}"
        elif action.dest in shown:
            action.metavar, action.help = "FILE", shown[action.dest]
            action.nargs = None if action.dest == "config" else 0  # parse prints what is asked for
        elif action.help and action.help.startswith("Path to a configuration"):
            action.metavar, action.help = "MAPPING", "all of the following as {option: value, ...}"
    places, shared, *others = parser._action_groups
    shared.title = "of every command"
    parser._action_groups = [places, *others, shared]
