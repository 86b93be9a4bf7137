"""README.md says nothing that does not run: its Python and its commands, in their order."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EACH = """
import json, sys
from holdfast.cli import main

for words in json.loads(sys.argv[1]):
    if code := main(words):
        sys.exit(f"exit code {code} of holdfast {' '.join(words)}")
"""
ELSEWHERE = {"cd", "git", "pip"}  # what a reader does before holdfast is there


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    assert README.is_file(), "README.md is missing"
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    found = fence.findall(README.read_text(encoding="utf-8"))
    assert found, f"README.md holds no ```{language} block"
    return found


def commands() -> list[list[str]]:
    """The README's shell lines as words; comments are dropped, continued lines joined."""
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [line for line in words if line]


def ran(code: str, folder: Path, *words: str) -> None:
    """A Python of its own runs this: here every call would have its types checked."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *words], cwd=folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_python_runs(tmp_path: Path) -> None:
    ran("\n".join(blocks("python")), tmp_path)


def test_the_commands_run(tmp_path: Path) -> None:
    """All in one process: each of its own would mostly import torch."""
    ours = [line[1:] for line in commands() if line[0] == "holdfast"]
    assert ours, "README.md shows no command of holdfast"
    ran(EACH, tmp_path, json.dumps(ours))


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))
    used = {word for line in commands() if line[0] == "make" for word in line[1:]}
    assert {word for word in used if "=" not in word} <= targets


def test_no_line_goes_unchecked() -> None:
    known = {"holdfast", "make"} | ELSEWHERE
    assert [line for line in commands() if line[0] not in known] == []


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("holdfast")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout
