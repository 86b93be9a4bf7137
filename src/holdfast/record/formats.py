"""Rows of JSON lines, JSON and YAML: written whole, and read with a clear word where broken."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import BadInput, cause
from holdfast.record.files import write
from holdfast.record.settings import Row, plain


def append(path: Path, *rows: Mapping[str, Any]) -> None:
    """Add rows to a file of JSON lines, together; null for infinity and NaN. Where the disk is full
    the file stays as it was.

    A last line torn by a kill is ended first, so that it cannot swallow the new row.
    """
    text = "".join(as_json(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        before = file.tell()
        if before > 0:
            file.seek(-1, os.SEEK_END)
            text = text if file.read(1) == b"\n" else b"\n" + text
        try:
            while text:
                text = text[file.write(text) :]
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise


def rows(path: Path) -> list[Row]:
    """The rows of a file of JSON lines; lines torn by a kill, and others that are none, are left
    out. No file: no rows."""
    if not path.exists():
        return []
    found = []
    for line in _lines(path):
        try:
            found.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError):
            continue
    return [row for row in found if isinstance(row, dict)]


def keep_rows(path: Path, wanted: Callable[[Row], bool]) -> None:
    """Drop the rows that are not wanted, and a last line torn by a kill, atomically.

    Raises BadInput, and leaves the file as it is, where any other line is no row.
    """
    lines = _lines(path) if path.exists() else []
    kept = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip() and wanted(json.loads(line)):
                kept.append(line.rstrip("\n") + "\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            if number == len(lines) and not line.endswith("\n"):
                break
            raise BadInput(
                f"expected a row of JSON in line {number} of {path}, got {line.strip()!r:.60}; "
                "mend or delete that line"
            ) from None
    write(path, "".join(kept))


def _lines(path: Path) -> list[str]:
    """Lines with their ends; bytes that are no text stand as question marks."""
    return path.read_bytes().decode(errors="replace").splitlines(keepends=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put a value at `path` as JSON, in one step; null for infinity and NaN."""
    write(path, as_json(value, indent=2) + "\n")


def as_json(value: object, indent: int | None = None) -> str:
    """A value as JSON; null for infinity and NaN."""
    return json.dumps(_known(plain(value)), indent=indent, allow_nan=False)


def _known(value: Any) -> Any:
    """The value with null where it has a number that JSON lacks."""
    if isinstance(value, Mapping):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Row:
    """A JSON file as a dictionary. Raises BadInput where it is broken."""
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"expected JSON in {path}, got a damaged file ({error})") from None


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Put options at `path` as YAML, in one step."""
    write(path, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True))


class _Once(yaml.SafeLoader):
    """YAML's safe types, where no key may stand twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value if key.value != "<<"]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(problem=f"'{twice}' stands there twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Row:
    """A YAML file as a dictionary. Raises BadInput where it is missing, broken or no mapping."""
    try:
        value = yaml.load(path.read_text(), _Once)
    except FileNotFoundError:
        raise BadInput(f"expected a YAML file at {path}, got none; check the path") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise BadInput(
            f"expected a YAML file at {path}, got: {error.strerror}; check the path"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"expected YAML in {path}, got: {cause(error)}; mend the file") from None
    if not isinstance(value, dict):
        raise BadInput(
            f"expected `option: value` lines in {path}, got {value!r:.60}; mend the file"
        )
    return {str(key): item for key, item in value.items()}
