"""README.md says nothing that does not run: its Python and its commands, in their order."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
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


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    exec(compile(code, str(README), "exec"), {"__name__": "readme"})


def test_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: each of its own would mostly import torch. Tests of the command line and
    the console script below start real ones."""
    monkeypatch.chdir(tmp_path)
    ours = [line[1:] for line in commands() if line[0] == "holdfast"]
    assert ours, "README.md shows no command of holdfast"
    for words in ours:
        assert main(words) == 0, f"holdfast {shlex.join(words)}\n{capsys.readouterr().err}"


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
