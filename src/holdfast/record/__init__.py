"""What is written to disk, and how: whole or not at all."""

from holdfast.record.files import (
    NO_ROOM,
    alone,
    clear,
    folder,
    lock,
    point,
    remove,
    set_aside,
    write,
    write_new,
)
from holdfast.record.formats import (
    append,
    as_json,
    keep_rows,
    read_json,
    read_yaml,
    rows,
    write_json,
    write_yaml,
)
from holdfast.record.origin import commit, cpu, provenance, version
from holdfast.record.settings import Row, plain

__all__ = [
    "NO_ROOM",
    "Row",
    "alone",
    "append",
    "as_json",
    "clear",
    "commit",
    "cpu",
    "folder",
    "keep_rows",
    "lock",
    "plain",
    "point",
    "provenance",
    "read_json",
    "read_yaml",
    "remove",
    "rows",
    "set_aside",
    "version",
    "write",
    "write_json",
    "write_new",
    "write_yaml",
]
