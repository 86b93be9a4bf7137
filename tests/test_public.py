"""The public names: listed, sorted, documented, and cheap to import."""

import ast
import dataclasses
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from holdfast.errors import BadInput

PACKAGE = Path(__file__).parents[1] / "src" / "holdfast"
FILES = sorted(PACKAGE.rglob("*.py"))
# The command line speaks through --help, not through names.
OFFERED = [path for path in FILES if "cli" not in path.relative_to(PACKAGE).parts]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements, those inside a top-level `if` or `try` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from statements([*node.body, *node.orelse])


def listed(module: ast.Module) -> list[str] | None:
    """What the module's `__all__` holds, or nothing if it has none."""
    for node in statements(module.body):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign)
            return ast.literal_eval(node.value)
    return None


def names_of(module: ast.Module) -> tuple[set[str], set[str]]:
    """The public names that a file defines, and all those that it imports from elsewhere."""
    defined: set[str] = set()
    imported: set[str] = set()
    for node in statements(module.body):
        if isinstance(node, Definition):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name for alias in node.names}
    return {name for name in defined if not name.startswith("_")}, imported


def order(name: str) -> tuple[int, list[tuple[bool, int, str]]]:
    """The order ruff keeps (RUF022): CONSTANTS, Classes, functions; numbers by their value."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    parts = re.findall(r"\d+|\D+", name)
    return kind, [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_all_is_what_is_public(path: Path) -> None:
    """Definitions and what is taken in to be handed on; ruff finds imports that are neither."""
    module = parsed(path)
    names = listed(module)
    if names is None:
        assert path.name != "__init__.py" or path not in OFFERED, "a package has an __all__"
        return
    defined, imported = names_of(module)
    assert names == sorted(names, key=order)
    assert {name for name in names if name != "__version__"} - imported == defined
    door = importlib.import_module(dotted(path))
    assert [name for name in names if not hasattr(door, name)] == []


@pytest.mark.parametrize("path", OFFERED, ids=dotted)
def test_what_is_public_is_documented(path: Path) -> None:
    module = parsed(path)
    bare = [
        node.name
        for node in statements(module.body)
        if isinstance(node, Definition)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert bare == []
    assert ast.get_docstring(module) or not module.body, "the module says in a line what it holds"


def test_importing_holdfast_takes_no_optional_or_slow_package() -> None:
    code = "import sys, holdfast; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "holdfast" in loaded
    assert loaded.isdisjoint(
        {"torchvision", "timm", "matplotlib", "sklearn", "jsonargparse", "gymnasium"}
    )


def test_version_is_the_installed_one() -> None:
    import holdfast

    assert holdfast.__version__ == metadata.version("holdfast")


def settings() -> list[type]:
    """Our dataclasses that look at what they are given, and have a field that takes a word."""
    modules = [importlib.import_module(dotted(path)) for path in FILES
               if path.stem not in ("__main__", "sb3")]  # fmt: skip
    kinds = {kind for module in modules for kind in vars(module).values()
             if isinstance(kind, type) and hasattr(kind, "__post_init__")
             and kind.__module__.startswith("holdfast") and words_of(kind)}  # fmt: skip
    return sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__))


def words_of(kind: type) -> list[str]:
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return [field.name for field in fields if get_origin(field.type) is Literal]


@pytest.mark.parametrize("kind", settings(), ids=lambda kind: kind.__name__)
def test_a_word_that_is_none_is_refused(kind: Any) -> None:
    """Set afterwards: the types of what is given are checked in tests, and only there."""
    for name in words_of(kind):
        made = object.__new__(kind)
        for field in dataclasses.fields(kind):
            known = get_args(field.type) if get_origin(field.type) is Literal else (field.default,)
            known = (1,) if field.type in (int, float) else known
            object.__setattr__(made, field.name, "wrong" if field.name == name else known[0])
        with pytest.raises(BadInput, match=f"expected {name} out of .*; got 'wrong'"):
            made.__post_init__()
