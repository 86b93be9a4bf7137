"""Imports point down: the table of docs/architecture.md, enforced.

Every import counts, wherever it stands: absolute or relative, at the top, inside a function, or
only for the type checker. Importing `holdfast.x` also runs `holdfast/__init__.py`, which cannot
be helped; only a name taken from `holdfast` itself counts as an import of it.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
ROW = re.compile(r"^\| `(\w+)` \|.*\| (?:`([\w ]+)`|nothing) \|$", re.MULTILINE)
FLOOR = ("errors", "limits", "types", "noise")  # which all rows below them may import
TABLE = {
    name: used.split()
    for name, used in ROW.findall((ROOT / "docs" / "architecture.md").read_text("utf-8"))
}
ALLOWED = {
    name: {*used} if name in FLOOR else {*used, *FLOOR} for name, used in TABLE.items()
}  # layer: what it may import besides itself. A new module gets a row before its test passes.


def tree(source: Path) -> dict[str, Path]:
    """Full module name -> file, of every module of the package in `source`."""
    found = {}
    for path in sorted(source.glob("holdfast/**/*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layer(module: str) -> str:
    """The row of the table: the name under `holdfast`, or `holdfast` for the package itself."""
    return module.split(".")[1] if "." in module else module


def imported(module: str, modules: dict[str, Path]) -> set[str]:
    """Full names of the holdfast modules that `module` imports."""
    path = modules[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, package)
            taken = {f"{base}.{alias.name}" for alias in node.names}
            names |= {name if name in modules else base for name in taken}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"import_module", "__import__"}:
                name = str(node.args[0].value)
                level = len(name) - len(name.lstrip("."))
                names.add(absolute(name.lstrip("."), level, package))
    return {name for name in names if name.split(".")[0] == "holdfast"}


def absolute(name: str, level: int, package: str) -> str:
    """`from ..name` inside `package` with its dots (their number is `level`) resolved."""
    if level == 0:
        return name
    parents = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*parents, name] if name else parents)


def offences(module: str, modules: dict[str, Path]) -> list[str]:
    """One sentence for each import that the table forbids."""
    own = layer(module)
    if own not in ALLOWED:
        return [f"{module}: its layer '{own}' has no row in docs/architecture.md"]
    found = []
    for used in sorted(imported(module, modules) - {module}):
        if layer(used) not in {own, *ALLOWED[own]}:
            found.append(f"{module} must not import {used}")
        elif own == layer(used) == "attack" and not may_share(module, used):
            found.append(f"{module} must not import {used}: attacks share helpers and PGD alone")
    return found


def past_doors(module: str, modules: dict[str, Path]) -> list[str]:
    """Modules inside another package of which something is imported, past its `__init__`."""
    names = set()
    for node in ast.walk(ast.parse(modules[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return sorted(n for n in names if n.startswith("holdfast.") and n.count(".") > 1
                  and layer(n) != layer(module))  # fmt: skip


def may_share(module: str, used: str) -> bool:
    """Attacks import only the helpers in `attack/_*.py`, and PGD, of which some are a case;
    `attack/__init__.py` imports them all."""
    return (
        module == "holdfast.attack"
        or used.startswith("holdfast.attack._")
        or used == "holdfast.attack.pgd"
    )


def cycle(modules: dict[str, Path]) -> list[str]:
    """The modules of one import cycle, or none."""
    graph = {module: imported(module, modules) - {module} for module in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


MODULES = tree(SOURCE)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    assert offences(module, MODULES) == []


@pytest.mark.parametrize("module", MODULES)
def test_a_package_is_entered_by_its_door(module: str) -> None:
    assert past_doors(module, MODULES) == []


def test_no_import_cycle() -> None:
    assert cycle(MODULES) == []


@pytest.mark.parametrize("row", TABLE)
def test_the_table_allows_what_is_used_and_no_more(row: str) -> None:
    members = [module for module in MODULES if layer(module) == row]
    used = {layer(name) for module in members for name in imported(module, MODULES)}
    assert sorted(used - {row, *FLOOR}) == sorted({*TABLE[row]} - {*FLOOR})


def test_rows_import_only_rows_above_them() -> None:
    names = list(TABLE)
    for place, name in enumerate(names):
        assert {*TABLE[name]} <= {*names[:place]}, name


FAKE = {  # a small package in which nothing is forbidden
    "holdfast/__init__.py": "from holdfast.attack import FGSM\nfrom .training import train",
    "holdfast/__main__.py": "from holdfast.cli import main",
    "holdfast/errors.py": "import difflib",
    "holdfast/types.py": "from torch import Tensor",
    "holdfast/record.py": "from .errors import BadInput\nimport holdfast.types as words",
    "holdfast/loss.py": "from holdfast import errors, types",
    "holdfast/attack/__init__.py": "from .fgsm import FGSM\nfrom holdfast.attack.pgd import PGD",
    "holdfast/attack/_step.py": "from ..loss import margin",
    "holdfast/attack/fgsm.py": "from holdfast.attack._step import step",
    "holdfast/attack/pgd.py": "from . import _step",
    "holdfast/feedback/__init__.py": "from holdfast.feedback.reward import Signed",
    "holdfast/feedback/policy.py": "from .reward import Signed",
    "holdfast/feedback/reward.py": "from ..loss import margin",
    "holdfast/training/__init__.py": "from .. import attack, record\nimport holdfast.feedback",
    "holdfast/cli/__init__.py": "from holdfast import training\nfrom . import demo",
    "holdfast/cli/demo.py": "from ..training import train",
}
LATE = "def late():\n    "
TYPED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
FORBIDDEN = [
    ("holdfast/errors.py", "from holdfast.types import Images", "types"),
    ("holdfast/types.py", "import holdfast.errors", "errors"),
    ("holdfast/loss.py", "from holdfast.record import write", "record"),
    ("holdfast/loss.py", "import holdfast.record as log", "record"),
    ("holdfast/loss.py", "import holdfast", "holdfast"),
    ("holdfast/loss.py", "from holdfast import record", "record"),
    ("holdfast/loss.py", "from holdfast import train", "holdfast"),
    ("holdfast/loss.py", "from . import record", "record"),
    ("holdfast/loss.py", "from .attack.fgsm import FGSM", "attack.fgsm"),
    ("holdfast/loss.py", LATE + "from holdfast.training import train", "training"),
    ("holdfast/loss.py", TYPED + "from holdfast.training import train", "training"),
    ("holdfast/loss.py", "import importlib\nimportlib.import_module('holdfast.record')", "record"),
    ("holdfast/feedback/reward.py", "from ..attack import FGSM", "attack"),
    ("holdfast/feedback/__init__.py", "from ..training import train", "training"),
    ("holdfast/attack/pgd.py", "from .fgsm import FGSM", "attack.fgsm"),
    ("holdfast/attack/pgd.py", "from holdfast.attack import FGSM", "attack"),
    ("holdfast/attack/pgd.py", "from . import fgsm", "attack.fgsm"),
    ("holdfast/attack/_step.py", LATE + "import holdfast.attack.fgsm", "attack.fgsm"),
    ("holdfast/training/__init__.py", "from holdfast.cli import main", "cli"),
    ("holdfast/__init__.py", "from .cli import main", "cli"),
]


def fake(folder: Path, changed: dict[str, str] | None = None) -> dict[str, Path]:
    for name, text in (FAKE | (changed or {})).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tree(folder)


def test_allowed_imports_pass(tmp_path: Path) -> None:
    modules = fake(tmp_path)
    assert [line for module in modules for line in offences(module, modules)] == []
    assert cycle(modules) == []


@pytest.mark.parametrize(("path", "line", "used"), FORBIDDEN)
def test_forbidden_imports_are_caught(path: str, line: str, used: str, tmp_path: Path) -> None:
    modules = fake(tmp_path, {path: line})
    caught = [line for module in modules for line in offences(module, modules)]
    name = used if used == "holdfast" else f"holdfast.{used}"
    assert len(caught) == 1
    assert f"must not import {name}" in caught[0]


def test_a_way_past_a_door_is_caught(tmp_path: Path) -> None:
    line = LATE + "from holdfast.attack.fgsm import FGSM"
    modules = fake(tmp_path, {"holdfast/training/__init__.py": line})
    assert past_doors("holdfast.training", modules) == ["holdfast.attack.fgsm"]
    assert not any(past_doors(name, modules) for name in modules if name != "holdfast.training")


def test_a_module_without_a_row_is_caught(tmp_path: Path) -> None:
    modules = fake(tmp_path, {"holdfast/utils.py": ""})
    assert offences("holdfast.utils", modules) == [
        "holdfast.utils: its layer 'utils' has no row in docs/architecture.md"
    ]


@pytest.mark.parametrize("line", ["from .policy import Policy", LATE + "from . import policy"])
def test_a_cycle_inside_a_package_is_caught(line: str, tmp_path: Path) -> None:
    found = cycle(fake(tmp_path, {"holdfast/feedback/reward.py": line}))
    assert set(found) == {"holdfast.feedback.reward", "holdfast.feedback.policy"}
