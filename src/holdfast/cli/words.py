"""What was typed and what stands in a YAML file, in the form that the parser reads."""

import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from holdfast import record
from holdfast.errors import BadInput

Options = dict[str, Any]
BOOLEAN = ("true", "false")


def read(argv: Sequence[str]) -> tuple[list[str], Options]:
    """The words without `--config FILE`, and the file's content. Raises BadInput."""
    config: Options = {}
    rest, words = [], iter(map(_underscored, argv))
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--config":
            path = value if equals else next(words, "")
            if not path:
                raise BadInput("expected a YAML file after --config, got nothing")
            config |= file(Path(path).expanduser())
        else:
            rest.append(word)
    return _budgets([_at_home(word) for word in rest]), config


def file(path: Path) -> Options:
    """A YAML file of options: budgets as numbers, keys as strings. Raises BadInput."""
    try:
        return _meant(_strings(record.read_yaml(path)))
    except RecursionError:
        raise BadInput(
            f"expected no alias inside itself in {path}, got one; mend the file"
        ) from None


def listed(argv: Sequence[str], flags: Collection[str]) -> list[str]:
    """The command line with its positional words gathered into one JSON list, for a command that
    takes several runs. flags: options that take no value."""
    given, rest, words = [], [], list(reversed(argv))
    while words:
        word = words.pop()
        if word == "--":
            given += reversed(words)
            words = []
        elif word[:1] != "-":
            told = rest[-1:] and _positive(rest[-1]) in flags and word in BOOLEAN
            (rest if told else given).append(word)
        else:
            rest.append(word)
            if word[:2] == "--" and "=" not in word and _positive(word) not in flags:
                rest += [words.pop()] if words else []
    whole = len(given) == 1 and given[0][:1] == "["  # a list already
    return [*(given if whole else [json.dumps(given)] if given else []), *rest]


def taken(argv: list[str], flag: str, instead: str = "leave one out") -> str | None:
    """The value of `flag VALUE` or `flag=VALUE`; both words leave the list. Raises BadInput where
    there is none, and for two that differ. instead: what to do with those."""
    values = []
    for i in range(len(argv) - 1, -1, -1):
        if argv[i] == flag:
            values += argv[i + 1 : i + 2] or [""]
            del argv[i : i + 2]
        elif argv[i].startswith(f"{flag}="):
            values.append(argv.pop(i).partition("=")[2])
    if "" in values:
        raise BadInput(f"expected a name after {flag}, got nothing")
    if len(set(values)) > 1:
        raise BadInput(f"expected {flag} once, got {' and '.join(reversed(values))}; {instead}")
    return values[0] if values else None


def gathered(argv: Sequence[str], flags: Collection[str]) -> list[str]:
    """Options that may be repeated, each once, with all its values as a list. Raises BadInput."""
    rest, values, words = [], {}, iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in flags:
            rest.append(word)
            continue
        value = value if equals else next(words, "")
        if not value or value.startswith("--"):
            raise BadInput(f"expected a value after {name}, got {value or 'nothing'}")
        values.setdefault(name, []).append(value)
    return [*rest, *(f"{name}={json.dumps(some)}" for name, some in values.items())]


def switches(argv: Sequence[str], flags: Collection[str]) -> list[str]:
    """`--json` and `--no-json`, where they are among the flags, with a value to be parsed."""
    out: list[str] = []
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        positive = _positive(word)
        if positive in flags and (positive != word or following not in BOOLEAN):
            word = f"{positive}={'true' if positive == word else 'false'}"
        out.append(word)
    return out


def budget(text: str) -> float:
    """`8/255`, `8px` (of 255) or `0.031` as a number. Raises BadInput."""
    match = re.fullmatch(r"\s*([\d.eE+-]+)\s*(?:/\s*([\d.]+)|(px))?\s*", text)
    try:
        number, divisor, pixels = match.groups() if match else (text, None, None)
        return float(number) / (255 if pixels else float(divisor or 1))
    except (ValueError, ZeroDivisionError):
        raise BadInput(f"expected a budget such as 8/255, 8px or 0.031, got '{text}'") from None


def _positive(flag: str) -> str:
    """`--no-json` as `--json`, underscored."""
    return _underscored(flag).replace("--no_", "--", 1)


def _underscored(word: str) -> str:
    """`--batch-size` is `--batch_size`."""
    name, equals, value = word.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value if name[:2] == "--" else word
    )


def _at_home(word: str) -> str:
    """`~/x` and `--out=~/x` with the user's home written out."""
    name, equals, value = word.partition("=")
    if equals and name.startswith("--"):
        return f"{name}={os.path.expanduser(value)}"
    return os.path.expanduser(word)


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


def _meant(config: Options) -> Options:
    """A file's content with budgets as numbers and the user's home written out."""
    done: Options = {}
    for key, value in config.items():
        if isinstance(value, dict):
            value = _meant(value)
        elif isinstance(value, str):
            value = budget(value) if key.endswith("radius") else os.path.expanduser(value)
        done[key] = value
    return done


def _strings(value: Any) -> Any:
    """YAML's dates and the like as the words that they were; keys as strings."""
    if isinstance(value, dict):
        return {str(key): _strings(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strings(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)
